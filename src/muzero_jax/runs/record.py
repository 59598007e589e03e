"""What a run has left in its directory: whole, without links, or set aside.

`train` looks at it before anything is written there.
"""

import os
import pathlib

from muzero_jax import files
from muzero_jax.errors import RunError, UserError
from muzero_jax.runs import (
  best,
  checkpoint,
  folders,
  metrics,
  policy_checkpoints,
)

EVALUATION_FILE = 'evaluation.json'
TENSORBOARD = 'tensorboard'
# The newest checkpoint that was reported as saved.
SAVED_FILE = '.saved.json'
_ASIDE = 'before-restart'
# What a run writes, in the order in which a restart sets it aside: checkpoints
# are moved last, so that a restart that is interrupted leaves a whole run.
_WRITTEN = (
  EVALUATION_FILE, 'curves.png', TENSORBOARD, policy_checkpoints.FOLDER,
  best.FOLDER, metrics.METRICS_FILE, SAVED_FILE, checkpoint.CHECKPOINTS)
_RESTART = 'to start anew, with the old record set aside, add --restart'


def refuse_links(workdir: str | os.PathLike) -> None:
  """Raises UserError where what a run writes is a symbolic link.

  It would be written through it, to wherever it leads.
  """
  root = pathlib.Path(workdir)
  for name in ('config.json', 'dataset.json', *_WRITTEN):
    if files.is_link(root / name):
      raise UserError(
        f'workdir {workdir}: {name} is a symbolic link, which is not written '
        'through; put in its place what it leads to, or remove it')


def refuse_missing(workdir: str | os.PathLike) -> None:
  """Raises UserError where a run without checkpoints has had some.

  As after an incomplete copy: it would start anew and cut its own record. A
  run that ended before its first checkpoint has an empty folder of them.
  """
  root = pathlib.Path(workdir)
  there = [
    name for name in (
      metrics.METRICS_FILE, policy_checkpoints.FOLDER, EVALUATION_FILE)
    if (root / name).exists()]
  if metrics.METRICS_FILE in there and not metrics.read_metrics(workdir):
    there.remove(metrics.METRICS_FILE)
  if there and not (root / checkpoint.CHECKPOINTS).is_dir():
    raise UserError(
      f'workdir {workdir} holds {", ".join(there)} but no '
      f'{checkpoint.CHECKPOINTS}/: a part of the run is missing; {_RESTART}')
  if (step := last_saved(workdir)) is not None or EVALUATION_FILE in there:
    of_step = '' if step is None else f' of step {step:,}'
    raise UserError(
      f'workdir {workdir} has no checkpoint, but one{of_step} was saved there; '
      f'{_RESTART}')


def open_checkpoints(workdir: str | os.PathLike) -> None:
  """Makes the folder of the checkpoints, still empty.

  Raises:
    UserError: it cannot be made.
  """
  root = pathlib.Path(workdir) / checkpoint.CHECKPOINTS
  try:
    folders.make(root)
  except OSError as error:
    raise UserError(
      f'workdir {workdir} cannot be written: {error.strerror or error}'
    ) from None


def note_saved(workdir: str | os.PathLike, step: int) -> None:
  """Notes that a checkpoint was reported as saved.

  Raises:
    OSError: that cannot be written.
  """
  files.write_json(pathlib.Path(workdir) / SAVED_FILE, dict(step=step))


def last_saved(workdir: str | os.PathLike) -> int | None:
  """Returns the step last reported as saved; None if that is not known."""
  try:
    step = files.read_json(pathlib.Path(workdir) / SAVED_FILE)['step']
  except (OSError, ValueError, KeyError, TypeError):
    return None
  return step if type(step) is int and step >= 0 else None


def set_aside(workdir: str | os.PathLike) -> pathlib.Path | None:
  """Renames the record of a run; returns its new place, None if it had none.

  Raises:
    RunError: it cannot be renamed.
  """
  root = pathlib.Path(workdir)
  there = [
    path for path in map(root.joinpath, _WRITTEN)
    if path.exists() or files.is_link(path)]
  if not there:
    return None
  aside = folders.free_name(root / _ASIDE)
  try:
    aside.mkdir()
    for path in there:
      path.rename(aside / path.name)
    files.flush_directory(root)
  except OSError as error:
    raise RunError(
      f'workdir {workdir}: its record cannot be set aside: {error}') from error
  return aside
