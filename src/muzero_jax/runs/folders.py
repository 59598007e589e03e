"""What is called how in checkpoints/: steps, and what is half done.

Only names that would be written again as they are count: whatever else lies
there is left alone.
"""

import contextlib
import pathlib
import shutil

from muzero_jax import files

_DIGITS, _MOST = 12, 2**62  # Padded to so many; more than any run makes.
SAVING, REPLACED, REMOVING = '.saving-', '.replaced-', '.removing-'
DAMAGED = 'damaged-'


def of_step(root: pathlib.Path, step: int) -> pathlib.Path:
  """Return the directory of a step."""
  return root / name_of(step)


def name_of(step: int) -> str:
  """Return the name of a step."""
  return f'{step:0{_DIGITS}d}'


def step_of(name: str) -> int | None:
  """Return the step that a name stands for; None where it is no step's."""
  if not (name.isascii() and name.isdigit()) or len(name) > len(str(_MOST)):
    return None
  step = int(name)
  return step if step <= _MOST and name_of(step) == name else None


def steps(root: pathlib.Path) -> list[int]:
  """Return the steps that have a directory, oldest first."""
  if not root.is_dir():
    return []
  found = [
    step_of(path.name) for path in root.iterdir() if path.is_dir()]
  return sorted(step for step in found if step is not None)


def make(root: pathlib.Path) -> None:
  """Make the folder of the checkpoints, unless it is there.

  Raises:
    OSError: it cannot be made, or is a symbolic link.
  """
  if files.is_link(root):
    raise OSError(f'{root} is a symbolic link, which is not written through')
  root.mkdir(parents=True, exist_ok=True)
  files.flush_directory(root.parent)


def remove(path: pathlib.Path) -> None:
  """Remove a directory, a file or a link; never what a link leads to.

  Raises:
    OSError: it cannot be removed.
  """
  if path.is_dir() and not files.is_link(path):
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


def set_aside(path: pathlib.Path) -> pathlib.Path:
  """Rename what is damaged; return its new place."""
  return path.rename(free_name(path.with_name(f'{DAMAGED}{path.name}')))


def free_name(path: pathlib.Path) -> pathlib.Path:
  """Return the path, or the first of path-2, path-3, ... that is not there."""
  number, found = 1, path
  while found.exists() or files.is_link(found):
    number += 1
    found = path.with_name(f'{path.name}-{number}')
  return found


def tidy(root: pathlib.Path) -> None:
  """End what a killed process left half done; what cannot be removed stays.

  Raises:
    OSError: a checkpoint that was being replaced cannot be put back.
  """
  for path in _marked(root, REPLACED):
    final = path.with_name(path.name.removeprefix(REPLACED))
    if path.is_dir() and not final.exists():
      path.rename(final)
  for mark in (SAVING, REMOVING, REPLACED):
    for path in _marked(root, mark):
      with contextlib.suppress(OSError):
        remove(path)


def _marked(root: pathlib.Path, mark: str) -> list[pathlib.Path]:
  """Return what has a mark in front of a step's name."""
  return [
    path for path in root.iterdir()
    if path.name.startswith(mark)
    and step_of(path.name.removeprefix(mark)) is not None
  ]
