"""What all drivers share: the state of a run, its placement, and learning.

Drivers differ in where rows come from; what is done with them stands here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from muzero_jax.acting.actor import ActorState, RolloutStats
from muzero_jax.config import Config
from muzero_jax.errors import UserError
from muzero_jax.learning import learner
from muzero_jax.learning.learner_state import LearnerState
from muzero_jax.replay import mixture, ring
from muzero_jax.replay.reanalyse_buffer import Stream, StreamState
from muzero_jax.replay.ring import ReplayState
from muzero_jax.types import Array, Trajectory

AXIS = 'devices'
AGENTS = 'agents'


class TrainState(NamedTuple):
  """All of a run; B environments over all devices.

  With several agents side by side, all arrays have their axis in front.
  """

  learner: LearnerState  # Replicated.
  actor: ActorState  # [B, ...] sharded; None offline.
  replay: ReplayState  # [T, B, ...] sharded over B; offline without rows.
  rng_key: Array  # [devices] keys, one of each device.
  num_steps: Array  # [] i32, environment steps so far; offline, updates.
  num_iterations: Array  # [] i32
  # The reanalysed rows, [T, R, ...] sharded over R; None unless a stream.
  stream: StreamState | None = None


class IterationMetrics(NamedTuple):
  """Of one iteration, over all devices."""

  rollout: RolloutStats | None  # None offline.
  learner: learner.Metrics  # Means over the iteration's updates.
  has_learnt: Array  # [] bool, False while the replay fills.
  num_steps: Array  # [] i32, so far; offline, updates.
  num_updates: Array  # [] i32, so far.
  num_skipped: Array  # [] i32, so far.
  skips_in_a_row: Array  # [] i32


def choose_num_devices(
  config: Config, restorable: bool = True, num_envs: int = 0
) -> int:
  """Returns how many devices to use.

  Args:
    config: `num_devices` 0 takes the most that divide environments and batch.
    restorable: False for environments behind a pointer, which run on one.
    num_envs: B where it is not the configuration's; 0 where it is.

  Raises:
    UserError: if a stated number is not available or does not divide.
  """
  num_envs = num_envs or config.num_envs
  available = len(jax.devices())
  wanted = config.num_devices
  if not restorable and wanted > 1:
    raise UserError(
      f'num_devices={wanted}: family {config.family!r} runs on 1 device'
    )
  if wanted > available:
    raise UserError(
      f'num_devices={wanted}: this machine has {available}'
    )

  def fits(count: int) -> bool:
    return num_envs % count == 0 and config.batch_size % count == 0

  if wanted and not fits(wanted):
    raise UserError(
      f'num_devices={wanted}: must divide num_envs={num_envs} and '
      f'batch_size={config.batch_size}'
    )
  if wanted:
    return wanted
  if not restorable:
    return 1
  return max(n for n in range(1, available + 1) if fits(n))


def init_stream(
  streamer: Stream | None,
  shardings: Any,
  rng_key: Array,
  over: Callable[..., Any],
) -> StreamState | None:
  """Returns the empty stream of each agent; None where there is no stream.

  Args:
    streamer: its functions.
    shardings: of the state.
    rng_key: one key of each agent: it only tells how many there are.
    over: as a function of one agent becomes that of all.
  """
  if streamer is None:
    return None
  num_devices = shardings.num_steps.mesh.devices.size
  make = over(lambda unused: streamer.init(num_devices))
  return jax.jit(make, out_shardings=shardings.stream)(rng_key)


def partition_specs(many: bool, streamed: bool = False) -> TrainState:
  agents = (None,) if many else ()
  sharded, replicated = PartitionSpec(*agents, AXIS), PartitionSpec()
  by_env: Any = PartitionSpec(*agents, None, AXIS)
  of_replay = ReplayState(by_env, by_env, replicated)  # type: ignore[arg-type]
  stream = StreamState(of_replay, by_env, replicated)  # type: ignore[arg-type]
  return TrainState(
    learner=replicated,  # type: ignore[arg-type]
    actor=sharded,  # type: ignore[arg-type]
    replay=of_replay,
    rng_key=sharded,  # type: ignore[arg-type]
    num_steps=replicated,  # type: ignore[arg-type]
    num_iterations=replicated,  # type: ignore[arg-type]
    stream=stream if streamed else None,
  )


def place(shardings: TrainState, state: TrainState) -> TrainState:
  """Returns the state on its devices."""
  return _map_prefix(jax.device_put, shardings, state)


def abstract_like(shardings: TrainState, state: TrainState) -> TrainState:
  """Returns the shapes of `state` with their shardings."""

  def describe(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  return _map_prefix(describe, shardings, state)


def _map_prefix(
  f: Callable[[Any, Any], Any], prefix: TrainState, state: TrainState
) -> TrainState:
  """Returns f(leaf, sharding) for each leaf, with its part's sharding."""
  return jax.tree.map(
    lambda sharding, part: jax.tree.map(lambda x: f(x, sharding), part),
    prefix,
    state,
    is_leaf=lambda x: isinstance(x, NamedSharding),
  )


