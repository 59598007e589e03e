"""Datasets: trajectories as files, from which `offline` fills its replay.

A dataset is a directory with `dataset.json` and one `<column>.npy` for each of
`dataset_validation.COLUMNS`: [T, B, ...], T consecutive rows of B environments
in time order; docs/datasets.md describes it for those who write their own.
Like a checkpoint it is written under another name and then renamed, so that it
is complete or absent; what is read is never unpickled, and no value is trusted
before it was checked.
"""

import hashlib
import json
import os
import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax import files, paths
from muzero_jax.errors import RunError, UserError
from muzero_jax.replay import dataset_validation
from muzero_jax.replay.ring import ReplayState
from muzero_jax.types import EnvSpec, Trajectory

FORMAT = 1
FACTS_FILE = 'dataset.json'


class Dataset(NamedTuple):
  """A checked dataset."""

  spec: EnvSpec
  rows: Trajectory  # [T, B, ...] memory-mapped NumPy arrays, in time order.
  facts: dict[str, Any]  # What dataset.json says.


def in_time_order(state: ReplayState) -> Trajectory:
  """Returns the stored rows of a ring from the oldest to the newest."""
  capacity = len(state.priority)
  num_added = int(state.num_added)
  slots = np.arange(max(num_added - capacity, 0), num_added) % capacity
  return jax.tree.map(lambda column: np.asarray(column)[slots], state.rows)


def save(
  directory: str | os.PathLike,
  spec: EnvSpec,
  rows: Trajectory,
  *,
  source: dict[str, Any] | None = None,
) -> Dataset:
  """Writes a dataset; when this returns, it survives a crash.

  The newest row of each environment is stored as its episode's last: what
  would follow it is not there.

  Args:
    directory: must not exist.
    spec: of the environment.
    rows: [T, B, ...] in time order.
    source: where they come from, as plain JSON.

  Returns:
    The dataset, as it would be loaded.

  Raises:
    UserError: the directory is there already, or the rows are not those of
      the spec or break its rules; nothing was written then.
    RunError: it cannot be written; nothing of it is left.
  """
  files.check_path('output', directory)
  final = _path(directory)
  refuse_existing(final)
  dataset_validation.check_arrays(final, spec, rows)
  is_last: Any = np.array(rows.is_last)
  is_last[-1:] = True
  closed = rows._replace(is_last=is_last)
  dataset_validation.check_values(final, spec, closed)
  mean_return, num_episodes = episode_returns(rows)
  rows = closed
  saving = final.with_name(f'.saving-{final.name}')
  try:
    # What a killed process left; of a link nothing is removed.
    shutil.rmtree(saving, ignore_errors=True)
    saving.mkdir(parents=True)
    _write(saving, spec, rows, dict(
      num_episodes=num_episodes, mean_return=mean_return, source=source or {}))
    refuse_existing(final)
    saving.rename(final)
    files.flush_directory(final.parent)
  except OSError as error:
    raise RunError(
      f'output = {final}: the dataset cannot be written: '
      f'{error.strerror or error}') from error
  finally:
    shutil.rmtree(saving, ignore_errors=True)
  return Dataset(spec, _open_columns(final), read_facts(final))


def _write(
  saving: pathlib.Path,
  spec: EnvSpec,
  rows: Trajectory,
  facts: dict[str, Any],
) -> None:
  """Writes the columns, and the facts with their hashes."""
  columns = {}
  for name in dataset_validation.COLUMNS:
    column = getattr(rows, name)
    path = saving / f'{name}.npy'
    np.save(path, column, allow_pickle=False)
    columns[name] = dict(
      shape=list(column.shape), dtype=str(column.dtype),
      **files.flush_and_hash(path))
  write_facts(saving, dict(
    format=FORMAT,
    spec={
      **{name: getattr(spec, name) for name in dataset_validation.SPEC_FIELDS},
      'observation_dtype': str(np.dtype(spec.observation_dtype)),
    },
    **facts,
    columns=columns,
  ))


