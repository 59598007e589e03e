"""Reanalyse as a stream: stored rows in, rows with fresh targets beside them.

Reanalyse actors draw stretches of consecutive rows from the replay, which holds
the most recent trajectories, search them again with the newest parameters and
write them, complete with frames, actions and rewards, to a second ring. The
learner takes its share of each batch from there, and cannot tell it from fresh
data. Searched once and trained many times, these targets have an age; those of
`reanalyse` within the learner's step have none.

Each of R actors writes one chunk an iteration, into its column of the ring:

  S rows before the first window, for its stacked frames
  W rows that open windows
  K rows more that are searched, as the last of these windows reaches them
  n rows whose values alone are needed, to bootstrap from
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax.replay import reanalyse
from muzero_jax.replay import ring as ring_lib
from muzero_jax.replay.reanalyse import Reanalyser
from muzero_jax.replay.ring import ReplayState
from muzero_jax.types import Array, EnvSpec, Params, Sequence, Trajectory
from muzero_jax.wide_counts import Count


class Plan(NamedTuple):
  """Sizes of a stream on one device; static, never crosses jit."""

  num_actors: int  # R, chunks searched in each iteration.
  group_size: int  # Actors whose rows are searched together; divides R.
  num_chunks: int  # Chunks of each actor that the ring holds.
  context: int  # S
  opening: int  # W
  searched: int  # W + K
  length: int  # C = S + W + K + n, rows of a chunk.


class StreamState(NamedTuple):
  """The second ring, of T = num_chunks * C rows."""

  ring: ReplayState  # [T, R, ...]
  # [num_chunks, R] i32, the replay's row, counted since the start, that is the
  # chunk's first.
  first_row: Array
  # [num_chunks] i32, updates made when it was searched, modulo 2^32.
  searched_at: Array


class Fresh(NamedTuple):
  """What Reanalyse replaces, of a chunk or of a sequence."""

  policy: Array
  value: Array
  candidates: Array | None


class Stream(NamedTuple):
  """A stream's functions, for one device."""

  init: Callable[[int], StreamState]  # Number of devices -> empty, of all.
  # params, rng_key, replay, state, updates made, is_on -> state.
  refresh: Callable[..., StreamState]
  plan: Plan