def learn_from(
  config: Config,
  learn: learner.Learner,
  streamer: Stream | None,
  axis_name: str | None,
  state: TrainState,
  actors: ActorState,
  chunk: Trajectory,
  stats: RolloutStats,
  next_key: Array,
  learn_key: Array,
) -> tuple[TrainState, IterationMetrics]:
  """Adds T rows and learns U times; one device's share, for any driver.

  Args:
    config: of the run.
    learn: the learner of this device.
    streamer: of Reanalyse, if that is a stream.
    axis_name: device axis, or None.
    state: before the rows were played.
    actors: after that.
    chunk: [T, B, ...] the rows.
    stats: their sums, on this device.
    next_key: for the iteration after this one.
    learn_key: consumed.
  """
  buffer = ring.add(state.replay, chunk)
  if axis_name is not None:
    stats = jax.lax.psum(stats, axis_name)
  num_steps = state.num_steps + stats.num_steps

  stored = jnp.minimum(
    buffer.num_added, buffer.priority.shape[0]
  ) * config.num_envs
  has_learnt = (stored >= config.min_replay) & (buffer.num_added > 1)
  if config.num_seeds > 1:
    # The same for all agents. Said so, it stays one branch of the program; a
    # condition of each agent's own would make all compute both.
    has_learnt = jax.lax.pmin(has_learnt.astype(jnp.int32), AGENTS) > 0
  new_learner, priority, stream, metrics = learn_iteration(
    learn, streamer, config.updates_per_iteration, state.learner, buffer,
    state.stream, learn_key, has_learnt,
  )
  return TrainState(
    learner=new_learner,
    actor=actors,
    replay=buffer._replace(priority=priority),
    rng_key=next_key[None],
    num_steps=num_steps,
    num_iterations=state.num_iterations + 1,
    stream=stream,
  ), IterationMetrics(
    rollout=stats,
    learner=metrics,
    has_learnt=has_learnt,
    num_steps=num_steps,
    num_updates=new_learner.num_updates,
    num_skipped=new_learner.num_skipped,
    skips_in_a_row=new_learner.skips_in_a_row,
  )


def learn_iteration(
  learn: learner.Learner,
  streamer: Stream | None,
  num_updates: int,
  state: LearnerState,
  buffer: ReplayState,
  stream: StreamState | None,
  rng_key: Array,
  can_learn: Array,
) -> tuple[LearnerState, Array, StreamState | None, learner.Metrics]:
  """Returns learner, priorities, stream and mean metrics after U updates.

  Args:
    learn: the learner.
    streamer: reanalyses before the updates; None where it is no stream.
    num_updates: U.
    state: of the learner.
    buffer: the replay.
    stream: of the streamer.
    rng_key: consumed.
    can_learn: [] bool, False while the replay fills.
  """
  if streamer is None or stream is None:
    state, priority, metrics = _learn(
      learn, num_updates, state, buffer, rng_key, can_learn
    )
    return state, priority, None, metrics
  stream_key, learn_key = jax.random.split(rng_key)
  stream = streamer.refresh(
    state.params, stream_key, buffer, stream, state.num_updates, can_learn
  )
  state, (priority, second), metrics = _learn(
    learn, num_updates, state, mixture.both(buffer, stream), learn_key,
    can_learn,
  )
  stream = stream._replace(ring=stream.ring._replace(priority=second))
  return state, priority, stream, metrics


def _learn(
  learn: learner.Learner,
  num_updates: int,
  state: LearnerState,
  buffer: Any,
  rng_key: Array,
  can_learn: Array,
) -> tuple[LearnerState, Any, learner.Metrics]:
  """Returns learner, priorities and mean metrics after U updates.

  Of a replay or, with a stream, of `Rings`, whose priorities are a pair. The
  rows are read, never carried: a loop that carried them could copy the
  whole replay.
  """

  def update(
    carry: tuple[LearnerState, Any], key: Array
  ) -> tuple[tuple[LearnerState, Any], learner.Metrics]:
    current, priority = carry
    current, changed, metrics = learn.update(
      current, buffer._replace(priority=priority), key
    )
    return (current, changed.priority), metrics

  def run(carry: tuple[LearnerState, Any]) -> Any:
    carry, metrics = jax.lax.scan(
      update, carry, jax.random.split(rng_key, num_updates)
    )
    return carry, jax.tree.map(lambda x: x.mean(axis=0), metrics)

  def skip(carry: tuple[LearnerState, Any]) -> Any:
    metrics = jax.eval_shape(update, carry, rng_key)[1]
    return carry, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)

  carry = (state, buffer.priority)
  if num_updates:
    carry, metrics = jax.lax.cond(can_learn, run, skip, carry)
  else:
    carry, metrics = skip(carry)
  return *carry, metrics
