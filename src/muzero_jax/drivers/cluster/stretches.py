"""Stretches of play: what jobs send each other, complete in themselves.

A stretch holds, of each of its b environments:

  S rows that were sent before, for the first stacked frames
  1 row that was sent before, as the last one; now its transition is there
  P rows that were played

The first S and the last open no window: they are marked as last rows, as the
replay marks an episode that is cut. So any stretch may follow any other in the
replay's b columns, and each transition opens one window at most.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax.acting.actor import RolloutStats
from muzero_jax.config import Config
from muzero_jax.errors import UserError
from muzero_jax.types import Trajectory

# Rows of each environment that a stretch should have at least: messages are
# few, and what is sent twice is little of it.
_ROWS = 200


class Published(NamedTuple):
  """What the learner publishes, in NumPy."""

  version: int  # Updates that had been made.
  params: Any  # Of the search's model.
  num_steps: Any  # wide_counts.Count of environment steps so far.


class Name(NamedTuple):
  """Which stretch this is; no two of a run have the same."""

  job: int
  incarnation: int
  number: int


class Stretch(NamedTuple):
  """Rows of b environments that belong together, in NumPy."""

  name: Name
  version: int  # Of the parameters that were searched with.
  rows: Trajectory  # [S + 1 + P, b, ...]
  stats: RolloutStats  # Sums over the rows that were played.


class Plan(NamedTuple):
  """Sizes of a run's stretches; static."""

  num_envs: int  # b, of one player.
  rollouts: int  # Of `rollout_length` rows each.
  context: int  # S
  length: int  # S + 1 + P
  updates: int  # That the learner makes for each stretch.
  num_kept: int  # Stretches that the replay holds.

  @property
  def num_rows(self) -> int:
    """Return the rows that a stretch adds to the replay."""
    return self.length * self.num_envs


def make_plan(config: Config, num_actors: int) -> Plan:
  """Choose the sizes.

  The updates of a stretch are to the updates of a run as its rows are to the
  run's, exactly: that is what `updates_per_iteration` promises.

  Raises:
    UserError: environments or updates cannot be divided over the players, or
      the replay is too small for a few stretches.
  """
  if config.num_envs % num_actors:
    raise UserError(
      f'num_envs = {config.num_envs} cannot be divided by num_actors = '
      f'{num_actors}')
  share = config.updates_per_iteration
  # The fewest rollouts whose updates are a whole number.
  least = num_actors // math.gcd(share, num_actors) if share else 1
  rollouts = least * math.ceil(_ROWS / (config.rollout_length * least))
  num_envs = config.num_envs // num_actors
  length = config.stacked_frames + 1 + rollouts * config.rollout_length
  num_kept = config.replay_capacity // (length * num_envs)
  if num_kept < 2:
    raise UserError(
      f'replay_capacity = {config.replay_capacity}: holds {num_kept} stretches '
      f'of {length} x {num_envs} rows; use at least {2 * length * num_envs}, '
      'or more actors')
  return Plan(
    num_envs=num_envs, rollouts=rollouts, context=config.stacked_frames,
    length=length, updates=share * rollouts // num_actors, num_kept=num_kept)


def nothing(rows: int, like: Trajectory) -> Trajectory:
  """Make rows [rows, b, ...] of nothing, to stand before the first stretch.

  Args:
    rows: how many.
    like: [T, b, ...] rows that follow.
  """
  empty = jax.tree.map(lambda x: np.zeros((rows, *x.shape[1:]), x.dtype), like)
  return empty._replace(is_last=np.ones_like(empty.is_last))


def cut(before: Trajectory, played: Trajectory, context: int) -> Trajectory:
  """Make the rows of a stretch of what was played.

  Args:
    before: [S + 1, b, ...] the rows before it, as they were played.
    played: [P, b, ...]
    context: S.
  """
  rows = jax.tree.map(
    lambda x, y: np.concatenate([x, y]), before, played)
  is_last = rows.is_last.copy()
  is_last[:context] = True
  is_last[-1] = True
  return rows._replace(is_last=is_last)


def tail(before: Trajectory, played: Trajectory, rows: int) -> Trajectory:
  """Return the newest rows [rows, b, ...], as they were played."""
  both = lambda x, y: np.concatenate([x, y])[-rows:]
  return jax.tree.map(both, before, played)
