"""What `dataset` demands of a dataset's facts, columns and values.

Each refusal is a ValueError that names the dataset and the field.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from muzero_jax.errors import UserError
from muzero_jax.replay import ring
from muzero_jax.types import EnvSpec, Trajectory

# Fields of a spec in which data and environment must agree.
_AGREED = (
  'name', 'observation_shape', 'observation_dtype', 'num_actions',
  'num_players', 'alternates')
# What a dataset holds; of sampled and of continuous actions there are none.
COLUMNS = tuple(
  x for x in Trajectory._fields if x not in ('candidates', 'action_value'))
SPEC_FIELDS = tuple(
  x for x in EnvSpec._fields if x not in ('action_low', 'action_high'))
_POLICY_ERROR = 1e-3  # What rounding may add to a policy's sum.
_BLOCK_BYTES = 1 << 26  # Columns are looked through in parts of this size.

_Path = str | os.PathLike


def read_spec(directory: _Path, facts: dict[str, Any]) -> EnvSpec:
  """Returns the spec that dataset.json states.

  Args:
    directory: of the dataset.
    facts: what dataset.json says.

  Raises:
    UserError: a field is missing, unknown or not of its kind.
  """
  stated = facts.get('spec')
  # Datasets from before there were games of other turns do not say it.
  if isinstance(stated, dict):
    stated = {'alternates': True, **stated}
  if not isinstance(stated, dict) or set(stated) != {*SPEC_FIELDS}:
    raise UserError(
      f'dataset {directory}: spec must hold {", ".join(SPEC_FIELDS)}')
  kinds: dict[str, Callable[[Any], Any]] = {
    'name': _text,
    'observation_shape': lambda x: tuple(_number(n, low=1) for n in x),
    'observation_dtype': _dtype,
    'num_actions': lambda x: _number(x, low=1),
    'num_players': lambda x: _number(x, low=1, high=2),
    'max_episode_steps': lambda x: _number(x, low=0),
    'action_names': lambda x: tuple(map(_text, x)),
    'alternates': _truth,
  }
  fields = {}
  for name, convert in kinds.items():
    try:
      fields[name] = convert(stated[name])
    except (TypeError, ValueError):
      raise UserError(
        f'dataset {directory}: {name} = {stated[name]!r} is none that a spec '
        'can have') from None
  return EnvSpec(**fields)


def check_arrays(directory: _Path, spec: EnvSpec, rows: Trajectory) -> None:
  """Raises UserError where shapes or dtypes are not those of the spec.

  Or where a dataset cannot hold such rows.

  Args:
    directory: of the dataset.
    spec: of its environment.
    rows: [T, B, ...]
  """
  if spec.is_continuous or rows.candidates is not None:
    raise UserError(
      f'dataset {directory}: actions of {spec.name} are continuous, or '
      'sampled; datasets hold discrete ones, all of them searched over')
  if rows.reward.ndim != 2 or 0 in rows.reward.shape:
    raise UserError(
      f'dataset {directory}: reward has shape {list(rows.reward.shape)}, '
      'expected [rows, environments]')
  num_rows, num_envs = rows.reward.shape
  expected = jax.eval_shape(lambda: ring.init(spec, num_envs, num_rows)).rows
  for name in COLUMNS:
    here, there = getattr(expected, name), getattr(rows, name)
    if (here.shape, here.dtype) != (there.shape, there.dtype):
      raise UserError(
        f'dataset {directory}: {name} is {there.dtype}{list(there.shape)}, '
        f'expected {here.dtype}{list(here.shape)}')


def check_values(directory: _Path, spec: EnvSpec, rows: Trajectory) -> None:
  """Raises UserError where a value cannot be one of the environment's.

  Args:
    directory: of the dataset.
    spec: of its environment.
    rows: [T, B, ...] of the right shapes and dtypes.
  """
  for name in COLUMNS:
    column = getattr(rows, name)
    if np.issubdtype(column.dtype, np.floating):
      _look_through(
        directory, f'{name} is not finite', column, lambda x: ~np.isfinite(x))
  rules: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    'discount is neither 0 nor 1':
      (rows.discount, lambda x: (x != 0) & (x != 1)),
    'policy is negative': (rows.policy, lambda x: x < 0),
    f'action is not below num_actions = {spec.num_actions}':
      (rows.action, lambda x: (x < 0) | (x >= spec.num_actions)),
    f'to_play is not below num_players = {spec.num_players}':
      (rows.to_play, lambda x: (x < 0) | (x >= spec.num_players)),
    'legal_actions has no legal action':
      (rows.legal_actions, lambda x: ~x.any(axis=-1)),
  }
  for rule, (column, is_broken) in rules.items():
    _look_through(directory, rule, column, is_broken)
  _check_choices(directory, rows)
  first, last = np.asarray(rows.is_first), np.asarray(rows.is_last)
  _refuse_first(
    directory, 'is_first does not follow is_last alone',
    first[1:] != last[:-1], start=1)
  _refuse_first(
    directory, 'is_last is false where discount is 0',
    (np.asarray(rows.discount) == 0) & ~last)
  _refuse_first(
    directory, 'is_last is false in the newest row', ~last[-1:],
    start=len(last) - 1)


def _check_choices(directory: _Path, rows: Trajectory) -> None:
  """Raises UserError where actions or policies cannot be what was played."""
  for start, policy in _blocks(rows.policy):
    here = slice(start, start + len(policy))
    legal = np.asarray(rows.legal_actions[here])
    goes_on = ~np.asarray(rows.is_last[here])
    taken = np.asarray(rows.action[here])[..., None]
    _refuse_first(
      directory, 'action is not legal',
      goes_on & ~np.take_along_axis(legal, taken, axis=-1)[..., 0],
      start=start)
    policy = np.asarray(policy)
    _refuse_first(
      directory, 'policy does not sum to 1 over the legal actions',
      goes_on & (np.abs((policy * legal).sum(-1) - 1) > _POLICY_ERROR),
      start=start)


def refuse_other_spec(
  directory: _Path, found: EnvSpec, wanted: EnvSpec
) -> None:
  """Raises UserError where the data are of another environment.

  Args:
    directory: of the dataset.
    found: its spec.
    wanted: that of the environment.
  """
  for name in _AGREED:
    there, here = getattr(found, name), getattr(wanted, name)
    if name == 'observation_dtype':
      there, here = np.dtype(there), np.dtype(here)
    if name == 'observation_shape':
      there, here = tuple(there), tuple(here)
    if there != here:
      raise UserError(
        f'dataset {directory}: {name} is {there} there and {here} in the '
        f'environment {wanted.name}')


def _text(value: Any) -> str:
  if not isinstance(value, str):
    raise TypeError
  return value


def _truth(value: Any) -> bool:
  if not isinstance(value, bool):
    raise TypeError
  return value


def _dtype(value: Any) -> np.dtype:
  dtype = np.dtype(_text(value))
  if dtype.kind not in 'biuf':
    raise TypeError
  return dtype


def _number(value: Any, *, low: int, high: int = 2**31 - 1) -> int:
  if isinstance(value, bool) or not isinstance(value, int):
    raise TypeError
  if not low <= value <= high:
    raise ValueError
  return value


def _look_through(
  directory: _Path,
  rule: str,
  column: Any,
  is_broken: Callable[[Any], Any],
) -> None:
  """Raises UserError with the first row of a column that breaks a rule."""
  for start, block in _blocks(column):
    _refuse_first(directory, rule, is_broken(block), start=start)


def _refuse_first(
  directory: _Path, rule: str, broken: np.ndarray, *, start: int = 0
) -> None:
  """Raises UserError if any of [T, B, ...] is True; row 0 is row `start`."""
  if not broken.any():
    return
  row, env = np.argwhere(broken.reshape(*broken.shape[:2], -1).any(-1))[0]
  raise UserError(
    f'dataset {directory}: {rule}, first in row {start + row} of environment '
    f'{env}')


def _blocks(column: Any) -> Iterator[tuple[int, np.ndarray]]:
  """Yields a column in parts that fit into memory, and where each starts."""
  length = max(_BLOCK_BYTES // max(column[0].nbytes, 1), 1)
  for start in range(0, len(column), length):
    yield start, column[start:start + length]
