"""The second driver: actor threads with host environments, and one learner.

Podracer's Sebulba, with a replay: each thread searches and steps environments
of its own, and bounded queues take its rollouts to the learner, which adds
and learns as `anakin` does. Rollout i is always played with the parameters
after i + 1 - `policy_lag` iterations, so that threads run ahead of the learner
but never race it: the same seed gives the same run, whatever the lag.
"""

import contextlib
import functools
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from muzero_jax import wide_counts
from muzero_jax.acting import host_actor
from muzero_jax.acting.host_actor import (
  Functions,
  HostActor,
  Rollout,
)
from muzero_jax.acting.host_worker import Worker
from muzero_jax.config import Config, settings
from muzero_jax.drivers import build, iteration
from muzero_jax.drivers import placement as placement_lib
from muzero_jax.drivers.build import Extensions, System
from muzero_jax.drivers.iteration import Driver, IterationMetrics, Step
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.errors import StoppedError, UserError
from muzero_jax.learning import learner_state
from muzero_jax.learning.learner import Learner
from muzero_jax.replay import ring
from muzero_jax.types import AnyEnvironment, EnvSpec, HostEnvironment

# What a TrainState holds of actors that live in threads.
_NO_ACTORS: Any = None
_LOOK = 0.2  # Seconds between looks at whether to stop.
# Seconds for all threads to end after an error or a request to stop; one that
# hangs is left behind.
_SHORT_END = 5.0

class _Parts(NamedTuple):
  """What a run is made of; never crosses jit."""

  config: Config
  spec: EnvSpec
  # (config, *, num_envs) -> host environments, as `envs.make`.
  make_env: Callable[..., AnyEnvironment]
  system: System
  learn: Learner
  functions: Functions  # Of each thread.
  sharding: SingleDeviceSharding
  rows_per_env: int


def make_sebulba(
  config: Config,
  spec: EnvSpec,
  make_env: Callable[..., AnyEnvironment],
  *,
  rows_per_env: int,
  extensions: Extensions = build.NONE,
) -> Driver:
  """Make the driver, all on the first device; its states have no actors.

  Args:
    config: of the run.
    spec: of its environments.
    make_env: (config, *, num_envs) -> host environments, as `envs.make`.
    rows_per_env: capacity of the replay, a multiple of the rollout length.
    extensions: a user's own parts.

  Raises:
    UserError: if the network does not fit the environment, or several
      devices or agents are wanted.
  """
  _check(config)
  system = build.make_system(config, spec, extensions)
  functions = host_actor.make_functions(
    build.make_search(config, spec, system, 'acting'),
    spec,
    config.part(settings.Acting),
    config.part(settings.FrameStack),
    num_envs=config.num_envs // config.actor_threads,
    temperature=functools.partial(build.temperature, config),
    num_sampled=config.num_sampled_actions,
  )
  # No mesh, which would be part of the types that threads compile for.
  sharding = SingleDeviceSharding(jax.devices()[0])
  parts = _Parts(
    config, spec, make_env, system, build.make_learner(config, spec, system),
    functions, sharding, rows_per_env)
  rows = config.num_envs * config.rollout_length
  return Driver(
    spec=spec,
    restorable=False,
    init=jax.jit(functools.partial(_init, parts), out_shardings=sharding),
    restart_actors=lambda rng_key, step: _NO_ACTORS,
    abstract=functools.partial(_abstract, parts),
    session=functools.partial(_session, parts),
    num_devices=1,
    samples_per_row=config.updates_per_iteration * config.batch_size / rows,
    searches_per_iteration=build.searches_per_iteration(config, 1),
    rows_per_iteration=rows,
  )


def _check(config: Config) -> None:
  """Refuse what host environments cannot have."""
  placement_lib.choose_num_devices(config, restorable=False)
  if config.num_seeds > 1:
    raise UserError(
      f'num_seeds={config.num_seeds}: host environments train one agent at a '
      'time'
    )
  if config.reanalyse_fraction and config.reanalyse_form == 'stream':
    raise UserError(
      "reanalyse_form='stream': host environments have batch only"
    )


