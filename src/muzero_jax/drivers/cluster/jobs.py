"""What runs in Ray's processes: players and reanalysers.

Plain classes: `crew` makes Ray's actors of them, and tests call them directly.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax.acting import actor, host_actor
from muzero_jax.acting.actor import ActorState, RolloutStats
from muzero_jax.acting.host_actor import HostActor
from muzero_jax.acting.host_worker import Worker
from muzero_jax.config import Config, settings
from muzero_jax.drivers import build
from muzero_jax.drivers.build import Extensions
from muzero_jax.drivers.cluster import stretches
from muzero_jax.drivers.cluster.stretches import (
  Name,
  Plan,
  Published,
  Stretch,
)
from muzero_jax.replay import reanalyse_buffer
from muzero_jax.search import Search
from muzero_jax.types import (
  AnyEnvironment,
  Array,
  Environment,
  EnvSpec,
  HostEnvironment,
  Params,
  Trajectory,
)
from muzero_jax.wide_counts import Count


class Parts(NamedTuple):
  """What jobs are made of; Ray carries it to their processes."""

  config: Config  # With nothing left to the environment.
  spec: EnvSpec
  make_env: Callable[..., AnyEnvironment]
  extensions: Extensions
  plan: Plan


# params, num_steps, key -> rows [T, b, ...] and their sums.
_Play = Callable[[Params, Count, Array], tuple[Trajectory, RolloutStats]]


class Player:
  """Plays b environments, a stretch at a time."""

  def __init__(self, parts: Parts, index: int, incarnation: int) -> None:
    """Makes the environments.

    Args:
      parts: of the run.
      index: which player this is.
      incarnation: how often it was made anew.
    """
    config = parts.config
    self._parts, self._index, self._incarnation = parts, index, incarnation
    self._key = functools.reduce(
      jax.random.fold_in, (index, incarnation),
      jax.random.split(jax.random.key(config.seed), 3)[2])
    env = parts.make_env(config, num_envs=parts.plan.num_envs)
    search = build.make_search(
      config, parts.spec,
      build.make_system(config, parts.spec, parts.extensions), 'acting')
    self._play: _Play
    if isinstance(env, HostEnvironment):
      seed = np.random.SeedSequence([config.seed, index, incarnation])
      self._play = _host_play(
        parts, env, search, int(seed.generate_state(1)[0]))
    else:
      self._play = _device_play(parts, env, search, self._key)
    self._before: Trajectory | None = None

  def play(self, published: Published, number: int) -> Stretch:
    """Returns the next stretch.

    Args:
      published: what to play with.
      number: of the stretch, from 1.
    """
    key = jax.random.fold_in(self._key, number)
    found = [
      jax.device_get(self._play(
        published.params, published.num_steps, jax.random.fold_in(key, i)))
      for i in range(self._parts.plan.rollouts)]
    played = jax.tree.map(
      lambda *x: np.concatenate(x), *(rows for rows, _ in found))
    context = self._parts.plan.context
    before = self._before
    if before is None:
      before = stretches.nothing(context + 1, played)
    self._before = stretches.tail(before, played, context + 1)
    return Stretch(
      Name(self._index, self._incarnation, number), published.version,
      stretches.cut(before, played, context),
      jax.tree.map(lambda *x: np.sum(x, axis=0, dtype=x[0].dtype),
                   *(stats for _, stats in found)))


def _device_play(
  parts: Parts, env: Environment, search: Search, rng_key: Array
) -> _Play:
  """Return what plays a rollout in environments of JAX."""
  config = parts.config

  def init(key: Array) -> ActorState:
    return actor.init(
      env, key, num_envs=parts.plan.num_envs,
      stacked_frames=config.stacked_frames)

  @functools.partial(jax.jit, donate_argnums=2)
  def rollout(params: Params, num_steps: Count, state: Any, key: Array) -> Any:
    return actor.rollout(
      env, search, params, state, key, config.part(settings.Acting),
      temperature=build.temperature(config, num_steps),
      stack_actions=config.stack_actions)

  # ALE starts outside jit and returns some arrays twice.
  start = jax.jit(init) if env.restorable else init
  state = jax.tree.map(jax.numpy.copy, start(rng_key))

  def play(params: Params, num_steps: Count, key: Array) -> Any:
    nonlocal state
    state, rows, stats = rollout(params, num_steps, state, key)
    return rows, stats

  return play


def _host_play(
  parts: Parts, env: HostEnvironment, search: Search, seed: int
) -> _Play:
  """Return what plays a rollout in environments of the host."""
  config, num_envs = parts.config, parts.plan.num_envs
  functions = host_actor.make_functions(
    search, parts.spec, config.part(settings.Acting),
    config.part(settings.FrameStack), num_envs=num_envs,
    temperature=functools.partial(build.temperature, config),
    num_sampled=config.num_sampled_actions)
  player = HostActor(
    functions,
    lambda: Worker(
      lambda: env, num_envs=num_envs, name='player',
      timeout=config.worker_timeout),
    length=config.rollout_length, seed=seed)

  def play(params: Params, num_steps: Count, key: Array) -> Any:
    found = player.rollout(params, num_steps, key)
    return found.chunk, found.stats

  return play


class Reanalyser:
  """Searches stored stretches again."""

  def __init__(self, parts: Parts, index: int, incarnation: int) -> None:
    """Makes the search; arguments as of `Player`."""
    config, plan = parts.config, parts.plan
    self._index, self._incarnation = index, incarnation
    self._key = functools.reduce(
      jax.random.fold_in, (index, incarnation),
      jax.random.split(jax.random.key(config.seed), 3)[1])
    system = build.make_system(config, parts.spec, parts.extensions)
    opening = plan.length - plan.context
    sizes = reanalyse_buffer.Plan(
      num_actors=1, group_size=1, num_chunks=1, context=plan.context,
      opening=opening, searched=opening, length=plan.length)
    self._search = jax.jit(functools.partial(
      reanalyse_buffer.search_group, sizes,
      build.make_reanalyser(config, parts.spec, system), config.stack_actions))

  def search(
    self, published: Published, stretch: Stretch, first_row: int, number: int
  ) -> tuple[Stretch, int]:
    """Returns a stretch with the policies and values of a new search.

    Args:
      published: what to search with.
      stretch: that was played.
      first_row: the replay's row that is its first; given back.
      number: of the result, from 1.
    """
    key = jax.random.fold_in(self._key, number)
    rows = stretch.rows._replace(action_value=None)
    fresh = jax.device_get(self._search(published.params, key, rows))
    return Stretch(
      Name(self._index, self._incarnation, number), published.version,
      rows._replace(**fresh._asdict()), stretch.stats), first_row
