"""The head of EfficientZero's value prefix: an LSTM along the unroll."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax.networks import conv, heads
from muzero_jax.types import Array, PrefixState


def start(hidden: Array, units: int) -> PrefixState:
  """Returns the state of roots [B, ...]: nothing is remembered yet."""
  zero = jnp.zeros((hidden.shape[0], units), jnp.float32)
  steps = jnp.zeros(hidden.shape[0], jnp.int32)
  return PrefixState(hidden, (zero, zero), steps)


class PrefixHead(nn.Module):
  """Sums of the rewards since the memory was cleared.

  Attributes:
    steps: transitions after which it is cleared (EfficientZero: 5).
    units: R of the LSTM.
    head_hidden: units of the layer behind it.
    num_outputs: D.
    channels: planes of a 1x1 convolution before it, where states are planes.
    dtype: of the arithmetic; the memory stays float32.
  """

  steps: int
  units: int
  head_hidden: int
  num_outputs: int
  channels: int = 16
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, state: PrefixState, hidden: Array
  ) -> tuple[PrefixState, Array]:
    """Returns the state with a new `hidden` [B, ...], and logits [B, D]."""
    x = hidden.astype(self.dtype)
    if x.ndim == 4:
      x = conv.Conv(self.channels, (1, 1), dtype=self.dtype)(x)
      x = nn.relu(heads.GroupNorm(self.dtype)(x))
    x = x.reshape(x.shape[0], -1)
    clears = (state.num_steps % self.steps == 0)[:, None]
    memory = jax.tree.map(lambda m: jnp.where(clears, 0.0, m), state.memory)
    memory, x = nn.OptimizedLSTMCell(self.units, dtype=self.dtype)(memory, x)
    memory = jax.tree.map(lambda m: m.astype(jnp.float32), memory)
    logits = heads.MLPHead(self.head_hidden, self.num_outputs, self.dtype)(x)
    return PrefixState(hidden, memory, state.num_steps + 1), logits
