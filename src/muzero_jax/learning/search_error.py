"""The mean error of searched values: q-values that differ by less are noise.

A fixed least range of q-values is in units of reward, and has to be found for
each environment. This one is measured while the agent plays.
"""

import jax
import jax.numpy as jnp

from muzero_jax import targets
from muzero_jax.types import Array, Trajectory

# Of each iteration's measurement in the running mean.
_SHARE = 0.1
_LEAST = 1e-8


def init() -> Array:
  """Return the error before anything was measured: infinity, float32 [].

  With it q-values have no influence, and the network's policy decides.
  """
  return jnp.full((), jnp.inf, jnp.float32)


def measure(rows: Trajectory, discount: float) -> tuple[Array, Array]:
  """Return the sum of one-step errors along what was played, and their number.

  |r + d v' - v| of the searched values v of a row and v' of the next, with d
  the signed discount between them (Sutton and Barto 2018, section 6.1, the TD
  error).

  Args:
    rows: [T, B] that follow each other.
    discount: gamma.

  Returns:
    Two float32 scalars.
  """
  signed = jax.vmap(
    lambda discounts, to_play: targets.signed_discounts(
      discounts, to_play, discount_factor=discount),
    in_axes=1, out_axes=1)(rows.discount, rows.to_play)
  # The value of an episode's last row counts only where time cut it off.
  after = jnp.where(signed == 0, 0.0, signed * rows.value[1:])
  error = jnp.abs(rows.reward[1:] + after - rows.value[:-1])
  is_step = ~rows.is_last[:-1] & jnp.isfinite(error)
  total = jnp.sum(jnp.where(is_step, error, 0.0))
  return total, jnp.sum(is_step, dtype=jnp.float32)


def update(error: Array, total: Array, number: Array) -> Array:
  """Return the running mean after another iteration.

  Args:
    error: [] as it was, or of `init`.
    total, number: [] as `measure` returns them, over all devices.
  """
  mean = total / jnp.maximum(number, 1)
  share = jnp.where(jnp.isfinite(error), _SHARE, 1.0)
  before = jnp.where(jnp.isfinite(error), error, 0.0)
  error = jnp.where(number > 0, before + share * (mean - before), error)
  # The search divides by it, so it must not be 0.
  return jnp.maximum(error, _LEAST)
