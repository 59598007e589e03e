"""The learner's side of a run whose play and Reanalyse are jobs elsewhere.

It takes whichever stretch is there first, adds it to the replay, makes the
updates that its rows are worth, and publishes what it has learnt. So the
updates for each row are exactly those of the configuration, however fast the
players are; what varies is how old the parameters are that they played with.
"""

import collections
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from muzero_jax import wide_counts
from muzero_jax.config import Config
from muzero_jax.drivers import build, iteration
from muzero_jax.drivers import placement as placement_lib
from muzero_jax.drivers.build import Extensions
from muzero_jax.drivers.cluster import jobs, stretches
from muzero_jax.drivers.cluster.crew import Crew
from muzero_jax.drivers.cluster.jobs import Parts
from muzero_jax.drivers.cluster.runtime import Wanted
from muzero_jax.drivers.cluster.stretches import Published, Stretch
from muzero_jax.drivers.iteration import Driver, IterationMetrics, Step
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.errors import StoppedError, UserError
from muzero_jax.learning import learner_state
from muzero_jax.replay import ring
from muzero_jax.replay.reanalyse_buffer import Stream, StreamState
from muzero_jax.types import AnyEnvironment, EnvSpec, Trajectory

# What a TrainState holds of actors that live elsewhere.
_NO_ACTORS: Any = None
_LOOK = 0.2  # Seconds between looks at whether to stop.
_RECENT = 64  # Iterations over which idle time and lag are told.


class Learns(NamedTuple):
  """What the learner is made of; never crosses jit."""

  wanted: Wanted
  parts: Parts
  learner: iteration.LearnerParts
  system: build.System
  num_fresh: int  # Stretches that the second ring holds; 0 without Reanalyse.
  sharding: SingleDeviceSharding


def make_cluster(
  config: Config,
  spec: EnvSpec,
  make_env: Callable[..., AnyEnvironment],
  wanted: Wanted,
  extensions: Extensions = build.NONE,
) -> Driver:
  """Make the driver; its states have no actors.

  Args:
    config: of the run.
    spec: of its environments.
    make_env: (config, *, num_envs) -> environments, as `envs.make`.
    wanted: the jobs.
    extensions: a user's own parts.

  Raises:
    UserError: the network does not fit the environment, sizes cannot be
      divided over the jobs, or the configuration wants what jobs cannot do.
  """
  learns = make_parts(config, spec, make_env, wanted, extensions)
  plan = learns.parts.plan
  rows = config.num_envs * config.rollout_length
  return Driver(
    spec=spec,
    restorable=False,
    init=jax.jit(
      functools.partial(init, learns), out_shardings=learns.sharding),
    restart_actors=lambda rng_key, step: _NO_ACTORS,
    abstract=functools.partial(_abstract, learns),
    session=functools.partial(_session, learns),
    num_devices=1,
    samples_per_row=config.updates_per_iteration * config.batch_size / rows,
    searches_per_iteration=0,
    rows_per_iteration=(
      plan.rollouts * config.rollout_length * plan.num_envs),
  )


