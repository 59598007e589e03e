"""Leaves of a state by name: described, compared, and made what they were."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.errors import UserError

Leaves = dict[str, Any]  # "params/dense/kernel" -> array.


class HostState(NamedTuple):
  """A state on the host, ready to be written."""

  descriptions: dict[str, dict[str, Any]]  # As the manifest has them.
  arrays: dict[str, np.ndarray]  # By name; keys as integers.


def to_host(state: Any, *, own: bool = False) -> HostState:
  """Returns a state on the host.

  Args:
    state: a pytree of arrays, typed PRNG keys, numbers and None.
    own: True for memory of its own, which lasts when the state is donated.

  Raises:
    TypeError: a leaf is no array of numbers.
  """
  leaves = flatten(state)
  for leaf in leaves.values():
    if isinstance(leaf, jax.Array) and not is_key(leaf):
      leaf.copy_to_host_async()
  arrays = {}
  for name, leaf in leaves.items():
    data = jax.random.key_data(leaf) if is_key(leaf) else leaf
    array = np.asarray(data)
    if array.dtype.kind in 'OSUMm':
      raise TypeError(f'{name!r} is no array of numbers')
    arrays[name] = array.copy() if own else array
  return HostState(
    {name: describe(leaf) for name, leaf in leaves.items()}, arrays)


def num_bytes(state: Any) -> int:
  """Returns the memory of a state; keys count as if they took none."""
  return sum(
    leaf.nbytes for leaf in flatten(state).values()
    if hasattr(leaf, 'nbytes') and not is_key(leaf))


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
    keys = jax.random.wrap_key_data(
      jnp.asarray(array), impl=saved['key_impl'])
    return keys if sharding is None else place(keys, sharding)
  if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
    if not isinstance(array, jax.Array):
      # A copy: jax would not donate memory that NumPy owns.
      array = jnp.array(array)
    return array if sharding is None else place(array, sharding)
  if isinstance(leaf, np.ndarray):
    return np.asarray(array)
  return type(leaf)(np.asarray(array)[()])


def place(array: Any, sharding: Any) -> jax.Array:
  """Returns an array, or keys, where it has to be.

  Args:
    array: where it is already, or one that every process has whole.
    sharding: over devices of this process, or of several.
  """
  if sharding.is_fully_addressable or not array.is_fully_addressable:
    return jax.device_put(array, sharding)
  if is_key(array):
    data = np.asarray(jax.random.key_data(array))
    return jax.random.wrap_key_data(
      _spread(data, sharding), impl=jax.random.key_impl(array))
  return _spread(np.asarray(array), sharding)


def _spread(array: np.ndarray, sharding: Any) -> jax.Array:
  """Returns a global array of what every process has whole."""
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: jnp.array(array[index]))


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
