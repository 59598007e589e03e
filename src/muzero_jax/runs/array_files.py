"""Arrays by name to disk and back, compared; the only user of Orbax.

`<field>/` is one Orbax checkpoint per top-level field of a state. Orbax merges
its files through a glob of their whole path, so that a bracket anywhere in it
would lose all of them: it gets a path of plain letters instead.
"""

import contextlib
import errno
import functools
import json
import logging
import os
import pathlib
import sys
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from muzero_jax import files
from muzero_jax.errors import RunError
from muzero_jax.runs import leaves as leaves_lib
from muzero_jax.runs.leaves import Leaves
from muzero_jax.runs.manifest import DamageError

_COMPARED_BYTES = 1 << 28  # Small arrays are read back together.
# Arrays of fewer bytes are written as one, and where each starts in a file
# beside it. TensorStore never frees a few hundred bytes of each array that it
# writes: of a state of 150 arrays, 0.1 MB with each save.
_PACKED_BYTES = 1 << 18
_PACKED, _OFFSETS = '.packed', 'packed.json'
_MOST_PACKED = 1 << 40
# The machine's state, which says nothing about a file.
_PASSING = (
  errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
  errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN)


def folder_of(name: str) -> str:
  """Returns the folder of the field that a leaf belongs to."""
  folder = urllib.parse.quote(name.split('/')[0], safe='')
  # These two are directories already.
  return folder.replace('.', '%2E') if folder in ('.', '..') else folder


