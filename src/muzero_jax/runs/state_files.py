"""The arrays of a state to files and back; the only user of Orbax."""

import contextlib
import logging
import pathlib
import urllib.parse
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.errors import UserError

Leaves = dict[str, Any]  # "params/dense/kernel" -> array.


def _is_key(leaf: Any) -> bool:
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
  if _is_key(leaf) and isinstance(leaf, jax.Array):
    description['key_impl'] = str(jax.random.key_impl(leaf))
  return description


def group_directory(state: pathlib.Path, name: str) -> pathlib.Path:
  return state / urllib.parse.quote(name.split('/')[0], safe='')


def _groups(names: Any) -> dict[str, list[str]]:
  """Returns the leaf names by top-level field."""
  groups: dict[str, list[str]] = {}
  for name in names:
    groups.setdefault(name.split('/')[0], []).append(name)
  return groups


def write_state(state: pathlib.Path, leaves: Leaves) -> None:
  """Writes one Orbax checkpoint per top-level field and waits for it."""
  import orbax.checkpoint as ocp

  state.mkdir(parents=True)
  arrays = {}
  for name, leaf in leaves.items():
    array = jax.random.key_data(leaf) if _is_key(leaf) else leaf
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if array.size:  # Orbax refuses arrays without elements.
      arrays[name] = array
  with _checkpointer() as checkpointer:
    for group, names in _groups(arrays).items():
      checkpointer.save(
        group_directory(state.absolute(), group),
        args=ocp.args.PyTreeSave({name: arrays[name] for name in names}))


def read(
  directory: pathlib.Path,
  manifest: dict[str, Any],
  abstract: Any,
  prefix: str,
) -> Any:
  """Returns `abstract` filled with the leaves of a verified checkpoint."""
  wanted = flatten(abstract, prefix)
  saved = manifest['leaves']
  old_counts = _old_counts(wanted, saved)
  asked, wanted = wanted, _with_old_counts(wanted, old_counts)
  _refuse_other_leaves(directory, wanted, saved, prefix)
  arrays: Leaves = {}
  with _checkpointer() as checkpointer:
    for group, names in _groups(wanted).items():
      arrays |= _read_group(
        checkpointer, group_directory(directory / 'state', group),
        {name: wanted[name] for name in names})
  for name in old_counts:
    low = np.asarray(arrays.pop(name)).astype(np.uint32)
    arrays |= {f'{name}/low': low, f'{name}/high': np.zeros_like(low)}
  filled = [
    _finish(arrays.pop(name), leaf, saved.get(name, {}))
    for name, leaf in asked.items()
  ]
  return jax.tree_util.tree_unflatten(jax.tree.structure(abstract), filled)


def _old_counts(wanted: Leaves, saved: dict[str, Any]) -> list[str]:
  """Return the counts that an older version saved as one 32-bit number."""
  names = [
    name.removesuffix('/low') for name in wanted if name.endswith('/low')]
  return [
    name for name in names
    if f'{name}/low' not in saved
    and saved.get(name, {}).get('dtype') == 'int32'
  ]


def _with_old_counts(wanted: Leaves, old_counts: list[str]) -> Leaves:
  """Return the leaves to be read where counts are single numbers."""
  changed: Leaves = {}
  for name, leaf in wanted.items():
    count, _, word = name.rpartition('/')
    if count in old_counts and word in ('low', 'high'):
      changed[count] = np.broadcast_to(np.int32(0), leaf.shape)
    else:
      changed[name] = leaf
  return changed


def _read_group(
  checkpointer: Any, directory: pathlib.Path, wanted: Leaves
) -> Leaves:
  """Returns the arrays of one top-level field, keys still as integers."""
  import orbax.checkpoint as ocp

  arrays, items, arguments = {}, {}, {}
  for name, leaf in wanted.items():
    if _is_key(leaf):
      shape = jax.eval_shape(jax.random.key_data, leaf)
    else:
      shape = leaf if hasattr(leaf, 'dtype') else np.asarray(leaf)
    if not np.prod(shape.shape):
      arrays[name] = np.zeros(shape.shape, shape.dtype)
      continue
    items[name] = jax.ShapeDtypeStruct(shape.shape, shape.dtype)
    sharding = None if _is_key(leaf) else _sharding(leaf)
    arguments[name] = (
      ocp.RestoreArgs(restore_type=np.ndarray) if sharding is None
      else ocp.ArrayRestoreArgs(sharding=sharding))
  if items:
    restored = checkpointer.restore(
      directory.absolute(),
      args=ocp.args.PyTreeRestore(
        item=items, restore_args=arguments, partial_restore=True))
    arrays |= restored
  return arrays


def _sharding(leaf: Any) -> Any:
  """Returns where `leaf` has to go; None if that is open.

  An array that no one committed to a device has to stay uncommitted, or it
  could not meet arrays on other devices any more.
  """
  if isinstance(leaf, jax.Array) and not leaf.committed:
    return None
  return getattr(leaf, 'sharding', None)


def _finish(array: Any, leaf: Any, saved: dict[str, Any]) -> Any:
  """Returns a restored array as the kind of thing that `leaf` is."""
  sharding = _sharding(leaf)
  if _is_key(leaf):
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


def _refuse_other_leaves(
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


@contextlib.contextmanager
def _checkpointer() -> Iterator[Any]:
  """Yields Orbax's checkpointer, without its own running commentary."""
  # Orbax takes a third of a second to import, and only this needs it.
  import orbax.checkpoint as ocp

  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    # Frames hardly shrink, and compressing 300 MB takes 3 s instead of 0.2.
    handler = ocp.PyTreeCheckpointHandler(
      use_ocdbt=True, use_compression=False)
    with ocp.Checkpointer(handler) as checkpointer:
      yield checkpointer
  finally:
    logger.setLevel(level)
