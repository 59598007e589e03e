"""The state of a run to disk and back, verified.

A checkpoint is `checkpoints/<step>/`: `state/<field>/`, one Orbax checkpoint
per top-level field of the state, and `manifest.json`, with the SHA-256 of each
of their files, the shape and dtype of each leaf and the run's configuration.
It is written under another name, flushed, read back, compared and then
renamed, so that a step directory is complete or absent whenever the process
dies. Orbax alone notices neither flipped bytes nor, at once, that a save has
not finished.

What several processes do in place of `save` is in `shared_checkpoint`.
"""

import contextlib
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax import files
from muzero_jax.errors import RunError, UserError
from muzero_jax.runs import array_files, folders
from muzero_jax.runs import leaves as leaves_lib
from muzero_jax.runs import manifest as manifest_lib
from muzero_jax.runs.leaves import HostState
from muzero_jax.runs.manifest import DamageError

CHECKPOINTS = 'checkpoints'  # The folder of a run directory.
_warn = logging.getLogger(__name__).warning


class Checks(NamedTuple):
  """What a checkpoint must fulfil besides being intact."""

  # Facts of the manifest -> None; raises UserError where they do not fit, and
  # DamageError where they are none.
  facts: Callable[[Mapping[str, Any]], None] = lambda facts: None
  # The state asked for, leaves of the manifest -> the state to be read.
  adapt: Callable[[Any, Mapping[str, Any]], Any] = lambda state, leaves: state


NO_CHECKS = Checks()


def save(
  workdir: str | os.PathLike,
  step: int,
  state: Any,
  *,
  max_to_keep: int | None = 2,
  folder: str = CHECKPOINTS,
  facts: Mapping[str, Any] | None = None,
) -> pathlib.Path:
  """Saves a state; when this returns, the step was read back and is safe.

  Args:
    workdir: the run directory.
    step: number of the checkpoint, at least 0; one of that number is replaced.
    state: a pytree of arrays, typed PRNG keys, numbers and None; or what
      `leaves.to_host` made of one.
    max_to_keep: the newest checkpoints kept, at least 1; None for all.
    folder: of the run directory, where the checkpoints are.
    facts: plain JSON for the manifest, for example the configuration.

  Returns:
    The checkpoint's directory.

  Raises:
    OSError: it cannot be written, or what is read back differs; older
      checkpoints are untouched.
    TypeError: a leaf is no array of numbers.
  """
  host = state if isinstance(state, HostState) else leaves_lib.to_host(state)
  root = pathlib.Path(workdir) / folder
  folders.make(root)
  folders.tidy(root)
  final = folders.of_step(root, step)
  saving = root / f'{folders.SAVING}{final.name}'
  folders.remove(saving)
  try:
    array_files.write(saving / 'state', host.arrays)
    manifest_lib.seal(saving, dict(
      facts or {}, step=step, leaves=host.descriptions))
    array_files.check_written(saving / 'state', host.arrays)
  except BaseException:
    # What is left of it must not keep a full disk full.
    shutil.rmtree(saving, ignore_errors=True)
    raise
  finish(root, saving, step, max_to_keep=max_to_keep)
  return final


def finish(
  root: pathlib.Path,
  saving: pathlib.Path,
  step: int,
  *,
  max_to_keep: int | None,
) -> None:
  """Give a checkpoint that is written and verified its name.

  Args:
    root: the folder of the checkpoints.
    saving: in it, where the checkpoint lies.
    step: its number; one of that number is replaced.
    max_to_keep: the newest checkpoints kept; older ones are removed.

  Raises:
    OSError: it cannot be renamed.
  """
  final = folders.of_step(root, step)
  if final.is_dir():
    final.rename(root / f'{folders.REPLACED}{final.name}')
  elif final.exists() or files.is_link(final):
    folders.set_aside(final)
  saving.rename(final)
  files.flush_directory(root)
  # The step is safe: whatever cannot be removed now is left for later.
  with contextlib.suppress(OSError):
    there = folders.steps(root)
    for old in there[:-max_to_keep] if max_to_keep else []:
      if old != step:
        directory = folders.of_step(root, old)
        directory.rename(root / f'{folders.REMOVING}{directory.name}')
    folders.tidy(root)