def load(
  directory: str | os.PathLike,
  *,
  window: int = 2,
  spec: EnvSpec | None = None,
) -> Dataset:
  """Returns a dataset of which everything was checked.

  Args:
    directory: of the dataset.
    window: rows that each environment must have at least.
    spec: of the environment that it should be of; None for any.

  Raises:
    UserError: what is not as it must be, by name of the field.
  """
  files.check_path('dataset', directory)
  directory = _path(directory)
  facts = read_facts(directory)
  found = dataset_validation.read_spec(directory, facts)
  rows = _open_columns(directory)
  dataset_validation.check_arrays(directory, found, rows)
  if len(rows.reward) < window:
    raise UserError(
      f'dataset {directory}: {len(rows.reward)} rows of each environment are '
      f'too few: a training window takes {window} (unroll_steps + td_steps + '
      'stacked_frames + 1)')
  if spec is not None:
    dataset_validation.refuse_other_spec(directory, found, spec)
  for name, column in facts['columns'].items():
    try:
      with open(directory / f'{name}.npy', 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
      raise UserError(
        f'dataset {directory}: {name}.npy cannot be read: {error.strerror}'
      ) from None
    if digest != column['sha256']:
      raise UserError(
        f'dataset {directory}: {name}.npy has changed since it was saved')
  dataset_validation.check_values(directory, found, rows)
  return Dataset(found, rows, facts)


def read_facts(directory: str | os.PathLike) -> dict[str, Any]:
  """Returns what dataset.json says, without looking at the columns.

  Raises:
    UserError: there is none, of a version or of a form that is not known.
  """
  path = _path(directory) / FACTS_FILE
  try:
    facts = files.read_json(path)
  except FileNotFoundError:
    raise UserError(
      f'dataset {directory} is no dataset: it has no {FACTS_FILE}') from None
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}') from None
  except ValueError as error:
    raise UserError(f'{path} is not JSON: {error}') from None
  if not isinstance(facts, dict) or facts.get('format') != FORMAT:
    found = facts.get('format') if isinstance(facts, dict) else facts
    raise UserError(
      f'dataset {directory}: format is {found!r}, known is {FORMAT}')
  count, mean = facts.get('num_episodes'), facts.get('mean_return')
  if type(count) is not int or count < 0:
    raise UserError(
      f'dataset {directory}: num_episodes = {count!r} is not a whole number, '
      'at least 0')
  if count and (
      isinstance(mean, bool) or not isinstance(mean, (int, float))
      or abs(mean) > np.finfo(float).max):
    raise UserError(
      f'dataset {directory}: mean_return = {mean!r} is not a number')
  columns = facts.get('columns')
  if not isinstance(columns, dict) or set(columns) != {
    *dataset_validation.COLUMNS
  }:
    raise UserError(
      f'dataset {directory}: columns must be '
      f'{", ".join(dataset_validation.COLUMNS)}')
  for name, column in columns.items():
    if not isinstance(column, dict) or not isinstance(
        column.get('sha256'), str):
      raise UserError(f'dataset {directory}: column {name} has no sha256')
  return facts


def write_facts(directory: str | os.PathLike, facts: dict[str, Any]) -> None:
  """Writes dataset.json, safely on disk: of a dataset, or a copy of it.

  Args:
    directory: where it goes.
    facts: as `read_facts` returns them.

  Raises:
    OSError: it cannot be written; an older one is untouched.
  """
  path = _path(directory) / FACTS_FILE
  text = json.dumps(facts, indent=1, allow_nan=False) + '\n'
  files.write_whole(path, text.encode())
  files.flush_directory(path.parent)


def describe(data: Dataset) -> str:
  """Returns a line on a dataset."""
  num_rows, num_envs = data.rows.reward.shape
  line = f'{num_rows:,} rows of {num_envs:,} environments of {data.spec.name}'
  count = data.facts['num_episodes']
  if not count:
    return f'{line}, no complete episode'
  mean = data.facts['mean_return']
  return f'{line}, mean return {mean:.2f} over {count:,} complete episodes'


def episode_returns(rows: Trajectory) -> tuple[float | None, int]:
  """Returns the mean return of complete episodes, or None, and their number.

  Of the rewards as they are stored, undiscounted; with two players, to who
  moved first.

  Args:
    rows: [T, B, ...] in time order.
  """
  # The reward of row t went to who moved at row t - 1.
  mover = np.asarray(rows.to_play)[:-1]
  reward = np.zeros(rows.reward.shape)
  reward[1:] = np.where(mover == 0, rows.reward[1:], -rows.reward[1:])
  total = np.cumsum(reward, axis=0)
  returns = []
  for env in range(total.shape[1]):
    first = np.flatnonzero(rows.is_first[:, env])
    last = np.flatnonzero(rows.is_last[:, env])
    last = last[last >= first[0]] if len(first) else last[:0]
    first = first[:len(last)]
    sign = np.where(np.asarray(rows.to_play)[first, env] == 0, 1, -1)
    returns.append(sign * (total[last, env] - total[first, env]))
  found = np.concatenate(returns)
  return (float(found.mean()) if len(found) else None), len(found)


def refuse_existing(directory: str | os.PathLike) -> None:
  """Raises UserError where a dataset would overwrite what is there."""
  if os.path.lexists(_path(directory)):
    raise UserError(
      f'output = {os.fspath(directory)}: it is there already, and nothing is '
      'overwritten; choose another directory')


def _path(directory: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(paths.expand(directory, 'dataset'))


def _open_columns(directory: pathlib.Path) -> Trajectory:
  """Returns the columns as memory maps.

  Raises:
    UserError: one is missing, or no plain array; nothing is unpickled.
  """
  columns: dict[str, Any] = {}
  for name in dataset_validation.COLUMNS:
    path = directory / f'{name}.npy'
    if not path.exists():
      raise UserError(f'dataset {directory}: {name}.npy is missing')
    try:
      if not path.is_file():  # A pipe would be waited for.
        raise ValueError('it is no plain file')
      columns[name] = np.lib.format.open_memmap(path, mode='r')
    except Exception as error:  # noqa: B902 - headers fail in many ways.
      text = (str(error).splitlines() or [''])[0][:200]
      raise UserError(
        f'dataset {directory}: {name}.npy is no plain array: '
        f'{text or type(error).__name__}') from None
  return Trajectory(**columns)
