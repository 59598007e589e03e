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

from muzero_jax.acting import actor
from muzero_jax.acting.actor import ActorState
from muzero_jax.config import Config
from muzero_jax.drivers import build, iteration
from muzero_jax.drivers.iteration import IterationMetrics, TrainState
from muzero_jax.errors import UserError
from muzero_jax.learning import learner
from muzero_jax.learning.learner_state import LearnerState
from muzero_jax.replay import ring
from muzero_jax.replay.reanalyse_buffer import Stream
from muzero_jax.replay.ring import ReplayState
from muzero_jax.search import Search
from muzero_jax.types import Array, Environment, EnvSpec


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
    UserError: if the network does not fit the environment, or several seeds
      are wanted of an environment that only one program can drive.
  """
  many = config.num_seeds > 1
  if many and not env.restorable:
    raise UserError(
      f'num_seeds={config.num_seeds}: family {config.family!r} trains one '
      'agent at a time'
    )
  # One agent, or all of them side by side.
  over: Callable[..., Any] = jax.vmap if many else lambda function: function
  mesh = Mesh(jax.devices()[:num_devices], (iteration.AXIS,))
  axis_name = iteration.AXIS if num_devices > 1 else None
  system = build.make_system(config, env.spec)
  learn = build.make_learner(
    config, env.spec, system, num_devices=num_devices, axis_name=axis_name
  )
  streamer = build.make_stream(
    config, env.spec, system, num_devices=num_devices
  )
  search = build.make_search(config, env.spec, system, training=True)
  specs = iteration.partition_specs(many, streamer is not None)
  shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
  local_envs = config.num_envs // num_devices

  def init_learner(rng_key: Array) -> LearnerState:
    observation = build.example_observation(config, env.spec)
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
    return ring.init(
      env.spec, local_envs, rows_per_env, config.num_sampled_actions
    )

  step: Any = functools.partial(
    _iterate, config, env, search, learn, streamer, axis_name
  )
  if many:
    step = jax.vmap(step, axis_name=iteration.AGENTS)
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
    return iteration.place(shardings, TrainState(
      learner=jax.jit(over(init_learner))(keys[..., 0]),
      actor=init_actors(keys[..., 1]),
      replay=jax.jit(init_replays)(rng_key),
      rng_key=split(keys[..., 2]),
      # Donated, so no two may be the same buffer.
      num_steps=jnp.zeros(rng_key.shape, jnp.int32),
      num_iterations=jnp.zeros(rng_key.shape, jnp.int32),
      stream=iteration.init_stream(streamer, shardings, rng_key, over),
    ))

  def abstract() -> TrainState:
    shapes = jax.eval_shape(init, jax.random.key(0))
    return iteration.abstract_like(shardings, shapes)

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
    searches_per_iteration=build.searches_per_iteration(config, num_devices),
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
    temperature=build.temperature(config, state.num_steps),
    temperature_moves=config.temperature_moves,
    noise_steps=config.noise_steps,
    reward_clip=config.reward_clip,
    stack_actions=config.stack_actions,
  )
  return iteration.learn_from(
    config, learn, streamer, axis_name, state, actors, chunk, stats, next_key,
    learn_key,
  )


