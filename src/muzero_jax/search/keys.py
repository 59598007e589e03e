"""Keys of a search: one, or one for each of S equal groups of its roots.

`batch_agents` searches the trees of several agents as one batch. Each agent's
noise is drawn from its own key all the same, so that every agent can be
repeated alone. Groups of one agent's environments have keys of their own where
their noise lasts for different numbers of steps (`acting.lasting_noise`).
"""

from collections.abc import Callable
from typing import Any

import jax

from muzero_jax.types import Array


def split(rng_key: Array, num: int) -> tuple[Array, ...]:
  """Return `num` keys, each [] or [S] as `rng_key` is."""
  if not _is_many(rng_key):
    return tuple(jax.random.split(rng_key, num))
  keys = jax.vmap(lambda key: jax.random.split(key, num))(rng_key)
  return tuple(keys[:, i] for i in range(num))


def draw(
  sample: Callable[[Array, tuple[int, ...]], Any],
  rng_key: Array,
  shape: tuple[int, ...],
) -> Any:
  """Return noise of a shape, each group's rows drawn from its own key.

  Args:
    sample: (rng_key [], shape) -> noise.
    rng_key: [] or [S]; consumed.
    shape: (B, ...). With S keys each is for B / S rows, rounded up; those of
      the last may be fewer.
  """
  if not _is_many(rng_key):
    return sample(rng_key, shape)
  rows = -(-shape[0] // rng_key.shape[0])
  noise = jax.vmap(lambda key: sample(key, (rows, *shape[1:])))(rng_key)
  return noise.reshape(-1, *shape[1:])[:shape[0]]


def of_groups(rng_key: Array) -> Array:
  """Return the keys of S agents as one axis: [S], or [S G] of [S, G]."""
  return rng_key.reshape(-1) if _is_typed(rng_key) else rng_key


def shared(rng_key: Array) -> Array:
  """Return a key [] for what all groups share: a model that draws nothing."""
  return rng_key[0] if _is_many(rng_key) else rng_key


def _is_many(rng_key: Array) -> bool:
  """Return whether keys are [S]; mctx's callers have raw ones, [words]."""
  return rng_key.ndim > (0 if _is_typed(rng_key) else 1)


def _is_typed(rng_key: Array) -> bool:
  return jax.dtypes.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
