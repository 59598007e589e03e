"""Leaves of a state by name: described, compared, and made what they were."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.errors import UserError

Leaves = dict[str, Any]  # "params/dense/kernel" -> array.


def is_key(leaf: Any) -> bool:
  return jax.dtypes.issubdtype(
    getattr(leaf, 'dtype', np.dtype(int)), jax.dtypes.prng_key)


def flatten(tree: Any, prefix: str = '') -> Leaves:
  """Returns the leaves by path; None and empty containers have none."""
  leaves: Leaves = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
    parts = [
      str(getattr(key, 'name', getattr(key, 'key', getattr(key, 'idx', key))))
      for key in path
    ]
    name = '/'.join(([prefix] if prefix else []) + parts) or 'value'
    if name in leaves:
      raise UserError(f'two leaves of the state are called {name!r}')
    leaves[name] = leaf
  return leaves


def describe(leaf: Any) -> dict[str, Any]:
  """Returns shape and dtype as the manifest has them."""
  if not hasattr(leaf, 'dtype'):
    leaf = np.asarray(leaf)
  description = dict(shape=list(leaf.shape), dtype=str(leaf.dtype))
  if is_key(leaf) and isinstance(leaf, jax.Array):
    description['key_impl'] = str(jax.random.key_impl(leaf))
  return description


def sharding_of(leaf: Any) -> Any:
  """Returns where `leaf` has to go; None if that is open.

  An array that no one committed to a device has to stay uncommitted, or it
  could not meet arrays on other devices any more.
  """
  if isinstance(leaf, jax.Array) and not leaf.committed:
    return None
  return getattr(leaf, 'sharding', None)


def finish(array: Any, leaf: Any, saved: dict[str, Any]) -> Any:
  """Returns a restored array as the kind of thing that `leaf` is."""
  sharding = sharding_of(leaf)
  if is_key(leaf):
    array = jax.random.wrap_key_data(
      jnp.asarray(array), impl=saved['key_impl'])
    return array if sharding is None else jax.device_put(array, sharding)
  if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
    if sharding is None:
      # A copy: jax would not donate memory that NumPy owns.
      return jnp.array(array)
    return array if isinstance(array, jax.Array) else jax.device_put(
      array, sharding)
  if isinstance(leaf, np.ndarray):
    return np.asarray(array)
  return type(leaf)(np.asarray(array)[()])


def refuse_others(
  directory: pathlib.Path,
  wanted: Leaves,
  saved: dict[str, Any],
  prefix: str,
) -> None:
  """Raises UserError at the first leaf that is not as expected."""
  why = 'another version or other settings made it'
  for name, leaf in wanted.items():
    if name not in saved:
      raise UserError(f'checkpoint {directory} has no {name!r}: {why}')
    here, there = _text(describe(leaf)), _text(saved[name])
    if here != there:
      raise UserError(
        f'checkpoint {directory} does not fit: {name!r} is {there} there and '
        f'{here} here; {why}')
  start = f'{prefix}/' if prefix else ''
  for name in saved:
    if name.startswith(start) and name not in wanted and name != prefix:
      raise UserError(
        f'checkpoint {directory} has {name!r}, which is not expected: {why}')


def _text(description: dict[str, Any]) -> str:
  shape = ','.join(map(str, description['shape']))
  return f'{description["dtype"]}[{shape}]'
