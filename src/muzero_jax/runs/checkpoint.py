"""The state of a run to disk and back, verified; the only user of Orbax.

A checkpoint is `checkpoints/<step>/`: `state/<field>/`, one Orbax checkpoint
per top-level field of the state, and `manifest.json`, with the SHA-256 of each
of their files and the shape and dtype of each leaf. It is written under
another name, flushed and then renamed, so that a step directory is complete or
absent whenever the process dies. Orbax alone notices neither flipped bytes
nor, at once, that a save has not finished.

One process per run; arrays may be sharded over its devices.
"""

import contextlib
import logging
import os
import pathlib
import re
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from muzero_jax import files
from muzero_jax.errors import UserError
from muzero_jax.runs import leaves as leaves_lib
from muzero_jax.runs import manifest as manifest_lib

CHECKPOINTS = 'checkpoints'  # The folder of a run directory.
_STEP = re.compile(r'\d+')
_SAVING, _REPLACED, _REMOVING = '.saving-', '.replaced-', '.removing-'
_DAMAGED = 'damaged-'
_warn = logging.getLogger(__name__).warning


def save(
  workdir: str | os.PathLike,
  step: int,
  state: Any,
  *,
  max_to_keep: int | None = 2,
  folder: str = CHECKPOINTS,
) -> pathlib.Path:
  """Saves a state; when this returns, the step survives a crash.

  Args:
    workdir: the run directory.
    step: number of the checkpoint, at least 0; one of that number is replaced.
    state: a pytree of arrays, typed PRNG keys, numbers and None.
    max_to_keep: the newest checkpoints kept, at least 1; None for all.
    folder: of the run directory, where the checkpoints are.

  Returns:
    The checkpoint's directory.

  Raises:
    OSError: it cannot be written; older checkpoints are untouched.
  """
  if jax.process_count() > 1:
    raise NotImplementedError('checkpoints of several processes')
  root = pathlib.Path(workdir) / folder
  root.mkdir(parents=True, exist_ok=True)
  _tidy(root)
  final = _directory(root, step)
  saving = root / f'{_SAVING}{final.name}'
  leaves = leaves_lib.flatten(state)
  _write_state(saving / 'state', leaves)
  manifest_lib.seal(saving, dict(
    step=step,
    leaves={name: leaves_lib.describe(leaf) for name, leaf in leaves.items()},
  ))
  if final.exists():
    final.rename(root / f'{_REPLACED}{final.name}')
  saving.rename(final)
  files.flush_directory(root)
  saved = steps(workdir, folder=folder)
  for old in saved[:-max_to_keep] if max_to_keep else []:
    if old != step:
      directory = _directory(root, old)
      directory.rename(root / f'{_REMOVING}{directory.name}')
  _tidy(root)
  return final


def restore(
  workdir: str | os.PathLike,
  abstract_state: Any,
  *,
  report: Callable[[str], None] = _warn,
) -> tuple[int, Any] | None:
  """Returns the newest intact (step, state), or None if none was ever saved.

  A damaged checkpoint is reported, renamed to `damaged-<step>`, and the one
  before it used.

  Args:
    workdir: the run directory.
    abstract_state: the state, or `jax.eval_shape` of it. Leaves go to its
      shardings, where it has them; NumPy arrays and numbers stay such.
    report: called with one line for each damaged checkpoint.

  Raises:
    UserError: no intact checkpoint is left, or the newest intact one holds
      other leaves, shapes or dtypes: nothing is set aside then.
  """
  root = pathlib.Path(workdir) / CHECKPOINTS
  if root.is_dir():
    _tidy(root)
  for step in reversed(steps(workdir)):
    directory = _directory(root, step)
    try:
      manifest = manifest_lib.verify(directory)
    except manifest_lib.DamageError as damage:
      aside = _set_aside(directory)
      report(f'checkpoint {directory} is damaged ({damage}): set aside as '
             f'{aside.name}')
      continue
    return step, _read(directory, manifest, abstract_state, '')
  _refuse_if_all_damaged(root)
  return None


