"""The default driver: play, remember, reanalyse and learn in one jitted step.

Environments, replay and batch are sharded over a mesh of devices; parameters
are replicated and gradients averaged (Podracer's Anakin, with a replay).
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from muzero_jax import wide_counts
from muzero_jax.acting import actor
from muzero_jax.acting.actor import ActorState
from muzero_jax.config import Config, settings
from muzero_jax.drivers import build, iteration
from muzero_jax.drivers import placement as placement_lib
from muzero_jax.drivers.build import Extensions, System
from muzero_jax.drivers.iteration import Driver, IterationMetrics, Step
from muzero_jax.drivers.placement import Placement
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.errors import UserError
from muzero_jax.learning import learner_state
from muzero_jax.learning.learner import Learner
from muzero_jax.learning.learner_state import LearnerState
from muzero_jax.replay import ring
from muzero_jax.replay.reanalyse_buffer import Stream
from muzero_jax.replay.ring import ReplayState
from muzero_jax.search import Search
from muzero_jax.types import Array, Environment


class _Parts(NamedTuple):
  """What a run is made of; never crosses jit."""

  config: Config
  env: Environment  # Of one device's environments.
  system: System
  search: Search
  learn: Learner
  streamer: Stream | None
  placement: Placement
  rows_per_env: int

  @property
  def num_envs(self) -> int:
    """Return the environments of one device."""
    return self.config.num_envs // self.placement.num_devices


def make_anakin(
  config: Config,
  env: Environment,
  *,
  num_devices: int = 1,
  rows_per_env: int,
  extensions: Extensions = build.NONE,
) -> Driver:
  """Make the driver.

  Args:
    config: of the run.
    env: with num_envs / num_devices environments.
    num_devices: the first so many of `jax.devices()`.
    rows_per_env: capacity of the replay, a multiple of the rollout length.
    extensions: a user's own parts.

  Raises:
    UserError: if the network does not fit the environment, or several seeds
      are wanted of an environment that only one program can drive.
  """
  if config.num_seeds > 1 and not env.restorable:
    raise UserError(
      f'num_seeds={config.num_seeds}: family {config.family!r} trains one '
      'agent at a time'
    )
  system = build.make_system(config, env.spec, extensions)
  streamer = build.make_stream(
    config, env.spec, system, num_devices=num_devices)
  placement = placement_lib.make_placement(
    config, num_devices, streamed=streamer is not None)
  parts = _Parts(
    config=config,
    env=env,
    system=system,
    search=build.make_search(config, env.spec, system, 'acting'),
    learn=build.make_learner(
      config, env.spec, system, num_devices=num_devices,
      axis_name=placement.axis_name),
    streamer=streamer,
    placement=placement,
    rows_per_env=rows_per_env,
  )
  step = jax.jit(_make_step(parts), donate_argnums=0)
  rows = config.num_envs * config.rollout_length
  return Driver(
    spec=env.spec,
    restorable=env.restorable,
    init=functools.partial(_init, parts),
    restart_actors=functools.partial(_restart_actors, parts),
    abstract=functools.partial(_abstract, parts),
    session=functools.partial(_session, step),
    num_devices=num_devices,
    samples_per_row=config.updates_per_iteration * config.batch_size / rows,
    searches_per_iteration=build.searches_per_iteration(config, num_devices),
    rows_per_iteration=rows,
    step=step,
  )


def _session(
  step: Any,
  state: TrainState,
  report: Callable[[str], Any] = print,
  should_stop: Callable[[], bool] = lambda: False,
) -> contextlib.AbstractContextManager[Step]:
  """Compile the step for a state; nothing is started."""
  del report, should_stop  # No iteration waits for anybody.
  return contextlib.nullcontext(step.lower(state).compile())


def _make_step(parts: _Parts) -> Step:
  """Make the step of all agents and devices."""
  step: Any = functools.partial(_iterate, parts)
  if parts.placement.many:
    step = jax.vmap(step, axis_name=placement_lib.AGENTS)
  specs = parts.placement.specs
  return parts.placement.over_devices(
    step, in_specs=(specs,), out_specs=(specs, PartitionSpec()))


class _Keys(NamedTuple):
  """What each agent's key is split into."""

  learner: Array
  actors: Array
  iterations: Array
  restarts: Array


