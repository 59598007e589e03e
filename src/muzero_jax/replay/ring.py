"""Replay: a ring of rows, sampled in windows; state in, state out.

Each environment has its own ring of T rows; all rings advance together, so a
chunk is one slice and a window of consecutive rows never mixes environments.
Frames are stored once and stacked when sampled.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax.errors import UserError
from muzero_jax.replay import frame_stack
from muzero_jax.types import Array, EnvSpec, Sequence, Trajectory

# Rows per environment; rings are shorter than a third of it.
_WRAP_AT = 2**30


class ReplayState(NamedTuple):
  """The ring; the axis T is its capacity per environment."""

  rows: Trajectory  # [T, B, ...]
  priority: Array  # [T, B] f32; 0 for rows that must not open a window.
  # [] i32, rows added per environment since the start, less whole `wrap`s.
  num_added: Array


class Sample(NamedTuple):
  """A batch of windows."""

  sequence: Sequence  # [N, L, ...]
  slot: Array  # [N] i32, ring slot of the first row.
  env: Array  # [N] i32, its environment.
  probability: Array  # [N] f32, with which it was drawn.


def init(
  spec: EnvSpec, num_envs: int, rows_per_env: int, num_sampled: int = 0
) -> ReplayState:
  """Returns an empty replay of `rows_per_env` x `num_envs` rows.

  Args:
    spec: of the environment.
    num_envs: B.
    rows_per_env: T.
    num_sampled: C of Sampled MuZero, or 0.
  """
  shape = (rows_per_env, num_envs)
  num_actions = spec.num_actions
  zero_actions = lambda *axes: jnp.zeros(
    (*axes, *spec.action_shape), spec.action_dtype)
  rows = Trajectory(
    frame=jnp.zeros(shape + spec.observation_shape, spec.observation_dtype),
    reward=jnp.zeros(shape, jnp.float32),
    discount=jnp.zeros(shape, jnp.float32),
    is_first=jnp.zeros(shape, bool),
    is_last=jnp.zeros(shape, bool),
    legal_actions=jnp.zeros((*shape, num_actions), bool),
    to_play=jnp.zeros(shape, jnp.int32),
    action=zero_actions(*shape),
    policy=jnp.zeros((*shape, num_sampled or num_actions), jnp.float32),
    value=jnp.zeros(shape, jnp.float32),
    candidates=zero_actions(*shape, num_sampled) if num_sampled else None,
  )
  return ReplayState(
    rows=rows,
    priority=jnp.zeros(shape, jnp.float32),
    num_added=jnp.zeros((), jnp.int32),
  )


def num_bytes(
  spec: EnvSpec, num_envs: int, rows_per_env: int, num_sampled: int = 0
) -> int:
  """Returns the memory of a replay in bytes, allocating nothing."""
  state = jax.eval_shape(
    lambda: init(spec, num_envs, rows_per_env, num_sampled))
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


def add(state: ReplayState, chunk: Trajectory) -> ReplayState:
  """Returns the replay with a chunk in place of its oldest rows.

  New rows enter at the largest priority stored, at first 1, so that each is
  likely to be trained once before its own priority is known.

  Args:
    state: with a capacity that is a multiple of the chunk's length.
    chunk: [T', B, ...] rows that follow the newest ones.

  Raises:
    UserError: if the chunk does not divide the capacity.
  """
  capacity = state.priority.shape[0]
  length = chunk.reward.shape[0]
  if capacity % length:
    raise UserError(
      f'a chunk of {length} rows does not divide the capacity {capacity}'
    )
  start = state.num_added % capacity

  def write(ring: Array, new: Array) -> Array:
    new = new.astype(ring.dtype)
    return jax.lax.dynamic_update_slice_in_dim(ring, new, start, axis=0)

  highest = jnp.max(state.priority)
  highest = jnp.where(highest > 0, highest, 1.0)
  priority = jnp.where(chunk.is_last, 0.0, highest)
  num_added = state.num_added + length
  return ReplayState(
    rows=jax.tree.map(write, state.rows, chunk),
    priority=write(state.priority, priority),
    # A full ring counts on from where it is as full, and at the same slot.
    num_added=jnp.where(
      num_added >= _WRAP_AT, num_added - wrap(capacity), num_added),
  )


def wrap(capacity: int) -> int:
  """Return by how much `num_added` falls when it would grow too large."""
  return (_WRAP_AT // capacity - 2) * capacity


def close_episodes(state: ReplayState) -> ReplayState:
  """Returns the replay with every running episode marked as truncated.

  For environments that cannot be resumed: the rows added next belong to new
  episodes.
  """
  newest = (state.num_added - 1) % state.priority.shape[0]
  is_last = state.rows.is_last.at[newest].set(True)
  return state._replace(
    rows=state.rows._replace(is_last=is_last),
    priority=state.priority.at[newest].set(0.0),
  )


def drop(state: ReplayState, num_rows: Array) -> ReplayState:
  """Returns the replay whose newest rows open no window any more.

  For episodes that broke off: what they hold is never trained again.

  Args:
    state: of B environments.
    num_rows: [B] of each environment's newest rows; 0 for none.
  """
  capacity = state.priority.shape[0]
  age = (state.num_added - 1 - jnp.arange(capacity)) % capacity
  is_dropped = age[:, None] < num_rows
  return state._replace(priority=jnp.where(is_dropped, 0.0, state.priority))


def sample(
  state: ReplayState,
  rng_key: Array,
  *,
  batch_size: int,
  window: int,
  stacked_frames: int = 1,
  stack_actions: bool = False,
  observed_rows: int = 1,
  alpha: float = 0.0,
) -> Sample:
  """Returns windows whose first rows are drawn by priority^alpha.

  Args:
    state: holds at least two rows per environment.
    rng_key: for the draw.
    batch_size: N.
    window: L, rows per window. Rows after the newest one are hidden by
      marking the newest as the window's last.
    stacked_frames: S.
    stack_actions: whether observations hold the actions too.
    observed_rows: rows of the window, from its first, for which observations
      are made; the others have none.
    alpha: 0 draws uniformly over the rows that may open a window.

  Returns:
    Windows [N, L, ...] with observations [N, observed_rows, ...], where they
    come from, and the probability of each.
  """
  slot, env, probability = _draw(
    state, rng_key, batch_size, stacked_frames, alpha
  )
  capacity = state.priority.shape[0]
  index = (slot[:, None] + jnp.arange(window)) % capacity  # [N, L]
  envs = env[:, None]
  rows = state.rows
  newest = (state.num_added - 1) % capacity
  sequence = Sequence(
    observation=observations(
      rows, slot, env, observed_rows, stacked_frames, stack_actions
    ),
    reward=rows.reward[index, envs],
    discount=rows.discount[index, envs],
    is_last=rows.is_last[index, envs] | (index == newest),
    legal_actions=rows.legal_actions[index, envs],
    to_play=rows.to_play[index, envs],
    action=rows.action[index, envs],
    policy=rows.policy[index, envs],
    value=rows.value[index, envs],
    candidates=jax.tree.map(lambda x: x[index, envs], rows.candidates),
  )
  return Sample(sequence, slot, env, probability)


def _draw(
  state: ReplayState,
  rng_key: Array,
  batch_size: int,
  stacked_frames: int,
  alpha: float,
) -> tuple[Array, Array, Array]:
  """Returns slots, environments and probabilities of N drawn rows.

  Stratified over the cumulative weights of ring slots, then drawn among the
  environments of a slot: sums are made afresh, so nothing drifts, and neither
  draw has to resolve single rows of a large replay in float32.
  """
  capacity, num_envs = state.priority.shape
  slots = jnp.arange(capacity)
  newest = (state.num_added - 1) % capacity
  # The newest row has no transition yet; a full ring has lost the frames that
  # its oldest rows would stack.
  age = (newest - slots) % capacity
  is_full = state.num_added > capacity
  opens = (age > 0) & ~(is_full & (age >= capacity - stacked_frames))
  # Relative to the largest, so that no power overflows.
  largest = jnp.max(state.priority)
  relative = state.priority / jnp.where(largest > 0, largest, 1.0)
  weight = jnp.where(state.priority > 0, relative**alpha, 0.0)
  weight = jnp.where(opens[:, None], weight, 0.0)  # [T, B]

  slot_key, env_key = jax.random.split(rng_key)
  row_weight = weight.sum(axis=1)
  row_cumulative = jnp.cumsum(row_weight)
  total = row_cumulative[-1]
  jitter = jax.random.uniform(slot_key, (batch_size,), jnp.float32)
  target = (jnp.arange(batch_size) + jitter) / batch_size * total
  slot = jnp.searchsorted(row_cumulative, target, side='right')
  # Rounding may point past the end, or at a slot without weight, as sums
  # taken in different orders differ: fall back on the last before it that
  # counts, or on the first of all.
  counts = row_weight > 0
  before = jax.lax.cummax(jnp.where(counts, slots, -1))
  slot = before[jnp.minimum(slot, capacity - 1)]
  slot = jnp.where(slot < 0, jnp.argmax(counts), slot).astype(jnp.int32)

  inside = weight[slot]  # [N, B]
  cumulative = jnp.cumsum(inside, axis=1)
  rest = jax.random.uniform(env_key, (batch_size,), jnp.float32)
  rest *= cumulative[:, -1]
  found = (cumulative > rest[:, None]) & (inside > 0)
  last_env = num_envs - 1 - jnp.argmax(inside[:, ::-1] > 0, axis=1)
  env = jnp.where(found.any(axis=1), jnp.argmax(found, axis=1), last_env)
  env = env.astype(jnp.int32)
  return slot, env, weight[slot, env] / total


def observations(
  rows: Trajectory,
  slot: Array,
  env: Array,
  observed_rows: int,
  stacked_frames: int,
  stack_actions: bool,
) -> Array:
  """Returns stacked observations [N, observed_rows, ...] of windows.

  Args:
    rows: [T, B, ...] a ring's.
    slot: [N] of each window's first row.
    env: [N] its environment.
    observed_rows: rows of the window, from its first.
    stacked_frames: S.
    stack_actions: whether observations hold the actions too.
  """
  capacity = rows.reward.shape[0]
  num_actions = rows.legal_actions.shape[-1]
  offsets = jnp.arange(1 - stacked_frames, observed_rows)
  index = (slot[:, None] + offsets) % capacity  # [N, S - 1 + observed]
  envs = env[:, None]
  frames = rows.frame[index, envs]
  is_first = rows.is_first[index, envs]
  # The action that led to a row is the one taken at the row before it.
  led_by = rows.action[(index - 1) % capacity, envs]

  def stack_row(last: int) -> Array:
    span = slice(last, last + stacked_frames)
    # A frame counts unless an episode starts after it.
    later = jnp.cumsum(is_first[:, span][:, ::-1], axis=1)[:, ::-1]
    firsts = is_first[:, span]
    hidden = (later - firsts) > 0  # [N, S]
    shape = hidden.shape + (1,) * (frames.ndim - 2)
    visible = jnp.where(hidden.reshape(shape), 0, frames[:, span])
    unknown = (hidden | firsts).reshape(
      hidden.shape + (1,) * (led_by.ndim - 2))
    actions = jnp.where(unknown, -1, led_by[:, span])
    return frame_stack.stack(
      visible.astype(frames.dtype), actions, num_actions, stack_actions
    )

  return jnp.stack([stack_row(i) for i in range(observed_rows)], axis=1)


def observe(
  state: ReplayState,
  batch: Sample,
  index: Array,
  *,
  stacked_frames: int = 1,
  stack_actions: bool = False,
) -> Array:
  """Returns stacked observations [N, M, ...] of chosen rows of windows.

  Args:
    state: that the windows were drawn from.
    batch: of N windows.
    index: [N, M] rows, counted from each window's first.
    stacked_frames: S.
    stack_actions: whether observations hold the actions too.
  """
  slot = (batch.slot[:, None] + index) % state.priority.shape[0]
  env = jnp.broadcast_to(batch.env[:, None], index.shape)
  found = observations(
    state.rows, slot.reshape(-1), env.reshape(-1), 1, stacked_frames,
    stack_actions)
  return found.reshape(*index.shape, *found.shape[2:])


def importance_weights(
  probability: Array,
  num_rows: Array,
  *,
  beta: float,
  axis_name: str | None = None,
) -> Array:
  """Returns weights (1 / (N P))^beta, scaled so that the largest is 1.

  Prioritised experience replay, section 3.4; MuZero appendix G.

  Args:
    probability: [N] with which each row was drawn.
    num_rows: rows that could have been drawn.
    beta: 0 leaves all weights 1.
    axis_name: device axis over which the largest is taken.
  """
  weights = (num_rows * probability) ** -beta
  highest = jnp.max(weights)
  if axis_name is not None:
    highest = jax.lax.pmax(highest, axis_name)
  return weights / highest


def priority_of(state: ReplayState, batch: Sample) -> Array:
  """Returns the stored priorities [N] of sampled rows."""
  return state.priority[batch.slot, batch.env]


def set_priority(
  state: ReplayState, batch: Sample, priority: Array
) -> ReplayState:
  """Returns the replay with new priorities [N] > 0 of sampled rows."""
  return state._replace(
    priority=state.priority.at[batch.slot, batch.env].set(priority)
  )


def ages(state: ReplayState, batch: Sample) -> Array:
  """Returns [N] how many environment steps ago samples were played.

  Counted over all environments of this ring.
  """
  capacity, num_envs = state.priority.shape
  return (state.num_added - 1 - batch.slot) % capacity * num_envs


def num_rows(state: ReplayState, batch: Sample | None = None) -> Array:
  """Returns the rows stored over all environments, whatever the batch."""
  del batch  # `mixture` has to know it.
  capacity, num_envs = state.priority.shape
  return jnp.minimum(state.num_added, capacity) * num_envs
