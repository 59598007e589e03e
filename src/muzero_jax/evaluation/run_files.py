"""What a run directory holds for a report, read without trust.

The directory may come from anywhere: nothing in it is run or imported, and
what is missing or damaged becomes a line of text.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from muzero_jax import config as config_lib
from muzero_jax import files, paths
from muzero_jax.config import Config
from muzero_jax.errors import RunError, UserError
from muzero_jax.runs import metrics, record, run_dir

DIAGNOSIS_FILE, LADDER_FILE = 'diagnose.json', 'ladder.json'
# Of other numbers in a row of metrics a report shows no curve.
_MOST_COLUMNS, _LONGEST_NAME = 200, 80
_MOST_RUNS = 8
_LONGEST_LABEL = 60
# What a film may be: the type for a page, and how such files begin.
_FILMS = {
  '.gif': ('image/gif', (b'GIF87a', b'GIF89a'), 0),
  '.png': ('image/png', (b'\x89PNG\r\n\x1a\n',), 0),
  '.webp': ('image/webp', (b'WEBP',), 8),
  '.mp4': ('video/mp4', (b'ftyp',), 4),
}
MOST_FILM_BYTES = 16 << 20


class Film(NamedTuple):
  """A film as bytes."""

  mime: str
  data: bytes
  where: str


class RunFiles(NamedTuple):
  """One run as its directory tells it."""

  label: str  # Short, and different for each run of a report.
  workdir: str
  config: Config
  rows: list[dict[str, Any]]  # Of metrics.jsonl.
  evaluation: dict[str, Any] | None
  diagnosis: dict[str, Any] | None
  ladder: dict[str, Any] | None
  notes: list[str]  # What is missing or damaged.

  @property
  def is_offline(self) -> bool:
    """Return whether its steps are updates."""
    return bool(self.config.dataset)


def read(workdirs: Sequence[str]) -> list[RunFiles]:
  """Return the runs of some directories.

  Raises:
    UserError: one is no run directory, its configuration is damaged, or
      there are too many.
  """
  if len(workdirs) > _MOST_RUNS:
    raise UserError(
      f'{len(workdirs)} runs are too many for one page: at most {_MOST_RUNS}')
  whole = [os.path.abspath(paths.expand(one, 'workdir')) for one in workdirs]
  for path in whole:
    if whole.count(path) > 1:
      raise UserError(f'workdir {path} is given twice')
  return [
    _read(path, label) for path, label in zip(whole, _labels(whole))]


def find_film(workdir: str) -> pathlib.Path | None:
  """Return the film in a run directory, if one is called film.*."""
  for suffix in ('.webp', '.gif', '.mp4', '.png'):
    path = pathlib.Path(workdir) / f'film{suffix}'
    if path.is_file():
      return path
  return None


def read_film(path: pathlib.Path) -> Film:
  """Return a film.

  Raises:
    UserError: it cannot be read, is too large, or is not what its name says.
  """
  known = _FILMS.get(path.suffix.lower())
  if known is None:
    raise UserError(f'film = {str(path)!r} is not one of {", ".join(_FILMS)}')
  mime, beginnings, at = known
  try:
    data = files.read_bytes(path, MOST_FILM_BYTES)
  except OSError as error:
    raise UserError(
      f'film = {str(path)!r} cannot be read: {error.strerror}') from None
  except ValueError as error:
    raise UserError(f'film = {str(path)!r}: {error}') from None
  if not data[at:].startswith(beginnings):
    raise UserError(
      f'film = {str(path)!r} is no {path.suffix.lower()[1:]}, whatever its '
      'name says')
  return Film(mime, data, str(path))


def columns(runs: Sequence[RunFiles]) -> list[str]:
  """Return the names of all numbers in the metrics of some runs, sorted."""
  names = {
    name for run in runs for row in run.rows for name, value in row.items()
    if is_number(value) and len(name) <= _LONGEST_NAME}
  return sorted(names)[:_MOST_COLUMNS]


def is_number(value: Any) -> bool:
  """Return whether a value of a row is a number, and no truth value."""
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def _read(workdir: str, label: str) -> RunFiles:
  root = pathlib.Path(workdir)
  notes: list[str] = []
  rows: list[dict[str, Any]] = []
  try:
    rows = metrics.read_metrics(root)
  except RunError as error:
    notes.append(str(error))
  if not rows and not notes:
    what = 'holds no row' if (root / metrics.METRICS_FILE).exists() else (
      'is missing')
    notes.append(f'{metrics.METRICS_FILE} {what}: there are no curves')
  evaluation = _object(root / record.EVALUATION_FILE, notes)
  if evaluation is None and not any(
      record.EVALUATION_FILE in note for note in notes):
    notes.append(
      f'{record.EVALUATION_FILE} is missing: the run has not been evaluated')
  return RunFiles(
    label, workdir, _config(root), rows, evaluation,
    _object(root / DIAGNOSIS_FILE, notes), _object(root / LADDER_FILE, notes),
    notes)


def _config(root: pathlib.Path) -> Config:
  """Return the configuration, whatever it would import: nothing does here."""
  path = root / run_dir.CONFIG_FILE
  try:
    fields = files.read_json(path)
    if not isinstance(fields, dict):
      raise UserError('not a configuration: a JSON object is needed')
    return config_lib.from_fields(fields)
  except FileNotFoundError:
    raise UserError(
      f'workdir {root} is not a run directory: it has no '
      f'{run_dir.CONFIG_FILE}') from None
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}') from None
  except ValueError as error:
    raise UserError(f'{path}: {error}') from None


def _object(path: pathlib.Path, notes: list[str]) -> dict[str, Any] | None:
  """Return a JSON object; None, and a note where it is damaged."""
  try:
    found = files.read_json(path)
  except FileNotFoundError:
    return None
  except OSError as error:
    notes.append(f'{path.name} cannot be read: {error.strerror}')
    return None
  except ValueError as error:
    notes.append(f'{path.name} is damaged: {error}')
    return None
  if not isinstance(found, dict):
    notes.append(f'{path.name} is damaged: it is no JSON object')
    return None
  return found


def _labels(workdirs: Sequence[str]) -> list[str]:
  """Return short names, with so much of the path that all are different."""
  for depth in range(1, 8):
    names = [
      '/'.join(pathlib.Path(one).parts[-depth:]) for one in workdirs]
    names = [name[-_LONGEST_LABEL:] for name in names]
    if len(set(names)) == len(names):
      return names
  return [f'run {i + 1}' for i in range(len(workdirs))]