def _split(parts: _Parts, rng_key: Array) -> _Keys:
  """Split the key of a run, or of each of its agents."""
  split = functools.partial(jax.random.split, num=len(_Keys._fields))
  keys = parts.placement.over_agents(split)(rng_key)
  return _Keys(*(keys[..., i] for i in range(len(_Keys._fields))))


def _restart_actors(parts: _Parts, rng_key: Array, step: int) -> ActorState:
  """Make fresh actors for a run that goes on from a step without its own."""
  key = jax.random.fold_in(_split(parts, rng_key).restarts, step)
  return _init_actors(parts, key)


def _init(parts: _Parts, rng_key: Array) -> TrainState:
  """Make the state before the first iteration, on its devices."""
  if jax.process_count() > 1:
    return placement_lib.make_global(
      parts.placement, functools.partial(_make_state, parts), rng_key)
  return placement_lib.place(
    parts.placement.shardings, _make_state(parts, rng_key))


def _make_state(parts: _Parts, rng_key: Array) -> TrainState:
  """Make the state before the first iteration."""
  placement = parts.placement
  keys = _split(parts, rng_key)
  init_replays = placement.over_devices(
    placement.over_agents(functools.partial(_init_replay, parts)),
    in_specs=PartitionSpec(), out_specs=placement.specs.replay)
  init_learners = placement.over_agents(
    functools.partial(_init_learner, parts))
  return TrainState(
    learner=jax.jit(init_learners)(keys.learner),
    actor=_init_actors(parts, keys.actors),
    replay=jax.jit(init_replays)(rng_key),
    rng_key=placement.split(keys.iterations),
    # Donated, so no two may be the same buffer.
    num_steps=wide_counts.zero(rng_key.shape),
    num_iterations=wide_counts.zero(rng_key.shape),
    stream=iteration.init_stream(parts.streamer, placement, rng_key),
  )


def _init_learner(parts: _Parts, rng_key: Array) -> LearnerState:
  """Make the learner of one agent."""
  observation = build.example_observation(parts.config, parts.env.spec)
  return parts.learn.init(parts.system.model.init(rng_key, observation))


def _init_replay(parts: _Parts, rng_key: Array) -> ReplayState:
  """Make the replay of one agent on one device."""
  del rng_key  # It only tells how many agents there are.
  return ring.init(
    parts.env.spec, parts.num_envs, parts.rows_per_env,
    parts.config.num_sampled_actions)


def _init_actors(parts: _Parts, rng_key: Array) -> ActorState:
  """Make the actors of all agents on all devices."""
  placement, env = parts.placement, parts.env

  def init_shard(keys: Array) -> ActorState:
    return actor.init(
      env, keys[0], num_envs=parts.num_envs,
      stacked_frames=parts.config.stacked_frames)

  init = placement.over_devices(
    placement.over_agents(init_shard),
    in_specs=placement.specs.rng_key, out_specs=placement.specs.actor)
  # ALE starts outside jit and returns some arrays twice.
  start = jax.jit(init) if env.restorable else init
  return jax.tree.map(jnp.copy, start(placement.split(rng_key)))


def _abstract(parts: _Parts) -> TrainState:
  """Return shapes, types and shardings of a state."""
  rng_key = iteration.run_key(parts.config)
  shapes = jax.eval_shape(functools.partial(_make_state, parts), rng_key)
  return placement_lib.abstract_like(parts.placement.shardings, shapes)


def _iterate(
  parts: _Parts, state: TrainState
) -> tuple[TrainState, IterationMetrics]:
  """Play T rows, add them and learn U times; one device's share."""
  config = parts.config
  next_key, rollout_key, learn_key = jax.random.split(state.rng_key[0], 3)
  actors, chunk, stats = actor.rollout(
    parts.env,
    parts.search,
    learner_state.to_search(state.learner, state.learner.params),
    state.actor,
    rollout_key,
    config.part(settings.Acting),
    temperature=build.temperature(config, state.num_steps),
    stack_actions=config.stack_actions,
  )
  return iteration.learn_from(
    iteration.LearnerParts(
      config, parts.learn, parts.streamer, parts.placement.axis_name),
    state._replace(actor=actors, rng_key=next_key[None]),
    chunk, stats, learn_key)
