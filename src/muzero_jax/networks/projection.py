"""Projector and predictor of EfficientZero's consistency loss."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from muzero_jax.networks import heads
from muzero_jax.types import Array


class Projection(nn.Module):
  """SimSiam's two heads over a flattened hidden state.

  Batch norm as there, without running statistics, since only the learner calls
  them. It is no detail: with layer norm, projections of all states pointed the
  same way after a hundred updates, and there was nothing left to learn.

  Attributes:
    size: P, units of the projection; the predictor's hidden layer has half.
    dtype: of the arithmetic.
  """

  size: int
  dtype: Any = jnp.float32

  def setup(self) -> None:
    dense = lambda units: nn.Dense(units, dtype=self.dtype)
    self.hidden, self.output = dense(self.size), dense(self.size)
    self.predictor_hidden = dense(max(self.size // 2, 1))
    self.predictor_output = dense(self.size)

  def project(self, state: Array) -> Array:
    """Returns projections [B, P] of hidden states [B, ...]."""
    x = state.reshape(state.shape[0], -1).astype(self.dtype)
    x = nn.relu(heads.standardise(self.hidden(x)))
    return heads.standardise(self.output(x)).astype(jnp.float32)

  def predict(self, state: Array) -> Array:
    """Returns what the predictor makes of the projections [B, P]."""
    x = self.project(state).astype(self.dtype)
    x = nn.relu(heads.standardise(self.predictor_hidden(x)))
    return self.predictor_output(x).astype(jnp.float32)


class Projecting:
  """The methods of a network with a `projector`."""

  projector: Projection

  def project(self, state: Array) -> Array:
    """Returns projections [B, P] of hidden states [B, ...]."""
    return self.projector.project(state)

  def predict(self, state: Array) -> Array:
    """Returns the predictor's outputs [B, P] of hidden states [B, ...]."""
    return self.projector.predict(state)
