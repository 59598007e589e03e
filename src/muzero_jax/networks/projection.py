"""Projector and predictor of EfficientZero's consistency loss."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from muzero_jax.types import Array


class Projection(nn.Module):
  """SimSiam's two heads over a flattened hidden state.

  With layer norm in place of batch norm, whose statistics over the batch would
  be one more thing to keep and to share between devices.

  Attributes:
    size: P, units of the projection; the predictor's hidden layer has half.
    dtype: of the arithmetic.
  """

  size: int
  dtype: Any = jnp.float32

  def setup(self) -> None:
    dense = lambda units: nn.Dense(units, dtype=self.dtype)
    norm = lambda: nn.LayerNorm(dtype=self.dtype)
    self.hidden, self.hidden_norm = dense(self.size), norm()
    self.output, self.output_norm = dense(self.size), norm()
    self.predictor_hidden = dense(max(self.size // 2, 1))
    self.predictor_norm = norm()
    self.predictor_output = dense(self.size)

  def project(self, state: Array) -> Array:
    """Returns projections [B, P] of hidden states [B, ...]."""
    x = state.reshape(state.shape[0], -1).astype(self.dtype)
    x = nn.relu(self.hidden_norm(self.hidden(x)))
    return self.output_norm(self.output(x)).astype(jnp.float32)

  def predict(self, state: Array) -> Array:
    """Returns what the predictor makes of the projections [B, P]."""
    x = self.project(state).astype(self.dtype)
    x = nn.relu(self.predictor_norm(self.predictor_hidden(x)))
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