def write(directory: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays into a new directory and waits for it.

  Raises:
    OSError: they cannot be written.
  """
  import orbax.checkpoint as ocp

  directory.mkdir(parents=True)
  # Orbax refuses arrays without elements.
  filled = {name: array for name, array in arrays.items() if array.size}
  with _plain(directory) as plain, _checkpointer() as checkpointer:
    for folder, names in _by_folder(filled).items():
      items, offsets = _pack({name: arrays[name] for name in names})
      try:
        checkpointer.save(plain / folder, args=ocp.args.PyTreeSave(items))
      except Exception as error:  # noqa: B902 - TensorStore's own are many.
        raise files.as_os_error(error) or OSError(_line(error)) from error
      if offsets:
        files.write_flushed(
          directory / folder / _OFFSETS, json.dumps(offsets).encode())


def write_shared(
  directory: pathlib.Path, arrays: Mapping[str, jax.Array]
) -> None:
  """Writes the shards of this process; all processes call it together.

  Args:
    directory: is there, and empty; its path has no characters of patterns.
    arrays: global ones, by name.

  Raises:
    OSError: they cannot be written.
  """
  import orbax.checkpoint as ocp

  filled = {name: array for name, array in arrays.items() if array.size}
  with _checkpointer() as checkpointer:
    for folder, names in _by_folder(filled).items():
      items = {name: arrays[name] for name in names}
      try:
        checkpointer.save(
          directory.absolute() / folder, args=ocp.args.PyTreeSave(items))
      except Exception as error:  # noqa: B902 - TensorStore's own are many.
        raise files.as_os_error(error) or OSError(_line(error)) from error


def check_written(
  directory: pathlib.Path, arrays: Mapping[str, np.ndarray]
) -> None:
  """Reads all arrays back, and compares each with what it should be.

  As much memory is taken as the largest array has.

  Raises:
    OSError: what would be restored is not what was saved.
  """
  for names in _batches(arrays):
    wanted = {name: arrays[name] for name in names}
    try:
      found = read(directory, wanted)
    except DamageError as damage:
      raise OSError(f'what was written cannot be read: {damage}') from damage
    for name in names:
      if not _same_bits(found.pop(name), wanted[name]):
        raise OSError(f'{name} reads otherwise than it was written')


def read(directory: pathlib.Path, wanted: Leaves) -> Leaves:
  """Returns arrays by name, keys still as integers.

  Args:
    directory: as it was written.
    wanted: by name, arrays or shapes of that kind; large ones with a sharding
      come as arrays of jax, the others as NumPy's.

  Raises:
    DamageError: they are not there, or are none.
    RunError: the machine lacks memory, files or rights to read them.
  """
  arrays: Leaves = {}
  try:
    with _plain(directory) as plain, _checkpointer() as checkpointer:
      for folder, names in _by_folder(wanted).items():
        arrays |= _read_folder(
          checkpointer, plain / folder, {name: wanted[name] for name in names})
  except Exception as error:  # noqa: B902 - Orbax's own are many.
    if is_passing(error):
      raise RunError(
        f'checkpoint {directory.parent} cannot be read: {_line(error)}'
      ) from error
    raise DamageError(f'Orbax cannot read it: {_line(error)}') from error
  return arrays


def is_passing(error: BaseException) -> bool:
  """Returns whether an error tells of the machine and not of a file."""
  text = str(error)
  return (
    isinstance(error, MemoryError)
    or isinstance(error, OSError) and error.errno in _PASSING
    or 'RESOURCE_EXHAUSTED' in text or 'PERMISSION_DENIED' in text)


def _read_folder(
  checkpointer: Any, directory: pathlib.Path, wanted: Leaves
) -> Leaves:
  """Returns the arrays of one top-level field, keys still as integers."""
  import orbax.checkpoint as ocp

  arrays, items, arguments, packed = {}, {}, {}, {}
  offsets, num_packed = _read_offsets(directory)
  for name, leaf in wanted.items():
    if leaves_lib.is_key(leaf):
      shape = jax.eval_shape(jax.random.key_data, leaf)
    else:
      shape = leaf if hasattr(leaf, 'dtype') else np.asarray(leaf)
    if not np.prod(shape.shape):
      arrays[name] = np.zeros(shape.shape, shape.dtype)
      continue
    shape = jax.ShapeDtypeStruct(shape.shape, shape.dtype)
    if name in offsets:
      packed[name] = shape
      continue
    items[name] = shape
    sharding = None if leaves_lib.is_key(leaf) else leaves_lib.sharding_of(leaf)
    arguments[name] = (
      ocp.RestoreArgs(restore_type=np.ndarray) if sharding is None
      else ocp.ArrayRestoreArgs(sharding=sharding))
  if packed:
    items[_PACKED] = jax.ShapeDtypeStruct((num_packed,), np.uint8)
    arguments[_PACKED] = ocp.RestoreArgs(restore_type=np.ndarray)
  if not items:
    return arrays
  arrays |= checkpointer.restore(directory, args=ocp.args.PyTreeRestore(
    item=items, restore_args=arguments, partial_restore=True))
  for name, item in items.items():
    found = arrays.get(name)
    # For a missing array Orbax returns the shape that it was asked for.
    if not isinstance(found, (np.ndarray, jax.Array)) or (
        found.shape, found.dtype) != (item.shape, item.dtype):
      raise ValueError(f'{name} is of another shape or dtype')
  bytes_of_all = arrays.pop(_PACKED, None)
  for name, shape in packed.items():
    arrays[name] = _unpack(bytes_of_all, offsets[name], shape)
  return arrays


def _pack(
  arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
  """Returns arrays of which all small ones are one, and where each starts."""
  small = {
    name: array for name, array in arrays.items()
    if array.nbytes < _PACKED_BYTES}
  if len(small) < 2:
    return dict(arrays), {}
  offsets, start = {}, 0
  for name, array in small.items():
    offsets[name] = start
    start += array.nbytes
  bits = [
    np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in small.values()]
  large = {name: array for name, array in arrays.items() if name not in small}
  return {**large, _PACKED: np.concatenate(bits)}, {**offsets, _PACKED: start}


def _read_offsets(directory: pathlib.Path) -> tuple[dict[str, int], int]:
  """Returns where each small array starts, and the bytes of all of them.

  Older checkpoints have none.

  Raises:
    ValueError: it is no such file.
  """
  try:
    offsets = files.read_json(directory / _OFFSETS)
  except FileNotFoundError:
    return {}, 0
  if not isinstance(offsets, dict) or not all(
      type(x) is int and 0 <= x <= _MOST_PACKED for x in offsets.values()):
    raise ValueError(f'{_OFFSETS} has no offsets')
  return offsets, offsets.pop(_PACKED, 0)


def _unpack(packed: Any, start: int, shape: Any) -> np.ndarray:
  """Returns one of the arrays that are written as one.

  Raises:
    ValueError: it would go beyond the end.
  """
  size = int(np.prod(shape.shape)) * shape.dtype.itemsize
  bits = packed[start:start + size]
  if len(bits) != size:
    raise ValueError(f'{_OFFSETS} points beyond the end')
  # A copy: of another alignment, and it does not keep the others alive.
  return bits.copy().view(shape.dtype).reshape(shape.shape)


def _by_folder(names: Iterable[str]) -> dict[str, list[str]]:
  """Returns the leaf names by the folder of their field."""
  folders: dict[str, list[str]] = {}
  for name in names:
    folders.setdefault(folder_of(name), []).append(name)
  return folders


def _batches(arrays: Mapping[str, np.ndarray]) -> Iterator[list[str]]:
  """Yields names of arrays that are read together."""
  for names in _by_folder(arrays).values():
    batch: list[str] = []
    size = 0
    for name in names:
      if batch and size + arrays[name].nbytes > _COMPARED_BYTES:
        yield batch
        batch, size = [], 0
      batch.append(name)
      size += arrays[name].nbytes
    yield batch


def _same_bits(found: Any, wanted: np.ndarray) -> bool:
  """Returns whether two arrays are the same, NaN and signed zeros too."""
  bits = lambda x: np.ascontiguousarray(x).reshape(-1).view(np.uint8)
  return np.array_equal(bits(found), bits(wanted))


def _line(error: BaseException) -> str:
  """Returns the first line of what an error says."""
  text = str(error).strip().splitlines() or ['']
  return f'{type(error).__name__}: {text[0][:200]}'


@contextlib.contextmanager
def _plain(directory: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a path of letters, digits and slashes that leads to a directory."""
  if jax.process_count() > 1:
    # Orbax's barriers are called after the path: it has to be the same in all
    # processes. `shared_checkpoint` has refused what is not plain.
    yield directory.absolute()
    return
  descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
  try:
    plain = pathlib.Path(f'/proc/self/fd/{descriptor}')
    if plain.is_dir():
      yield plain
    else:  # A system without /proc.
      with tempfile.TemporaryDirectory(prefix='muzero_jax_') as folder:
        link = pathlib.Path(folder) / 'state'
        link.symlink_to(directory.absolute(), target_is_directory=True)
        yield link
  finally:
    os.close(descriptor)


@contextlib.contextmanager
def _checkpointer() -> Iterator[Any]:
  """Yields Orbax's checkpointer, without its own running commentary."""
  # Orbax takes a third of a second to import, and only this needs it.
  import orbax.checkpoint as ocp

  _hush()
  # Frames hardly shrink, and compressing 300 MB takes 3 s instead of 0.2.
  handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_compression=False)
  with ocp.Checkpointer(handler) as checkpointer:
    yield checkpointer


@functools.cache
def _hush() -> None:
  """Let Orbax and TensorStore say nothing by themselves, from now on.

  Their errors are raised. What their threads tell of it comes later than that:
  Orbax logs what each raised, and TensorStore's writes that end after one that
  failed would call an event loop that is closed by then, which is a traceback
  for `sys.unraisablehook` each.
  """
  logging.getLogger('absl').addFilter(
    lambda record: 'orbax' not in record.pathname)
  before = sys.unraisablehook

  def hook(found: Any) -> None:
    error = found.exc_value
    if not (isinstance(error, RuntimeError)
            and str(error) == 'Event loop is closed'):
      before(found)

  sys.unraisablehook = hook