def restore_subtree(
  workdir: str | os.PathLike,
  abstract_subtree: Any,
  subtree: str,
  *,
  report: Callable[[str], None] = _warn,
) -> tuple[int, Any] | None:
  """Returns the newest intact (step, part of the state), or None if none.

  It reads and verifies one top-level field of the state only, and changes
  nothing on disk: a run may be writing there.

  Args:
    workdir: the run directory.
    abstract_subtree: that part, or `jax.eval_shape` of it.
    subtree: its path in the state, for example "train/params".
    report: called with one line for each damaged checkpoint.

  Raises:
    UserError: as `restore`.
  """
  root = pathlib.Path(workdir) / CHECKPOINTS
  tried: set[int] = set()
  # Listed anew each time: the run may have replaced what was listed before.
  while left := set(steps(workdir)) - tried:
    step = max(left)
    tried.add(step)
    directory = _directory(root, step)
    try:
      field = _group_directory(pathlib.Path('state'), subtree)
      manifest = manifest_lib.verify(directory, field.as_posix())
      return step, _read(directory, manifest, abstract_subtree, subtree)
    except (manifest_lib.DamageError, FileNotFoundError) as damage:
      if directory.exists():
        report(f'checkpoint {directory} is damaged ({damage}): passed over')
  if tried:
    raise UserError(f'no checkpoint in {root} is intact')
  _refuse_if_all_damaged(root)
  return None


def restore_step(
  workdir: str | os.PathLike,
  abstract_state: Any,
  step: int,
  *,
  folder: str = CHECKPOINTS,
) -> Any:
  """Returns the state of one step; changes nothing on disk.

  Args:
    workdir: the run directory.
    abstract_state: the state, or `jax.eval_shape` of it.
    step: one of `steps`.
    folder: of the run directory, where the checkpoints are.

  Raises:
    UserError: it is not there, is damaged, or holds another state.
  """
  directory = _directory(pathlib.Path(workdir) / folder, step)
  try:
    manifest = manifest_lib.verify(directory)
  except manifest_lib.DamageError as damage:
    raise UserError(f'{directory} is damaged: {damage}') from None
  return _read(directory, manifest, abstract_state, '')


def steps(
  workdir: str | os.PathLike, *, folder: str = CHECKPOINTS
) -> list[int]:
  """Returns the steps of the saved checkpoints, oldest first, unverified."""
  root = pathlib.Path(workdir) / folder
  if not root.is_dir():
    return []
  return sorted(
    int(path.name) for path in root.iterdir()
    if _STEP.fullmatch(path.name) and path.is_dir())


def _directory(root: pathlib.Path, step: int) -> pathlib.Path:
  return root / f'{step:012d}'


def _group_directory(state: pathlib.Path, name: str) -> pathlib.Path:
  return state / urllib.parse.quote(name.split('/')[0], safe='')


def _groups(names: Any) -> dict[str, list[str]]:
  """Returns the leaf names by top-level field."""
  groups: dict[str, list[str]] = {}
  for name in names:
    groups.setdefault(name.split('/')[0], []).append(name)
  return groups


def _write_state(state: pathlib.Path, leaves: leaves_lib.Leaves) -> None:
  """Writes one Orbax checkpoint per top-level field and waits for it."""
  import orbax.checkpoint as ocp

  state.mkdir(parents=True)
  arrays = {}
  for name, leaf in leaves.items():
    array = jax.random.key_data(leaf) if leaves_lib.is_key(leaf) else leaf
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if array.size:  # Orbax refuses arrays without elements.
      arrays[name] = array
  with _checkpointer() as checkpointer:
    for group, names in _groups(arrays).items():
      checkpointer.save(
        _group_directory(state.absolute(), group),
        args=ocp.args.PyTreeSave({name: arrays[name] for name in names}))


def _read(
  directory: pathlib.Path,
  manifest: dict[str, Any],
  abstract: Any,
  prefix: str,
) -> Any:
  """Returns `abstract` filled with the leaves of a verified checkpoint."""
  wanted = leaves_lib.flatten(abstract, prefix)
  saved = manifest['leaves']
  old_counts = _old_counts(wanted, saved)
  asked, wanted = wanted, _with_old_counts(wanted, old_counts)
  leaves_lib.refuse_others(directory, wanted, saved, prefix)
  arrays: leaves_lib.Leaves = {}
  with _checkpointer() as checkpointer:
    for group, names in _groups(wanted).items():
      arrays |= _read_group(
        checkpointer, _group_directory(directory / 'state', group),
        {name: wanted[name] for name in names})
  for name in old_counts:
    low = np.asarray(arrays.pop(name)).astype(np.uint32)
    arrays |= {f'{name}/low': low, f'{name}/high': np.zeros_like(low)}
  filled = [
    leaves_lib.finish(arrays.pop(name), leaf, saved.get(name, {}))
    for name, leaf in asked.items()
  ]
  return jax.tree_util.tree_unflatten(jax.tree.structure(abstract), filled)