def restore(
  workdir: str | os.PathLike,
  abstract_state: Any,
  *,
  report: Callable[[str], None] = _warn,
  checks: Checks = NO_CHECKS,
) -> tuple[int, Any] | None:
  """Returns the newest intact (step, state), or None if none was ever saved.

  A damaged checkpoint is reported, renamed to `damaged-<step>`, and the one
  before it used.

  Args:
    workdir: the run directory.
    abstract_state: the state, or `jax.eval_shape` of it. Leaves go to its
      shardings, where it has them; NumPy arrays and numbers stay such.
    report: called with one line for each damaged checkpoint.
    checks: what the checkpoint must fulfil besides.

  Raises:
    UserError: no intact checkpoint is left, or the newest intact one holds
      other leaves, shapes or dtypes: nothing is set aside then.
    RunError: the machine cannot read it.
  """
  root = pathlib.Path(workdir) / CHECKPOINTS
  for step in reversed(_tidied(root)):
    directory = folders.of_step(root, step)
    try:
      return step, _verified(directory, abstract_state, checks)
    except DamageError as damage:
      aside = _set_aside(directory)
      report(f'checkpoint {directory} is damaged ({damage}): set aside as '
             f'{aside.name}')
  _refuse_if_all_damaged(root)
  return None


def newest_intact(
  workdir: str | os.PathLike,
  *,
  report: Callable[[str], None] = _warn,
  checks: Checks = NO_CHECKS,
) -> int:
  """Returns the newest step whose every byte is as it was; -1 for none.

  A damaged checkpoint is reported and renamed, as by `restore`.

  Args:
    workdir: the run directory.
    report: called with one line for each damaged checkpoint.
    checks: what the facts of the checkpoint must fulfil.

  Raises:
    UserError, RunError: as `restore`.
  """
  root = pathlib.Path(workdir) / CHECKPOINTS
  for step in reversed(_tidied(root)):
    directory = folders.of_step(root, step)
    try:
      _manifest(directory, checks)
      return step
    except DamageError as damage:
      aside = _set_aside(directory)
      report(f'checkpoint {directory} is damaged ({damage}): set aside as '
             f'{aside.name}')
  _refuse_if_all_damaged(root)
  return -1


def restore_subtree(
  workdir: str | os.PathLike,
  abstract_subtree: Any,
  subtree: str,
  *,
  report: Callable[[str], None] = _warn,
  checks: Checks = NO_CHECKS,
) -> tuple[int, Any] | None:
  """Returns the newest intact (step, part of the state), or None if none.

  It reads and verifies one top-level field of the state only, and changes
  nothing on disk: a run may be writing there.

  Args:
    workdir: the run directory.
    abstract_subtree: that part, or `jax.eval_shape` of it.
    subtree: its path in the state, for example "train/params".
    report: called with one line for each damaged checkpoint.
    checks: what the checkpoint must fulfil besides.

  Raises:
    UserError, RunError: as `restore`.
  """
  root = pathlib.Path(workdir) / CHECKPOINTS
  tried: set[int] = set()
  # Listed anew each time: the run may have replaced what was listed before.
  while left := set(steps(workdir)) - tried:
    step = max(left)
    tried.add(step)
    directory = folders.of_step(root, step)
    try:
      return step, _verified(directory, abstract_subtree, checks, subtree)
    except DamageError as damage:
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
  checks: Checks = NO_CHECKS,
) -> Any:
  """Returns the state of one step; changes nothing on disk.

  Args:
    workdir: the run directory.
    abstract_state: the state, or `jax.eval_shape` of it.
    step: one of `steps`.
    folder: of the run directory, where the checkpoints are.
    checks: what the checkpoint must fulfil besides.

  Raises:
    UserError: it is not there, is damaged, or holds another state.
    RunError: the machine cannot read it.
  """
  directory = folders.of_step(pathlib.Path(workdir) / folder, step)
  try:
    return _verified(directory, abstract_state, checks)
  except DamageError as damage:
    raise UserError(f'{directory} is damaged: {damage}') from None