def _init(parts: _Parts, rng_key: Any) -> TrainState:
  """Make the state before the first iteration."""
  learner_key, next_key, _ = jax.random.split(rng_key, 3)
  config, spec = parts.config, parts.spec
  observation = build.example_observation(config, spec)
  return TrainState(
    learner=parts.learn.init(
      parts.system.model.init(learner_key, observation)),
    actor=_NO_ACTORS,
    replay=ring.init(
      spec, config.num_envs, parts.rows_per_env, config.num_sampled_actions),
    rng_key=next_key[None],
    num_steps=wide_counts.zero(),
    num_iterations=wide_counts.zero(),
  )


def _abstract(parts: _Parts) -> TrainState:
  """Return shapes, types and shardings of a state."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=parts.sharding),
    jax.eval_shape(functools.partial(_init, parts), jax.random.key(0)))


def _session(
  parts: _Parts,
  state: TrainState,
  report: Callable[[str], Any] = print,
  should_stop: Callable[[], bool] = lambda: False,
) -> contextlib.AbstractContextManager[Step]:
  """Compile; threads play within the context for the step that it gives.

  `report` gets a line about each environment that was made anew. Once
  `should_stop` says so, the step raises StoppedError instead of waiting for a
  rollout; its argument is untouched then, as it is if an environment failed.
  """
  return _ActorPool(parts, state, report, should_stop).running()


def _learn(
  parts: iteration.LearnerParts,
  state: TrainState,
  rollouts: tuple[Any, ...],
) -> tuple[TrainState, IterationMetrics]:
  """Add the rows of all threads and learn U times.

  Args:
    parts: what learns.
    state: without actors.
    rollouts: (chunk, stats) of each thread, in their order.
  """
  chunks, stats = zip(*rollouts)
  chunk = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *chunks)
  next_key, learn_key = jax.random.split(state.rng_key[0])
  return iteration.learn_from(
    parts, state._replace(rng_key=next_key[None]), chunk,
    jax.tree.map(lambda *x: sum(x), *stats), learn_key)


class _Parameters:
  """What the actors play with: the newest parameters, by their iteration."""

  def __init__(self) -> None:
    self._changed = threading.Condition()
    self._by_iteration: dict[int, Any] = {}
    self.is_stopped = False

  def publish(self, iteration: int, value: Any, keep: int) -> None:
    """Adds what is there before an iteration; forgets all but `keep`."""
    with self._changed:
      self._by_iteration[iteration] = value
      for old in [i for i in self._by_iteration if i <= iteration - keep]:
        del self._by_iteration[old]
      self._changed.notify_all()

  def wait(self, iteration: int) -> Any:
    """Returns what is there before an iteration, once it is.

    Raises:
      StoppedError: no more is to be played.
    """
    with self._changed:
      self._changed.wait_for(
        lambda: self.is_stopped or iteration in self._by_iteration)
      if self.is_stopped:
        raise StoppedError
      return self._by_iteration[iteration]

  def stop(self) -> None:
    """Ends all waiting."""
    with self._changed:
      self.is_stopped = True
      self._changed.notify_all()


class _ActorPool:
  """The threads of a run from a state on, and the learner's step."""

  def __init__(
    self,
    parts: _Parts,
    state: TrainState,
    report: Callable[[str], Any],
    should_stop: Callable[[], bool],
  ) -> None:
    """Compile."""
    config = parts.config
    self._config, self._make_env = config, parts.make_env
    self._report, self._should_stop = report, should_stop
    self._start = self._iteration = int(wide_counts.as_int(
      state.num_iterations))
    self._parameters = _Parameters()
    # The threads' own pace bounds them; this makes sure of it.
    self._queues: list[queue.Queue[Rollout | BaseException]] = [
      queue.Queue(config.policy_lag) for _ in range(config.actor_threads)
    ]
    self._copy = jax.jit(lambda x: jax.tree.map(jnp.copy, x))
    self._drop = jax.jit(ring.drop, donate_argnums=0)
    self._publish(state)
    params, num_steps = self._parameters.wait(self._start)
    # Once, and not in each thread.
    self._functions, rollout = host_actor.compiled(
      parts.functions, params, num_steps)
    learns = iteration.LearnerParts(config, parts.learn, None, None)
    self._learn = jax.jit(
      functools.partial(_learn, learns), donate_argnums=0
    ).lower(state, (rollout,) * config.actor_threads).compile()

  @contextlib.contextmanager
  def running(self) -> Iterator[Step]:
    """Gives the step; ends the threads afterwards, however it went."""
    threads = [
      threading.Thread(
        target=self._play, args=(i,), name=f'actor {i}', daemon=True)
      for i in range(self._config.actor_threads)
    ]
    for thread in threads:
      thread.start()
    # One call of an environment, and closing it, may each take so long.
    longest = len(threads) * (2 * self._config.worker_timeout + 1)
    try:
      yield self._step
    except BaseException:
      longest = _SHORT_END
      raise
    finally:
      self._parameters.stop()
      end = time.monotonic() + longest
      for thread in threads:
        thread.join(max(end - time.monotonic(), 0))

  def _step(
    self, state: TrainState
  ) -> tuple[TrainState, IterationMetrics]:
    """Learns from the next rollout of each thread."""
    rollouts = [self._take(i) for i in range(len(self._queues))]
    num_dropped = np.concatenate([r.num_dropped for r in rollouts])
    if num_dropped.any():
      state = state._replace(replay=self._drop(state.replay, num_dropped))
    state, metrics = self._learn(
      state, tuple((r.chunk, r.stats) for r in rollouts))
    self._iteration += 1
    self._publish(state)
    return state, metrics

  def _publish(self, state: TrainState) -> None:
    # The step donates its argument, and with it these arrays.
    params = learner_state.to_search(state.learner, state.learner.params)
    self._parameters.publish(
      self._iteration, self._copy((params, state.num_steps)),
      keep=self._config.policy_lag)

  def _take(self, index: int) -> Rollout:
    """Returns the next rollout of a thread, or raises what it died of.

    Raises:
      StoppedError: it is not there, and the run is to stop.
    """
    found: Rollout | BaseException | None = None
    while found is None:
      try:
        found = self._queues[index].get(timeout=_LOOK)
      except queue.Empty:
        if self._should_stop():
          raise StoppedError('waiting for a rollout') from None
    if isinstance(found, BaseException):
      raise found
    for error in found.errors:
      self._report(
        f'{error}: its environments were made anew, and the episodes that '
        'broke off are dropped')
    return found

  def _play(self, index: int) -> None:
    """Plays rollouts until it is told to stop; what one thread does."""
    actor = None
    try:
      actor = self._make_actor(index)
      # The third key of the seed; `_init` takes the others.
      key = jax.random.split(jax.random.key(self._config.seed), 3)[2]
      key = jax.random.fold_in(key, index)
      for iteration in itertools.count(self._start):
        lagging = max(iteration + 1 - self._config.policy_lag, self._start)
        params, num_steps = self._parameters.wait(lagging)
        self._queues[index].put(actor.rollout(
          params, num_steps, jax.random.fold_in(key, iteration)))
    except StoppedError:
      pass
    except BaseException as error:  # noqa: B036 - the learner will raise it.
      self._queues[index].put(error)
    finally:
      if actor is not None:
        actor.close()

  def _make_actor(self, index: int) -> HostActor:
    config = self._config
    num_envs = config.num_envs // config.actor_threads
    # A run that is resumed must not repeat the episodes it has seen.
    seed = np.random.SeedSequence([config.seed, index, self._start])

    def make() -> HostEnvironment:
      env = self._make_env(config, num_envs=num_envs)
      assert isinstance(env, HostEnvironment)
      return env

    return HostActor(
      self._functions,
      lambda: Worker(
        make, num_envs=num_envs, name=f'actor {index}',
        timeout=config.worker_timeout,
        is_stopped=lambda: self._parameters.is_stopped),
      length=config.rollout_length,
      seed=int(seed.generate_state(1)[0]),
      restarts=config.on_worker_error == 'restart',
      is_stopped=lambda: self._parameters.is_stopped,
    )
