"""EfficientZero's value prefix: sums of rewards in place of single ones.

When exactly a reward falls is hard to foresee, and matters little to a search:
the model predicts the rewards since the root together (EfficientZero, arXiv
2111.00210, section 4.2). The sums start anew every few transitions; search and
diagnosis take their differences.
"""

import jax.numpy as jnp

from muzero_jax.types import Array


def sums(reward: Array, *, steps: int) -> Array:
  """Returns the value prefix at each of K transitions.

  sum_{i=j}^{k} r_i, with j the last multiple of `steps` up to k: without a
  discount, as in EfficientZero.

  Args:
    reward: [..., K]
    steps: transitions after which the sum starts anew; 0 returns the rewards.

  Returns:
    [..., K]
  """
  if not steps:
    return reward
  num_steps = reward.shape[-1]
  padding = -num_steps % steps
  padded = jnp.pad(reward, [(0, 0)] * (reward.ndim - 1) + [(0, padding)])
  parts = padded.reshape(*reward.shape[:-1], -1, steps)
  return jnp.cumsum(parts, axis=-1).reshape(padded.shape)[..., :num_steps]


def differences(prefix: Array, *, steps: int) -> Array:
  """Returns the rewards [..., K] of which `prefix` [..., K] are the sums."""
  if not steps:
    return prefix
  before = jnp.pad(
    prefix[..., :-1], [(0, 0)] * (prefix.ndim - 1) + [(1, 0)]
  )
  starts = jnp.arange(prefix.shape[-1]) % steps == 0
  return prefix - jnp.where(starts, 0.0, before)