def make_parts(
  config: Config,
  spec: EnvSpec,
  make_env: Callable[..., AnyEnvironment],
  wanted: Wanted,
  extensions: Extensions = build.NONE,
) -> Learns:
  """Make what the learner is made of; arguments as of `make_cluster`."""
  _check(config, wanted)
  plan = stretches.make_plan(config, wanted.num_actors)
  system = build.make_system(config, spec, extensions)
  # One player's columns take the stretches of all.
  share = dataclasses.replace(
    config, num_envs=plan.num_envs, updates_per_iteration=plan.updates,
    actor_threads=1)
  num_fresh = 0
  if wanted.num_reanalyse_actors:
    rows = config.reanalyse_capacity or config.replay_capacity
    num_fresh = max(rows // plan.num_rows, 1)
  streamer = Stream(
    init=functools.partial(_init_stream, config, spec, plan, num_fresh),
    refresh=lambda *given: given[3],  # Jobs do it.
    plan=_NO_ACTORS,
  ) if num_fresh else None
  return Learns(
    wanted, Parts(config, spec, make_env, extensions, plan),
    iteration.LearnerParts(
      share, build.make_learner(config, spec, system), streamer, None),
    system, num_fresh, SingleDeviceSharding(jax.devices()[0]))


def _check(config: Config, wanted: Wanted) -> None:
  """Refuse what jobs cannot have."""
  placement_lib.choose_num_devices(config, restorable=False)
  if config.num_seeds > 1:
    raise UserError(
      f'num_seeds = {config.num_seeds}: jobs train one agent at a time; '
      'allowed is 1')
  streams = bool(config.reanalyse_fraction) and (
    config.reanalyse_form == 'stream')
  if wanted.num_reanalyse_actors and not streams:
    raise UserError(
      f'num_reanalyse_actors = {wanted.num_reanalyse_actors} needs '
      "reanalyse_form = 'stream' and a reanalyse_fraction above 0, not "
      f'{config.reanalyse_form!r} and {config.reanalyse_fraction}')
  if streams and not wanted.num_reanalyse_actors:
    raise UserError(
      "reanalyse_form = 'stream' needs num_reanalyse_actors of 1 or more")


def _init_stream(
  config: Config, spec: EnvSpec, plan: stretches.Plan, num_fresh: int,
  num_devices: int,
) -> StreamState:
  """Make the empty ring of reanalysed stretches."""
  assert num_devices == 1
  return StreamState(
    ring=ring.init(
      spec, plan.num_envs, num_fresh * plan.length,
      config.num_sampled_actions),
    first_row=jnp.zeros((num_fresh, plan.num_envs), jnp.int32),
    searched_at=jnp.zeros(num_fresh, jnp.int32))


def init(learns: Learns, rng_key: Any) -> TrainState:
  """Make the state before the first iteration."""
  learner_key, next_key = jax.random.split(rng_key)
  config, spec, plan = learns.parts.config, learns.parts.spec, learns.parts.plan
  streamer = learns.learner.streamer
  return TrainState(
    learner=learns.learner.learn.init(learns.system.model.init(
      learner_key, build.example_observation(config, spec))),
    actor=_NO_ACTORS,
    replay=ring.init(
      spec, plan.num_envs, plan.num_kept * plan.length,
      config.num_sampled_actions),
    rng_key=next_key[None],
    num_steps=wide_counts.zero(),
    num_iterations=wide_counts.zero(),
    stream=streamer.init(1) if streamer else None,
  )


def _abstract(learns: Learns) -> TrainState:
  """Return shapes, types and shardings of a state."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=learns.sharding),
    jax.eval_shape(functools.partial(init, learns), jax.random.key(0)))


def published(state: TrainState) -> Published:
  """Return what jobs are given of a state."""
  params = learner_state.to_search(state.learner, state.learner.params)
  version = int(wide_counts.as_int(state.learner.num_updates))
  return Published(version, *jax.device_get((params, state.num_steps)))


def learn(
  parts: iteration.LearnerParts, state: TrainState, rows: Trajectory,
  stats: Any,
) -> tuple[TrainState, IterationMetrics]:
  """Add a stretch and learn from the replay."""
  next_key, learn_key = jax.random.split(state.rng_key[0])
  return iteration.learn_from(
    parts, state._replace(rng_key=next_key[None]), rows, stats, learn_key)


def add_fresh(
  stream: StreamState, rows: Trajectory, first_row: Any, version: Any
) -> StreamState:
  """Add a stretch that was searched again.

  Args:
    stream: the ring of such stretches.
    rows: [L, b, ...]
    first_row: the replay's row, counted since the start, that is its first.
    version: updates made before it was searched.
  """
  number = stream.ring.num_added // rows.reward.shape[0] % len(
    stream.searched_at)
  return StreamState(
    ring=ring.add(stream.ring, rows),
    first_row=stream.first_row.at[number].set(first_row),
    searched_at=stream.searched_at.at[number].set(version))


def _session(
  learns: Learns,
  state: TrainState,
  report: Callable[[str], Any] = print,
  should_stop: Callable[[], bool] = lambda: False,
) -> contextlib.AbstractContextManager[Step]:
  """Compile; jobs work within the context for the step that it gives.

  Once `should_stop` says so, the step raises StoppedError instead of waiting
  for a stretch; its argument is untouched then.
  """
  return _Office(learns, state, report, should_stop).running()


class _Office:
  """Players, reanalysers, what they are given, and the learner's step."""

  def __init__(
    self,
    learns: Learns,
    state: TrainState,
    report: Callable[[str], Any],
    should_stop: Callable[[], bool],
  ) -> None:
    """Compiles what learns, and hires."""
    import ray  # An extra.

    self._ray, self._learns, self._should_stop = ray, learns, should_stop
    self._numbers: dict[tuple[int, int], int] = {}  # Newest of each player.
    # (reference to a stretch, the replay's row that is its first)
    self._stored: collections.deque[tuple[Any, int]] = collections.deque(
      maxlen=learns.parts.plan.num_kept)
    self._choose = np.random.default_rng(learns.parts.config.seed)
    self._recent: collections.deque[tuple[float, float, float]] = (
      collections.deque(maxlen=_RECENT))
    self._last_end = time.monotonic()
    self._num_repeated = 0
    self._publish(state)
    # A run that is resumed must not repeat the episodes it has seen.
    past = int(wide_counts.as_int(state.num_iterations))
    hire = functools.partial(
      Crew, parts=learns.parts, incarnation=past,
      timeout=learns.wanted.job_timeout, report=report)
    self._players = hire(
      'player', jobs.Player, count=learns.wanted.num_actors)
    self._reanalysers = hire(
      'reanalyser', jobs.Reanalyser,
      count=learns.wanted.num_reanalyse_actors)
    self._add_fresh = jax.jit(add_fresh, donate_argnums=0)
    self._has_fresh = state.stream is not None and bool(
      state.stream.ring.num_added > 0)
    self._learn = jax.jit(
      functools.partial(learn, learns.learner), donate_argnums=0)

  @contextlib.contextmanager
  def running(self) -> Iterator[Step]:
    """Gives the step; ends the jobs afterwards, however it went."""
    try:
      yield self._step
    finally:
      self._players.close()
      self._reanalysers.close()

  def _step(
    self, state: TrainState
  ) -> tuple[TrainState, IterationMetrics]:
    """Learns from the next stretch."""
    start = time.monotonic()
    stretch, ref = self._next_stretch()
    state = self._take_fresh(state)
    idle = time.monotonic() - start
    if self._learns.num_fresh:
      self._stored.append((ref, int(state.replay.num_added)))
    state, metrics = self._learn(state, stretch.rows, stretch.stats)
    lag = self._published.version - stretch.version
    self._publish(state)
    now = time.monotonic()
    self._recent.append((float(lag), idle, now - self._last_end))
    self._last_end = now
    return state, metrics._replace(jobs=self._tell())

  def _tell(self) -> dict[str, np.ndarray]:
    """Returns how the jobs do."""
    lag, idle, whole = np.array(self._recent).sum(axis=0)
    found = dict(
      policy_lag=lag / len(self._recent), learner_idle=idle / max(whole, 1e-9),
      lost_stretches=self._players.num_lost + self._reanalysers.num_lost,
      repeated_stretches=self._num_repeated)
    return {
      name: np.asarray(value, np.float32) for name, value in found.items()}

  def _publish(self, state: TrainState) -> None:
    self._published = published(state)
    self._published_ref = self._ray.put(self._published)

  def _next_stretch(self) -> tuple[Stretch, Any]:
    """Returns the first stretch that is there, and Ray's reference to it.

    Raises:
      StoppedError: none is there, and the run is to stop.
    """
    while True:
      done = self._players.take(
        lambda job, number: job.play.remote(self._published_ref, number),
        _LOOK)
      if done is not None and self._is_new(done.result):
        return done.result, done.ref
      if done is None and self._should_stop():
        raise StoppedError('waiting for a stretch')

  def _is_new(self, stretch: Stretch) -> bool:
    """Returns whether a stretch was never taken before."""
    name = stretch.name
    player = (name.job, name.incarnation)
    is_new = name.number > self._numbers.get(player, 0)
    if is_new:
      self._numbers[player] = name.number
    else:
      self._num_repeated += 1
    return is_new

  def _take_fresh(self, state: TrainState) -> TrainState:
    """Returns the state with all stretches that were searched again.

    Waits for the first of them, once there is anything to search: batches hold
    them in a fixed share.
    """
    if not self._learns.num_fresh:
      return state
    take = functools.partial(self._reanalysers.take, self._assign_search)
    # One of each at most: learning must not wait for all that comes in.
    for _ in range(self._learns.wanted.num_reanalyse_actors):
      done = take(0.0)
      while done is None and not self._has_fresh and self._stored:
        if self._should_stop():
          raise StoppedError('waiting for a reanalysed stretch')
        done = take(_LOOK)
      if done is None:
        break
      stretch, first_row = done.result
      state = state._replace(stream=self._add_fresh(
        state.stream, stretch.rows, np.int32(first_row),
        np.int32(stretch.version % 2**31)))
      self._has_fresh = True
    return state

  def _assign_search(self, job: Any, number: int) -> Any:
    """Returns Ray's reference to a search of a stored stretch."""
    if not self._stored:
      return None
    ref, first_row = self._stored[self._choose.integers(len(self._stored))]
    return job.search.remote(self._published_ref, ref, first_row, number)
