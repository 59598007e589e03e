"""The default driver: play, remember, reanalyse and learn in one jitted step.

Environments, replay and batch are sharded over a mesh of devices; parameters
are replicated and gradients averaged (Podracer's Anakin, with a replay).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from muzero_jax import actor, factory, learner, replay, rings
from muzero_jax.actor import ActorState, RolloutStats
from muzero_jax.config import Config
from muzero_jax.learner_state import LearnerState
from muzero_jax.replay import ReplayState
from muzero_jax.search import Search
from muzero_jax.stream import Stream, StreamState
from muzero_jax.types import Array, Environment, EnvSpec, Trajectory

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


class Anakin(NamedTuple):
  """The driver's functions; `step` is jitted and donates its argument."""

  spec: EnvSpec
  restorable: bool  # False where a checkpoint cannot keep the actors.
  init: Callable[[Array], TrainState]  # rng_key -> state.
  init_actors: Callable[[Array], ActorState]  # rng_key -> fresh actors.
  # () -> shapes, types and shardings of a state; allocates nothing.
  abstract: Callable[[], TrainState]
  step: Any  # jax.jit of TrainState -> (TrainState, IterationMetrics).
  # state -> `step`, compiled for it; runs nothing.
  compile: Callable[[TrainState], Any]
  mesh: Mesh
  samples_per_row: float  # Sequences trained per row played, exactly.
  searches_per_iteration: int  # By Reanalyse, once it learns.


def choose_num_devices(
  config: Config, restorable: bool = True, num_envs: int = 0
) -> int:
  """Returns how many devices to use.

  Args:
    config: `num_devices` 0 takes the most that divide environments and batch.
    restorable: False for environments behind a pointer, which run on one.
    num_envs: B where it is not the configuration's; 0 where it is.

  Raises:
    ValueError: if a stated number is not available or does not divide.
  """
  num_envs = num_envs or config.num_envs
  available = len(jax.devices())
  wanted = config.num_devices
  if not restorable and wanted > 1:
    raise ValueError(
      f'num_devices={wanted}: family {config.family!r} runs on 1 device'
    )
  if wanted > available:
    raise ValueError(
      f'num_devices={wanted}: this machine has {available}'
    )

  def fits(count: int) -> bool:
    return num_envs % count == 0 and config.batch_size % count == 0

  if wanted and not fits(wanted):
    raise ValueError(
      f'num_devices={wanted}: must divide num_envs={num_envs} and '
      f'batch_size={config.batch_size}'
    )
  if wanted:
    return wanted
  if not restorable:
    return 1
  return max(n for n in range(1, available + 1) if fits(n))


