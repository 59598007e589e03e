"""metrics.jsonl, and metrics of many iterations as one row of it."""

import json
import os
import pathlib
from typing import Any

import jax
import numpy as np

from muzero_jax import files
from muzero_jax.acting.actor import RolloutStats
from muzero_jax.drivers.iteration import IterationMetrics
from muzero_jax.errors import RunError
from muzero_jax.learning import total_loss
from muzero_jax.runs import folders

METRICS_FILE = 'metrics.jsonl'
EVALUATION = 'eval_return'  # The column of evaluations.
# Columns of metrics.jsonl that say how fast, not how well.
RATES = ('steps_per_second', 'simulations_per_second', 'updates_per_second')
# Iterations whose metrics are kept one by one.
_MOST_KEPT = 64
# Of a file from outside: more than any run writes.
_MOST_BYTES, _MOST_LINE_BYTES = 1 << 32, 1 << 20
_MOST_STEPS, _MOST_SECONDS, _MOST_NUMBER = 2**53, 1e11, 1e300


class MetricAverager:
  """Metrics between two progress lines, in bounded memory.

  A fast environment makes hundreds of iterations a second: kept one by one,
  those of a minute take more than a gigabyte. Added up one by one they would
  take as long as the iterations.
  """

  def __init__(self) -> None:
    self._kept: list[IterationMetrics] = []
    self._num_learnt = 0
    self._learnt: dict[str, np.ndarray] = {}  # Sums, or extremes.
    self._played: Any = None  # Sums.

  def add(self, metrics: IterationMetrics) -> None:
    """Adds one iteration's."""
    if len(self._kept) >= _MOST_KEPT:
      self._add_up()
    self._kept.append(metrics)

  def take(self) -> dict[str, float]:
    """Return averages (extremes of extremes) by name, and start anew."""
    row: dict[str, float] = {}
    if not self._kept:
      return row
    last = self._kept[-1]
    self._add_up()
    for name, value in self._learnt.items():
      extreme = name in total_loss.EXTREMES
      row |= _as_numbers(name, value if extreme else value / self._num_learnt)
    row['skipped_updates'] = float(last.num_skipped.sum())
    for name in ('search_error', 'search_trust'):
      found = getattr(last, name)
      # Infinite before anything was measured.
      if found is not None and np.isfinite(np.asarray(last.search_error)).all():
        row[name] = float(np.mean(found))
    for name, value in (last.jobs or {}).items():
      row[name] = float(np.mean(value))
    if self._played is not None:
      row |= _of_rollouts(self._played)
    self._num_learnt, self._learnt, self._played = 0, {}, None
    return row

  def _add_up(self) -> None:
    """Make sums of the iterations that were kept one by one."""
    kept, self._kept = self._kept, []
    learnt = [_by_name(m.learner) for m in kept if m.has_learnt.all()]
    self._num_learnt += len(learnt)
    for name in learnt[0] if learnt else ():
      self._add_metric(name, np.stack([one[name] for one in learnt]))
    played = [m.rollout for m in kept if m.rollout is not None]
    if played:
      # In 64 bits: sums of many.
      before = [] if self._played is None else [self._played]
      self._played = jax.tree.map(
        lambda *parts: np.sum(parts, axis=0, dtype=float), *before, *played)

  def _add_metric(self, name: str, values: np.ndarray) -> None:
    """Add values [iterations, agents, ...] to what there is."""
    before = self._learnt.get(name)
    how = total_loss.EXTREMES.get(name)
    if how is None:
      new = values.mean(axis=1, dtype=float).sum(axis=0)
      self._learnt[name] = new if before is None else before + new
    else:
      parts = [values.ravel()] + ([] if before is None else [before[None]])
      self._learnt[name] = np.asarray(
        getattr(np.concatenate(parts), how)())


def _by_name(metrics: total_loss.Metrics) -> dict[str, np.ndarray]:
  """Return the learner's metrics [agents, ...] of one iteration."""
  by_name = {
    name: value for name, value in metrics._asdict().items()
    if name != 'extra' and value is not None}
  return {**by_name, **(metrics.extra or {})}


def _as_numbers(name: str, value: np.ndarray) -> dict[str, float]:
  """Return a metric as parts of a row: one for each of its elements."""
  if value.ndim:
    return {f'{name}/{i}': float(x) for i, x in enumerate(value)}
  return {name: float(value)}


def _of_rollouts(sums: RolloutStats) -> dict[str, float]:
  """Return what was played, of sums [agents]."""
  row: dict[str, float] = {}
  returns, counts = np.asarray(sums.return_sum), np.asarray(sums.num_episodes)
  if len(counts) > 1:
    row |= {
      f'return_of_agent/{i}': float(returns[i] / counts[i])
      for i in np.flatnonzero(counts)
    }
  total = lambda x: float(np.sum(x))
  steps, episodes = max(total(sums.num_steps), 1), total(counts)
  if episodes:
    row['episode_length'] = total(sums.length_sum) / episodes
  row['search_entropy'] = total(sums.policy_entropy_sum) / steps
  row['search_value'] = total(sums.value_sum) / steps
  row['search_value_gap'] = total(sums.network_value_gap) / steps
  return row


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
