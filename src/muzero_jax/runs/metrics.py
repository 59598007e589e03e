"""metrics.jsonl, and metrics of many iterations as one row of it."""

import json
import os
import pathlib
from typing import Any

import numpy as np

from muzero_jax import files
from muzero_jax.drivers.iteration import IterationMetrics
from muzero_jax.learning import total_loss

METRICS_FILE = 'metrics.jsonl'
# Columns of metrics.jsonl that say how fast, not how well.
RATES = ('steps_per_second', 'simulations_per_second', 'updates_per_second')


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
  """Returns the rows of metrics.jsonl, without one that a crash tore."""
  path = pathlib.Path(workdir) / METRICS_FILE
  if not path.exists():
    return []
  rows = []
  for line in path.read_bytes().splitlines():
    try:
      row = json.loads(line)
    except ValueError:
      continue
    if isinstance(row, dict) and 'step' in row:
      rows.append(row)
  return rows


def drop_rows_after(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
  """Rewrites metrics.jsonl without later and torn rows; returns the rest."""
  rows = [row for row in read_metrics(path.parent) if row['step'] <= step]
  text = ''.join(json.dumps(row, allow_nan=False) + '\n' for row in rows)
  if path.exists() and path.read_bytes() != text.encode():
    files.write_whole(path, text.encode())
  return rows
