"""Pieces that every network shares: input, hidden-state scaling and heads."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax.networks import conv
from muzero_jax.types import Array, ModelOutput

_MIN_RANGE = 1e-5
_EPSILON = 1e-6  # Of a variance.


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
  """Returns an observation as floats; uint8 images as -2 to 2.

  Centred and with a spread near one: on frames from 0 to 1, which differ
  little from their mean, the first layers learn several times slower.
  """
  if observation.dtype == jnp.uint8:
    return (observation.astype(dtype) / 255 - 0.5) * 4
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
    x = nn.relu(GroupNorm(self.dtype)(x))
    x = x.reshape(x.shape[0], -1)
    return MLPHead(self.hidden, self.num_outputs, self.dtype)(x)


class GroupNorm(nn.Module):
  """Normalises over positions and groups of up to four planes.

  Not batch norm, whose running statistics would be state inside the search;
  and not over all planes at once, where a static background drowns what
  changes. As Flax's GroupNorm, but with one pass over the positions that
  keeps the planes apart, which a CPU does several times faster.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Returns x [B, H, W, C] normalised, scaled and shifted."""
    planes = x.shape[-1]
    size = math.gcd(planes, 4)
    scale = self.param('scale', nn.initializers.ones, (planes,), jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, (planes,), jnp.float32)
    wide = x.astype(jnp.float32)

    def over_group(of_plane: Array) -> Array:  # [B, C]
      groups = of_plane.reshape(-1, planes // size, size)
      return jnp.repeat(groups.mean(axis=-1), size, axis=-1)

    mean = over_group(wide.mean(axis=(1, 2)))
    square = over_group((wide * wide).mean(axis=(1, 2)))
    variance = jnp.maximum(square - mean * mean, 0)
    factor = scale * jax.lax.rsqrt(variance + _EPSILON)
    shift = bias - mean * factor
    wide = wide * factor[:, None, None] + shift[:, None, None]
    return wide.astype(self.dtype)


def standardise(x: Array) -> Array:
  """Returns [B, X] with mean 0 and variance 1 of each unit over this batch.

  Batch norm without running statistics: only for what the learner alone
  computes, never for what a search evaluates. On several devices, each takes
  its own share of the batch.
  """
  centred = x - x.mean(axis=0)
  variance = jnp.mean(centred * centred, axis=0)
  return centred * jax.lax.rsqrt(variance + _EPSILON)


def predict(
  value_head: nn.Module,
  policy_head: nn.Module,
  hidden: Array,
  reward_logits: Array,
  state: Any = None,
) -> ModelOutput:
  """Returns f of a hidden state [B, ...] beside the reward [B, D] into it.

  Args:
    value_head: of values.
    policy_head: of policies.
    hidden: [B, ...]
    reward_logits: [B, D]
    state: that the output carries on; None for `hidden` itself.
  """
  return ModelOutput(
    state=hidden if state is None else state,
    reward_logits=reward_logits,
    value_logits=value_head(hidden),
    policy_logits=policy_head(hidden),
  )