def make_plan(
  *,
  rows_per_iteration: int,
  group_rows: int,
  capacity: int,
  rows_per_env: int,
  opening: int,
  stacked_frames: int,
  unroll_steps: int,
  td_steps: int,
) -> Plan:
  """Returns the sizes that come nearest to what is wanted of one device.

  Args:
    rows_per_iteration: rows to search in each iteration.
    group_rows: rows to search together, at most, but at least one chunk's.
    capacity: rows of the second ring, at least one chunk of each actor.
    rows_per_env: of the replay; more than S + K + n.
    opening: W, if the replay is long enough for it.
    stacked_frames: S.
    unroll_steps: K.
    td_steps: n.
  """
  rest = unroll_steps + td_steps
  opening = min(opening, rows_per_env - rest - stacked_frames)
  searched = opening + unroll_steps
  wanted = max(round(rows_per_iteration / searched), 1)
  group_size = min(max(group_rows // searched, 1), wanted)
  num_actors = group_size * max(round(wanted / group_size), 1)
  length = stacked_frames + opening + rest
  return Plan(
    num_actors=num_actors,
    group_size=group_size,
    num_chunks=max(capacity // (num_actors * length), 1),
    context=stacked_frames,
    opening=opening,
    searched=searched,
    length=length,
  )


def make_stream(
  spec: EnvSpec,
  plan: Plan,
  *,
  reanalyser: Reanalyser,
  stack_actions: bool,
  num_sampled: int = 0,
) -> Stream:
  """Returns a stream's functions.

  Args:
    spec: of the environment.
    plan: sizes.
    reanalyser: makes fresh targets.
    stack_actions: whether observations hold the actions too.
    num_sampled: C of Sampled MuZero, or 0.
  """
  search = functools.partial(
    search_group, plan, reanalyser, stack_actions)
  return Stream(
    init=functools.partial(_init, spec, plan, num_sampled),
    refresh=functools.partial(_refresh, plan, search),
    plan=plan,
  )


def num_bytes(
  spec: EnvSpec, plan: Plan, num_devices: int, num_sampled: int = 0
) -> int:
  """Returns the memory of the second ring in bytes, allocating nothing."""
  state = jax.eval_shape(lambda: _init(spec, plan, num_sampled, num_devices))
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


def _fresh(rows: Trajectory | Sequence) -> Fresh:
  return Fresh(rows.policy, rows.value, rows.candidates)


def _init(
  spec: EnvSpec, plan: Plan, num_sampled: int, num_devices: int
) -> StreamState:
  columns = plan.num_actors * num_devices
  return StreamState(
    ring=ring_lib.init(
      spec, columns, plan.num_chunks * plan.length, num_sampled),
    first_row=jnp.zeros((plan.num_chunks, columns), jnp.int32),
    searched_at=jnp.zeros(plan.num_chunks, jnp.int32),
  )


def _refresh(
  plan: Plan,
  search_group: Callable[[Params, Array, Trajectory], Fresh],
  params: Params,
  rng_key: Array,
  source: ReplayState,
  state: StreamState,
  num_updates: Count,
  is_on: Array,
) -> StreamState:
  """Returns the stream with a new chunk of each actor.

  Args:
    plan: sizes.
    search_group: (params, rng_key, chunks [C, g, ...]) -> what is fresh.
    params: the newest.
    rng_key: for draws and searches.
    source: the replay; at least two rows per environment if `is_on`.
    state: before.
    num_updates: updates made so far.
    is_on: [] bool, False leaves the stream as it is, and searches nothing.
  """
  draw_key, search_key = jax.random.split(rng_key)
  start, env = _draw(plan, source, draw_key)
  chunk, opens = _copy(plan, source, start, env)

  def grouped(x: Array) -> Array:  # [C, R, ...] -> [R / g, C, g, ...]
    parts = x.reshape(plan.length, -1, plan.group_size, *x.shape[2:])
    return jnp.moveaxis(parts, 1, 0)

  def search(parts: Trajectory) -> Fresh:
    keys = jax.random.split(search_key, plan.num_actors // plan.group_size)
    one = lambda _, x: (None, search_group(params, *x))
    return jax.lax.scan(one, None, (keys, parts))[1]

  fresh = jax.lax.cond(is_on, search, _fresh, jax.tree.map(grouped, chunk))
  chunk = chunk._replace(**jax.tree.map(
    lambda new, old: jnp.moveaxis(new, 0, 1).reshape(old.shape),
    fresh, _fresh(chunk))._asdict())
  slot = state.ring.num_added % (plan.num_chunks * plan.length)
  ring = ring_lib.add(state.ring, chunk)
  entered = jax.lax.dynamic_slice_in_dim(ring.priority, slot, plan.length)
  priority = jax.lax.dynamic_update_slice_in_dim(
    ring.priority, jnp.where(opens, entered, 0.0), slot, axis=0)
  # What was written while the stream is off is overwritten by what comes next.
  num_added = jnp.where(is_on, ring.num_added, state.ring.num_added)
  number = slot // plan.length
  return StreamState(
    ring=ring._replace(priority=priority, num_added=num_added),
    first_row=state.first_row.at[number].set(start - plan.context),
    searched_at=state.searched_at.at[number].set(
      num_updates.low.astype(jnp.int32)),
  )


def _draw(
  plan: Plan, source: ReplayState, rng_key: Array
) -> tuple[Array, Array]:
  """Returns row and environment [R] of the first window of each chunk.

  Rows are counted since the start. Environments get equally many chunks, to
  within one; starts are uniform where all W rows may open a window.
  """
  start_key, env_key = jax.random.split(rng_key)
  capacity, num_envs = source.priority.shape
  num_added = source.num_added
  # A full ring has lost the frames that its oldest rows would stack.
  oldest = jnp.where(
    num_added > capacity, num_added - capacity + plan.context, 0)
  latest = jnp.maximum(num_added - 1 - plan.opening, oldest)
  start = jax.random.randint(
    start_key, (plan.num_actors,), oldest, latest + 1, jnp.int32)
  first = jax.random.randint(env_key, (), 0, num_envs, jnp.int32)
  return start, (first + jnp.arange(plan.num_actors)) % num_envs


def _copy(
  plan: Plan, source: ReplayState, start: Array, env: Array
) -> tuple[Trajectory, Array]:
  """Returns chunks [C, R, ...] of the replay and which rows open windows."""
  offset = jnp.arange(plan.length) - plan.context
  row = start + offset[:, None]  # [C, R]
  slot = row % source.priority.shape[0]
  newest = source.num_added - 1
  chunk = jax.tree.map(lambda x: x[slot, env], source.rows)
  opens = (offset >= 0) & (offset < plan.opening)
  opens = opens[:, None] & (row < newest) & (source.priority[slot, env] > 0)
  # Rows after the newest one are older than all others.
  return chunk._replace(is_last=chunk.is_last | (row == newest)), opens


def search_group(
  plan: Plan,
  reanalyser: Reanalyser,
  stack_actions: bool,
  params: Params,
  rng_key: Array,
  chunk: Trajectory,
) -> Fresh:
  """Returns what a search finds of chunks [C, g, ...].

  Args:
    plan: sizes; its first `context` rows are only seen.
    reanalyser: makes fresh targets.
    stack_actions: whether observations hold the actions too.
    params: to search with.
    rng_key: consumed.
    chunk: the rows.
  """
  size = chunk.reward.shape[1]

  def observe(row: Array) -> Array:
    return ring_lib.observations(
      chunk, jnp.full(size, row), jnp.arange(size), 1, plan.context,
      stack_actions)[:, 0]

  swap = lambda x: jnp.swapaxes(x, 0, 1)
  observation = jax.vmap(observe)(jnp.arange(plan.context, plan.length))
  names = [name for name in Sequence._fields if hasattr(chunk, name)]
  part = lambda x: swap(x[plan.context:])
  sequence = Sequence(observation=swap(observation), **{
    name: jax.tree.map(part, getattr(chunk, name)) for name in names})
  fresh = reanalyse.reanalyse(
    params, rng_key, sequence, search=reanalyser.search,
    value_fn=reanalyser.value_fn, unroll_steps=plan.searched - 1)
  return jax.tree.map(
    lambda old, new: old.at[plan.context:].set(swap(new)),
    _fresh(chunk), _fresh(fresh))
