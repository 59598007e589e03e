"""What networks with afterstates and chance codes share."""

from typing import Any

import jax
import jax.numpy as jnp

from muzero_jax.networks import heads
from muzero_jax.types import Array, ModelOutput


class Chancing:
  """g without a code, of a network with `afterstate` and `chance`."""

  num_codes: int

  def step(self, state: Any, action: Array) -> ModelOutput:
    """Returns f(g(s, a)), had the likeliest code followed."""
    network: Any = self
    after = network.afterstate(state, action)
    likeliest = jnp.argmax(after.chance_logits, axis=-1)
    return network.chance(
      after.state,
      jax.nn.one_hot(likeliest, self.num_codes, dtype=jnp.float32))


def standardise_codes(x: Array) -> Array:
  """Returns encodings [B, M], as spread as M equally common codes.

  Without this, over the batch, one code is the largest everywhere at first, and
  commitment makes that final before g can ask for more.
  """
  mean = 1 / x.shape[-1]
  spread = (mean * (1 - mean)) ** 0.5
  return mean + spread * heads.standardise(x.astype(jnp.float32))
