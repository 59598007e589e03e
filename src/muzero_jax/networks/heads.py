"""Pieces that every network shares: input, hidden-state scaling and heads."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from muzero_jax.networks import conv
from muzero_jax.types import Array

_MIN_RANGE = 1e-5


def normalise_state(state: Array) -> Array:
  """Returns each sample's hidden state scaled to [0, 1].

  (s - min) / max(max - min, 1e-5), over all but the first axis, as in MuZero
  appendix G with a guard for constant states.

  Args:
    state: [B, ...]
  """
  axes = tuple(range(1, state.ndim))
  low = state.min(axis=axes, keepdims=True)
  high = state.max(axis=axes, keepdims=True)
  return (state - low) / jnp.maximum(high - low, _MIN_RANGE)


def to_input(observation: Array, dtype: Any) -> Array:
  """Returns an observation as floats; uint8 images are scaled to [0, 1]."""
  if observation.dtype == jnp.uint8:
    return observation.astype(dtype) / 255
  return observation.astype(dtype)


class MLPHead(nn.Module):
  """One hidden layer, then an output layer that starts at zero.

  Zero outputs mean a uniform policy and, on a symmetric support, value and
  reward 0: the first searches are unbiased.
  """

  hidden: int
  num_outputs: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = nn.Dense(self.hidden, dtype=self.dtype)(x)
    x = nn.relu(nn.LayerNorm(dtype=self.dtype)(x))
    x = nn.Dense(
      self.num_outputs, kernel_init=nn.initializers.zeros, dtype=self.dtype
    )(x)
    return x.astype(jnp.float32)


class ConvHead(nn.Module):
  """A 1x1 convolution, then an `MLPHead` over all positions."""

  channels: int
  hidden: int
  num_outputs: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = conv.Conv(self.channels, (1, 1), dtype=self.dtype)(x)
    x = nn.relu(image_norm(self.dtype)(x))
    x = x.reshape(x.shape[0], -1)
    return MLPHead(self.hidden, self.num_outputs, self.dtype)(x)


def image_norm(dtype: Any) -> nn.LayerNorm:
  """Returns a layer norm over height, width and planes.

  Not batch norm, whose running statistics would be state inside the search.
  """
  return nn.LayerNorm(
    reduction_axes=(-3, -2, -1), feature_axes=-1, dtype=dtype
  )
