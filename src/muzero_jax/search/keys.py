"""Keys of a search: one, or one for each of several agents.

`batch_agents` searches the trees of S agents as one batch. Each agent's noise
is drawn from its own key all the same, so that every agent can be repeated
alone.
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
  """Return noise of a shape, each agent's rows drawn from its own key.

  Args:
    sample: (rng_key [], shape) -> noise.
    rng_key: [] or [S]; consumed.
    shape: (B, ...), or (S B, ...) with S keys.
  """
  if not _is_many(rng_key):
    return sample(rng_key, shape)
  rows = shape[0] // rng_key.shape[0]
  noise = jax.vmap(lambda key: sample(key, (rows, *shape[1:])))(rng_key)
  return noise.reshape(shape)


def shared(rng_key: Array) -> Array:
  """Return a key [] for what all agents share: a model that draws nothing."""
  return rng_key[0] if _is_many(rng_key) else rng_key


def _is_many(rng_key: Array) -> bool:
  """Return whether keys are [S]; mctx's callers have raw ones, [words]."""
  is_typed = jax.dtypes.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
  return rng_key.ndim > (0 if is_typed else 1)
