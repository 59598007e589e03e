"""Checkpoints that several processes write and read together.

Each process writes its shards through Orbax, into the directory that all share;
process 0 does what `checkpoint` does alone: the manifest, the names, and what
is removed. The result is the same kind of directory, so that a run goes on with
another number of processes.
"""

import os
import pathlib
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from muzero_jax import files
from muzero_jax.errors import UserError
from muzero_jax.runs import array_files, checkpoint, folders, record
from muzero_jax.runs import leaves as leaves_lib
from muzero_jax.runs import manifest as manifest_lib
from muzero_jax.runs.peers import Peers

# What Orbax's search for its own files takes for patterns.
_PATTERNS = re.compile(r'[\[\]*?\\]')


def check_workdir(workdir: str | os.PathLike) -> None:
  """Check that Orbax finds in a directory what it writes there.

  Raises:
    UserError: its path has characters that mean something else to Orbax.
  """
  path = str(pathlib.Path(workdir).absolute())
  if found := _PATTERNS.search(path):
    raise UserError(
      f'workdir {path}: with several processes its path may have no '
      f'{found.group()!r}')


class SharedSaver:
  """Saves the checkpoints of a run of several processes; a context.

  All processes call it at the same points. Nothing is written in the
  background: collectives of two threads would meet in any order.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    peers: Peers,
    *,
    max_to_keep: int | None,
    facts: Mapping[str, Any],
    note: Callable[[str], Any],
    check: Callable[[], None],
  ) -> None:
    """Take where and how to save; as of `saver.Saver`."""
    self._root = pathlib.Path(workdir) / checkpoint.CHECKPOINTS
    self._peers, self._keep, self._facts = peers, max_to_keep, facts
    self._note, self._check = note, check

  def __enter__(self) -> 'SharedSaver':
    return self

  def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
    """Do nothing: no save is ever on its way."""

  def poll(self) -> None:
    """Do nothing: no save is ever on its way."""

  def save(self, step: int, state: Any, *, wait: bool = False) -> None:
    """Save a state; when this returns, it is safe.

    Args:
      step: number of the checkpoint.
      state: global arrays.
      wait: of no meaning here.

    Raises:
      RunError: it cannot be written.
    """
    del wait
    start = time.monotonic()
    with files.writing(f'step {step}: the checkpoint'):
      self._save(step, state)
    self._note(
      f'saved the checkpoint of step {step:,} in '
      f'{time.monotonic() - start:.1f} s')

  def _save(self, step: int, state: Any) -> None:
    """Write, read back, compare and rename."""
    peers, root = self._peers, self._root
    saving = root / f'{folders.SAVING}{folders.name_of(step)}'
    arrays = _arrays(state)
    if peers.is_first:
      self._check()
      folders.make(root)
      folders.tidy(root)
      folders.remove(saving)
      (saving / 'state').mkdir(parents=True)
    peers.meet()
    array_files.write_shared(saving / 'state', arrays)
    peers.meet()
    if peers.is_first:
      manifest_lib.seal(saving, dict(
        self._facts, step=step, leaves={
          name: leaves_lib.describe(leaf)
          for name, leaf in leaves_lib.flatten(state).items()}))
    _check_written(saving / 'state', arrays)
    peers.meet()
    if peers.is_first:
      checkpoint.finish(root, saving, step, max_to_keep=self._keep)
      record.note_saved(root.parent, step)
    peers.meet()


def restore(
  workdir: str | os.PathLike,
  abstract_state: Any,
  peers: Peers,
  *,
  report: Callable[[str], None],
  checks: checkpoint.Checks,
) -> tuple[int, Any] | None:
  """Read the newest intact (step, state); None if none was ever saved.

  Process 0 verifies it and sets aside what is damaged; all then read it.

  Args:
    workdir, abstract_state, report, checks: as of `checkpoint.restore`; all
      leaves have shardings.
    peers: the processes.

  Raises:
    UserError, RunError: as of `checkpoint.restore`.
  """
  step = -1
  if peers.is_first:
    step = checkpoint.newest_intact(workdir, report=report, checks=checks)
  peers.meet()
  step, = peers.agree(step)
  if step < 0:
    return None
  state = checkpoint.restore_step(workdir, abstract_state, step, checks=checks)
  peers.meet()
  return step, state


def _arrays(state: Any) -> dict[str, jax.Array]:
  """Return the leaves by name, keys as the integers that they are."""
  return {
    name: jax.random.key_data(leaf) if leaves_lib.is_key(leaf) else leaf
    for name, leaf in leaves_lib.flatten(state).items()}


def _check_written(
  directory: pathlib.Path, arrays: Mapping[str, jax.Array]
) -> None:
  """Read this process's shards back, and compare them.

  Raises:
    OSError: what would be restored is not what was saved.
  """
  for name, array in arrays.items():
    found = array_files.read(directory, {name: jax.ShapeDtypeStruct(
      array.shape, array.dtype, sharding=array.sharding)})[name]
    for ours, theirs in zip(array.addressable_shards, found.addressable_shards):
      if not _same(np.asarray(ours.data), np.asarray(theirs.data)):
        raise OSError(f'{name} reads otherwise than it was written')


def _same(a: np.ndarray, b: np.ndarray) -> bool:
  """Return whether two arrays are the same, NaN too."""
  return a.tobytes() == b.tobytes()