def steps(
  workdir: str | os.PathLike, *, folder: str = CHECKPOINTS
) -> list[int]:
  """Returns the steps of the saved checkpoints, oldest first, unverified."""
  try:
    return folders.steps(pathlib.Path(workdir) / folder)
  except OSError as error:
    raise RunError(
      f'{pathlib.Path(workdir) / folder} cannot be read: {error.strerror}'
    ) from error


def _tidied(root: pathlib.Path) -> list[int]:
  """Returns the steps in a folder, once nothing there is half done."""
  try:
    if root.is_dir():
      folders.tidy(root)
    return folders.steps(root)
  except OSError as error:
    raise RunError(f'{root} cannot be put in order: {error}') from error


def _verified(
  directory: pathlib.Path, abstract: Any, checks: Checks, prefix: str = ''
) -> Any:
  """Returns `abstract` filled with the leaves of a checkpoint.

  Raises:
    DamageError: it is not what was saved.
    UserError: it holds other leaves, or does not pass the checks.
    RunError: the machine cannot read it.
  """
  manifest = _manifest(directory, checks, prefix)
  abstract = checks.adapt(abstract, manifest['leaves'])
  return _read(directory, manifest['leaves'], abstract, prefix)


def _manifest(
  directory: pathlib.Path, checks: Checks, prefix: str = ''
) -> dict[str, Any]:
  """Returns the manifest of a checkpoint that is intact and fits.

  Raises:
    DamageError, UserError, RunError: as `_verified`.
  """
  within = f'state/{array_files.folder_of(prefix)}' if prefix else ''
  try:
    manifest = manifest_lib.verify(directory, within)
  except OSError as error:
    if array_files.is_passing(error):
      raise RunError(f'checkpoint {directory} cannot be read: {error}'
                     ) from error
    raise DamageError(str(error)) from error
  checks.facts(manifest)
  return manifest


def _read(
  directory: pathlib.Path,
  saved: dict[str, Any],
  abstract: Any,
  prefix: str,
) -> Any:
  """Returns `abstract` filled with the leaves of a verified checkpoint."""
  wanted = leaves_lib.flatten(abstract, prefix)
  old_counts = _old_counts(wanted, saved)
  asked, wanted = wanted, _with_old_counts(wanted, old_counts)
  leaves_lib.refuse_others(directory, wanted, saved, prefix)
  arrays = array_files.read(directory / 'state', wanted)
  for name in old_counts:
    low = np.asarray(arrays.pop(name)).astype(np.uint32)
    arrays |= {f'{name}/low': low, f'{name}/high': np.zeros_like(low)}
  try:
    filled = [
      leaves_lib.finish(arrays.pop(name), leaf, saved.get(name, {}))
      for name, leaf in asked.items()
    ]
  except (KeyError, ValueError, TypeError) as error:
    # A key of no known kind.
    raise DamageError(f'a leaf is none: {error}') from error
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


def _set_aside(directory: pathlib.Path) -> pathlib.Path:
  """Renames a damaged checkpoint; returns its new place."""
  try:
    return folders.set_aside(directory)
  except OSError as error:
    raise RunError(
      f'checkpoint {directory} is damaged and cannot be set aside: '
      f'{error.strerror}') from error


def _refuse_if_all_damaged(root: pathlib.Path) -> None:
  """Raises UserError where there were checkpoints, but all are damaged."""
  damaged = sorted(root.glob(f'{folders.DAMAGED}*')) if root.is_dir() else []
  if damaged:
    names = ', '.join(path.name for path in damaged)
    raise UserError(
      f'no checkpoint in {root} is intact: set aside were {names}; to start '
      'anew, choose another workdir or add --restart')
