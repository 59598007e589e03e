"""Both rings as one: the replay's fresh rows and the stream's reanalysed ones.

The learner meets them here when Reanalyse is a stream: `sample`, `num_rows`,
`priority_of`, `set_priority` and `ages` do what `ring`'s do. Of a sample,
`env` is the column; those of the second ring come after the B of the first.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax.replay import ring as ring_lib
from muzero_jax.replay.reanalyse_buffer import StreamState
from muzero_jax.replay.ring import ReplayState, Sample
from muzero_jax.types import Array, Trajectory
from muzero_jax.wide_counts import Count


class Rings(NamedTuple):
  """Both rings as the learner meets them; pairs are (replay's, second's)."""

  rows: tuple[Trajectory, Trajectory]
  priority: tuple[Array, Array]
  num_added: tuple[Array, Array]
  first_row: Array  # Of the second, as in its StreamState.
  searched_at: Array


def both(source: ReplayState, state: StreamState) -> Rings:
  """Returns replay and second ring as the learner meets them."""
  ring = state.ring
  return Rings(
    rows=(source.rows, ring.rows),
    priority=(source.priority, ring.priority),
    num_added=(source.num_added, ring.num_added),
    first_row=state.first_row,
    searched_at=state.searched_at,
  )


def sample(
  rings: Rings, rng_key: Array, *, batch_size: int, num_reanalysed: int,
  window: int, stacked_frames: int = 1, stack_actions: bool = False,
  observed_rows: int = 1, alpha: float = 0.0,
) -> Sample:
  """Returns windows of which exactly `num_reanalysed` are of the second ring.

  Args:
    rings: both.
    rng_key: for the draws.
    batch_size: N.
    num_reanalysed: from 1 to N.
    window, stacked_frames, stack_actions, observed_rows, alpha: as
      `ring.sample` takes them.

  Returns:
    Windows as `ring.sample` does; `probability` is that within their ring.
  """
  draw = functools.partial(
    ring_lib.sample, window=window, stacked_frames=stacked_frames,
    stack_actions=stack_actions, observed_rows=observed_rows, alpha=alpha)
  fresh_key, second_key = jax.random.split(rng_key)
  second = draw(_ring(rings, 1), second_key, batch_size=num_reanalysed)
  second = second._replace(env=second.env + rings.priority[0].shape[1])
  if num_reanalysed == batch_size:
    return second
  fresh = draw(
    _ring(rings, 0), fresh_key, batch_size=batch_size - num_reanalysed)
  return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), fresh, second)


def num_rows(rings: Rings, batch: Sample) -> Array:
  """Returns the rows [N] that could have been drawn from each one's ring."""
  fresh, second = (jnp.sum(priority > 0) for priority in rings.priority)
  return jnp.where(_is_fresh(rings, batch), fresh, second)


def priority_of(rings: Rings, batch: Sample) -> Array:
  """Returns the stored priorities [N] of sampled rows."""
  fresh, second = rings.priority
  return jnp.where(
    _is_fresh(rings, batch),
    fresh.at[batch.slot, batch.env].get(mode='clip'),
    second.at[batch.slot, batch.env - fresh.shape[1]].get(mode='clip'),
  )


def set_priority(rings: Rings, batch: Sample, priority: Array) -> Rings:
  """Returns the rings with new priorities [N] > 0 of sampled rows."""
  fresh, second = rings.priority
  is_fresh, num_envs = _is_fresh(rings, batch), fresh.shape[1]
  # To a column that does not exist, nothing is written.
  other = jnp.where(is_fresh, second.shape[1], batch.env - num_envs)
  return rings._replace(priority=(
    fresh.at[batch.slot, batch.env].set(priority, mode='drop'),
    second.at[batch.slot, other].set(priority, mode='drop'),
  ))


def ages(rings: Rings, batch: Sample) -> Array:
  """Returns [N] how many environment steps ago samples were played.

  Counted over all environments of the replay.
  """
  capacity, num_envs = rings.priority[0].shape
  newest = rings.num_added[0] - 1
  number, offset = _chunk(rings, batch)
  column = batch.env - num_envs
  row = rings.first_row.at[number, column].get(mode='clip') + offset
  age = jnp.where(
    _is_fresh(rings, batch), (newest - batch.slot) % capacity,
    (newest - row) % ring_lib.wrap(capacity))
  return age * num_envs


def target_age(rings: Rings, batch: Sample, num_updates: Count) -> Array:
  """Returns how many updates ago reanalysed samples were searched, in the mean.

  Args:
    rings: both.
    batch: with at least one sample of the second ring.
    num_updates: made so far.
  """
  number, _ = _chunk(rings, batch)
  searched_at = rings.searched_at.at[number].get(mode='clip')
  age = num_updates.low.astype(jnp.int32) - searched_at
  return jnp.mean(age, where=~_is_fresh(rings, batch))


def _ring(rings: Rings, which: int) -> ReplayState:
  return ReplayState(
    rings.rows[which], rings.priority[which], rings.num_added[which])


def _is_fresh(rings: Rings, batch: Sample) -> Array:
  return batch.env < rings.priority[0].shape[1]


def _chunk(rings: Rings, batch: Sample) -> tuple[Array, Array]:
  """Returns each sample's chunk and its row there; of fresh ones, anything."""
  length = rings.priority[1].shape[0] // rings.searched_at.shape[0]
  return batch.slot // length, batch.slot % length