def make_anakin(
  config: Config,
  env: Environment,
  *,
  num_devices: int = 1,
  rows_per_env: int,
) -> Anakin:
  """Returns the driver's functions.

  Args:
    config: of the run.
    env: with num_envs / num_devices environments.
    num_devices: the first so many of `jax.devices()`.
    rows_per_env: capacity of the replay, a multiple of the rollout length.

  Raises:
    ValueError: if the network does not fit the environment, or several seeds
      are wanted of an environment that only one program can drive.
  """
  many = config.num_seeds > 1
  if many and not env.restorable:
    raise ValueError(
      f'num_seeds={config.num_seeds}: family {config.family!r} trains one '
      'agent at a time'
    )
  # One agent, or all of them side by side.
  over: Callable[..., Any] = jax.vmap if many else lambda function: function
  mesh = Mesh(jax.devices()[:num_devices], (AXIS,))
  axis_name = AXIS if num_devices > 1 else None
  system = factory.make_system(config, env.spec)
  learn = factory.make_learner(
    config, env.spec, system, num_devices=num_devices, axis_name=axis_name
  )
  streamer = factory.make_stream(
    config, env.spec, system, num_devices=num_devices
  )
  search = factory.make_search(config, env.spec, system, training=True)
  specs = partition_specs(many, streamer is not None)
  shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
  local_envs = config.num_envs // num_devices

  def init_learner(rng_key: Array) -> LearnerState:
    observation = factory.example_observation(config, env.spec)
    return learn.init(system.model.init(rng_key, observation))

  def init_shard(keys: Array) -> ActorState:
    return actor.init(
      env,
      keys[0],
      num_envs=local_envs,
      stacked_frames=config.stacked_frames,
    )

  def init_replay(rng_key: Array) -> ReplayState:
    del rng_key  # It only tells how many agents there are.
    return replay.init(
      env.spec, local_envs, rows_per_env, config.num_sampled_actions
    )

  step: Any = functools.partial(
    _iterate, config, env, search, learn, streamer, axis_name
  )
  if many:
    step = jax.vmap(step, axis_name=AGENTS)
  init_shards, init_replays = over(init_shard), over(init_replay)
  if num_devices > 1:
    shard = functools.partial(jax.shard_map, mesh=mesh, check_vma=False)
    step = shard(step, in_specs=(specs,), out_specs=(specs, PartitionSpec()))
    init_shards = shard(
      init_shards, in_specs=specs.rng_key, out_specs=specs.actor
    )
    init_replays = shard(
      init_replays, in_specs=PartitionSpec(), out_specs=specs.replay
    )
  split = over(functools.partial(jax.random.split, num=num_devices))

  def init_actors(rng_key: Array) -> ActorState:
    # ALE starts outside jit and returns some arrays twice.
    start = jax.jit(init_shards) if env.restorable else init_shards
    return jax.tree.map(jnp.copy, start(split(rng_key)))

  def init(rng_key: Array) -> TrainState:
    if many:
      rng_key = jax.random.split(rng_key, config.num_seeds)
    keys = over(functools.partial(jax.random.split, num=3))(rng_key)
    return place(shardings, TrainState(
      learner=jax.jit(over(init_learner))(keys[..., 0]),
      actor=init_actors(keys[..., 1]),
      replay=jax.jit(init_replays)(rng_key),
      rng_key=split(keys[..., 2]),
      # Donated, so no two may be the same buffer.
      num_steps=jnp.zeros(rng_key.shape, jnp.int32),
      num_iterations=jnp.zeros(rng_key.shape, jnp.int32),
      stream=init_stream(streamer, shardings, rng_key, over),
    ))

  def abstract() -> TrainState:
    return abstract_like(shardings, jax.eval_shape(init, jax.random.key(0)))

  rows = config.num_envs * config.rollout_length
  jitted = jax.jit(step, donate_argnums=0)
  return Anakin(
    spec=env.spec,
    restorable=env.restorable,
    init=init,
    init_actors=init_actors,
    abstract=abstract,
    step=jitted,
    compile=lambda state: jitted.lower(state).compile(),
    mesh=mesh,
    samples_per_row=config.updates_per_iteration * config.batch_size / rows,
    searches_per_iteration=factory.searches_per_iteration(config, num_devices),
  )


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


def _iterate(
  config: Config,
  env: Environment,
  search: Search,
  learn: learner.Learner,
  streamer: Stream | None,
  axis_name: str | None,
  state: TrainState,
) -> tuple[TrainState, IterationMetrics]:
  """Plays T rows, adds them and learns U times; one device's share."""
  next_key, rollout_key, learn_key = jax.random.split(state.rng_key[0], 3)
  actors, chunk, stats = actor.rollout(
    env,
    search,
    state.learner.params,
    state.actor,
    rollout_key,
    length=config.rollout_length,
    temperature=factory.temperature(config, state.num_steps),
    temperature_moves=config.temperature_moves,
    noise_steps=config.noise_steps,
    reward_clip=config.reward_clip,
    stack_actions=config.stack_actions,
  )
  return learn_from(
    config, learn, streamer, axis_name, state, actors, chunk, stats, next_key,
    learn_key,
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
  buffer = replay.add(state.replay, chunk)
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
    learn, num_updates, state, rings.both(buffer, stream), learn_key, can_learn
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