def _old_counts(
  wanted: leaves_lib.Leaves, saved: dict[str, Any]
) -> list[str]:
  """Return the counts that an older version saved as one 32-bit number."""
  names = [
    name.removesuffix('/low') for name in wanted if name.endswith('/low')]
  return [
    name for name in names
    if f'{name}/low' not in saved
    and saved.get(name, {}).get('dtype') == 'int32'
  ]


def _with_old_counts(
  wanted: leaves_lib.Leaves, old_counts: list[str]
) -> leaves_lib.Leaves:
  """Return the leaves to be read where counts are single numbers."""
  changed: leaves_lib.Leaves = {}
  for name, leaf in wanted.items():
    count, _, word = name.rpartition('/')
    if count in old_counts and word in ('low', 'high'):
      changed[count] = np.broadcast_to(np.int32(0), leaf.shape)
    else:
      changed[name] = leaf
  return changed


def _read_group(
  checkpointer: Any, directory: pathlib.Path, wanted: leaves_lib.Leaves
) -> leaves_lib.Leaves:
  """Returns the arrays of one top-level field, keys still as integers."""
  import orbax.checkpoint as ocp

  arrays, items, arguments = {}, {}, {}
  for name, leaf in wanted.items():
    if leaves_lib.is_key(leaf):
      shape = jax.eval_shape(jax.random.key_data, leaf)
    else:
      shape = leaf if hasattr(leaf, 'dtype') else np.asarray(leaf)
    if not np.prod(shape.shape):
      arrays[name] = np.zeros(shape.shape, shape.dtype)
      continue
    items[name] = jax.ShapeDtypeStruct(shape.shape, shape.dtype)
    sharding = None if leaves_lib.is_key(leaf) else leaves_lib.sharding_of(leaf)
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


def _set_aside(directory: pathlib.Path) -> pathlib.Path:
  """Renames a damaged checkpoint; returns its new place."""
  number = 1
  while True:
    suffix = f'-{number}' if number > 1 else ''
    aside = directory.with_name(f'{_DAMAGED}{directory.name}{suffix}')
    if not aside.exists():
      return directory.rename(aside)
    number += 1


def _refuse_if_all_damaged(root: pathlib.Path) -> None:
  """Raises UserError where there were checkpoints, but all are damaged."""
  damaged = sorted(root.glob(f'{_DAMAGED}*')) if root.is_dir() else []
  if damaged:
    names = ', '.join(path.name for path in damaged)
    raise UserError(
      f'no checkpoint in {root} is intact: set aside were {names}; to start '
      'anew, choose another workdir')


def discard_unfinished(
  workdir: str | os.PathLike, *, folder: str = CHECKPOINTS
) -> None:
  """Removes what a save that failed has left, as far as it can be removed."""
  for path in (pathlib.Path(workdir) / folder).glob(f'{_SAVING}*'):
    shutil.rmtree(path, ignore_errors=True)


def _tidy(root: pathlib.Path) -> None:
  """Ends what a killed process left half done."""
  for path in root.glob(f'{_REPLACED}*'):
    final = path.with_name(path.name.removeprefix(_REPLACED))
    if not final.exists():
      path.rename(final)
  for mark in (_SAVING, _REMOVING, _REPLACED):
    for path in root.glob(f'{mark}*'):
      shutil.rmtree(path)


@contextlib.contextmanager
def _checkpointer() -> Iterator[Any]:
  """Yields Orbax's checkpointer, without its own running commentary."""
  # Orbax takes a third of a second to import, and only this needs it.
  import orbax.checkpoint as ocp

  logger = logging.getLogger('absl')
  level = logger.level
  # Its threads log tracebacks of what is raised here anyway.
  logger.setLevel(logging.CRITICAL + 1)
  try:
    # Frames hardly shrink, and compressing 300 MB takes 3 s instead of 0.2.
    handler = ocp.PyTreeCheckpointHandler(
      use_ocdbt=True, use_compression=False)
    with ocp.Checkpointer(handler) as checkpointer:
      yield checkpointer
  finally:
    logger.setLevel(level)
