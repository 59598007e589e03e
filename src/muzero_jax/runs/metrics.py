"""metrics.jsonl, and metrics of many iterations as one row of it."""

import json
import os
import pathlib
from typing import Any

import numpy as np

from muzero_jax import files
from muzero_jax.drivers.iteration import IterationMetrics
from muzero_jax.errors import RunError
from muzero_jax.learning import total_loss
from muzero_jax.runs import folders

METRICS_FILE = 'metrics.jsonl'
# Columns of metrics.jsonl that say how fast, not how well.
RATES = ('steps_per_second', 'simulations_per_second', 'updates_per_second')
# Of a file from outside: more than any run writes.
_MOST_BYTES, _MOST_LINE_BYTES = 1 << 32, 1 << 20
_MOST_STEPS, _MOST_SECONDS, _MOST_NUMBER = 2**53, 1e11, 1e300


class MetricAverager:
  """Metrics between two progress lines."""

  def __init__(self) -> None:
    self._all: list[IterationMetrics] = []

  def add(self, metrics: IterationMetrics) -> None:
    """Adds one iteration's."""
    self._all.append(metrics)

  def take(self) -> dict[str, float]:
    """Return averages (extremes of extremes) by name, and start anew."""
    taken, self._all = self._all, []
    if not taken:
      return {}
    learnt = [m.learner for m in taken if m.has_learnt.all()]
    row: dict[str, float] = {}
    if learnt:
      for name in learnt[0]._fields:
        if getattr(learnt[0], name) is None:
          continue
        if name == 'extra':
          continue
        row |= _over_iterations(name, [getattr(m, name) for m in learnt])
      for name in learnt[0].extra or ():
        extras: list[Any] = [m.extra for m in learnt]
        row |= _over_iterations(name, [one[name] for one in extras])
    row['skipped_updates'] = float(taken[-1].num_skipped.sum())
    error = taken[-1].search_error
    if error is not None and np.isfinite(error).all():
      row['search_error'] = float(np.mean(error))
    if taken[0].rollout is not None:
      row |= self._of_rollouts([m.rollout for m in taken])
    return row

  @staticmethod
  def _of_rollouts(rollouts: list[Any]) -> dict[str, float]:
    """Returns what was played."""
    row: dict[str, float] = {}
    sums = lambda name: np.sum([getattr(one, name) for one in rollouts], 0)
    total = lambda name: float(sums(name).sum())
    returns, counts = sums('return_sum'), sums('num_episodes')
    if len(counts) > 1:
      row |= {
        f'return_of_agent/{i}': float(returns[i] / counts[i])
        for i in np.flatnonzero(counts)
      }
    steps, episodes = max(total('num_steps'), 1), total('num_episodes')
    if episodes:
      row['episode_length'] = total('length_sum') / episodes
    row['search_entropy'] = total('policy_entropy_sum') / steps
    row['search_value'] = total('value_sum') / steps
    row['search_value_gap'] = total('network_value_gap') / steps
    return row


def _over_iterations(name: str, values: list[Any]) -> dict[str, float]:
  """Return one metric [agents, ...] of many iterations as parts of a row."""
  reduce = total_loss.EXTREMES.get(name, np.mean)
  found = np.asarray(reduce(np.stack(values), axis=(0, 1)))
  if found.ndim:
    return {f'{name}/{i}': float(x) for i, x in enumerate(found)}
  return {name: float(found)}


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Returns the rows of metrics.jsonl, without one that a crash tore.

  Lines that no run can have written are left out too.

  Raises:
    RunError: it is there, but cannot be read.
  """
  return [row for _, row in _read(pathlib.Path(workdir) / METRICS_FILE) if row]


def drop_rows_after(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
  """Rewrites metrics.jsonl without later and torn rows; returns the rest.

  Where it holds lines that no run wrote, the file as it was is kept beside it,
  as `damaged-metrics.jsonl`.

  Raises:
    RunError: it is there, but cannot be read.
    OSError: it cannot be written.
  """
  lines = _read(path)
  rows = [row for _, row in lines if row and row['step'] <= step]
  text = ''.join(json.dumps(row, allow_nan=False) + '\n' for row in rows)
  if text.encode() != b''.join(line for line, _ in lines):
    # A crash tears the last line alone.
    if not all(row for _, row in lines[:-1]):
      aside = path.with_name(f'{folders.DAMAGED}{path.name}')
      files.write_whole(
        folders.free_name(aside), b''.join(line for line, _ in lines))
    files.write_whole(path, text.encode())
  return rows


def _read(path: pathlib.Path) -> list[tuple[bytes, dict[str, Any] | None]]:
  """Returns the lines of a file, each with its row if it is one."""
  try:
    data = files.read_bytes(path, _MOST_BYTES)
  except FileNotFoundError:
    return []
  except (OSError, ValueError) as error:
    raise RunError(f'{path} cannot be read: {error}') from None
  return [(line, _row(line)) for line in data.splitlines(keepends=True)]


def _row(line: bytes) -> dict[str, Any] | None:
  """Returns the row of a line; None where no run can have written it."""
  try:
    row = files.parse_json(line) if len(line) <= _MOST_LINE_BYTES else None
  except ValueError:
    return None
  if not isinstance(row, dict) or type(row.get('step')) is not int:
    return None
  # Numbers that NumPy, matplotlib and TensorBoard all can take.
  numbers = [value for value in row.values() if isinstance(value, (int, float))]
  is_sound = (
    0 <= row['step'] <= _MOST_STEPS
    and _is_seconds(row.get('seconds', 0.0))
    and all(abs(value) <= _MOST_NUMBER for value in numbers)
    and not any(isinstance(value, (dict, list)) for value in row.values()))
  return row if is_sound else None


def _is_seconds(value: Any) -> bool:
  return (
    isinstance(value, (int, float)) and not isinstance(value, bool)
    and 0 <= value <= _MOST_SECONDS)
