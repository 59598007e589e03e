"""Acting in a host environment: one compiled function for each row.

`actor.rollout` with the environment's step taken out: the search runs on the
device, the step on the host, and the rows are gathered on the device.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.acting import actor, lasting_noise
from muzero_jax.acting.actor import ActorState, RolloutStats
from muzero_jax.acting.host_worker import Worker, WorkerError
from muzero_jax.config import settings as settings_lib
from muzero_jax.errors import StoppedError
from muzero_jax.replay import frame_stack, ring
from muzero_jax.search import Search
from muzero_jax.types import (
  Array,
  EnvSpec,
  Params,
  SearchOutput,
  TimeStep,
  Trajectory,
)
from muzero_jax.wide_counts import Count


class Carry(NamedTuple):
  """What acting carries along a rollout, on the device."""

  actor: ActorState  # Of B environments; its `env_state` is None.
  chunk: Trajectory  # [T, B, ...] rows; zeros where none has been yet.
  stats: RolloutStats  # Sums so far.


class Functions(NamedTuple):
  """Compiled functions of acting, for any number of threads."""

  init: Callable[[], tuple[ActorState, Array]]  # () -> actors, actions [B].
  empty: Callable[[], tuple[Trajectory, RolloutStats]]
  # params, num_steps, rng_key, t, carry, action [B], row [B] -> carry, action.
  act: Any
  # carry, t -> carry, rows [B] before the rollout that are to be dropped.
  drop: Callable[[Carry, Any], tuple[Carry, Array]]


class Rollout(NamedTuple):
  """T rows of B environments, as the learner gets them."""

  chunk: Trajectory  # [T, B, ...]
  stats: RolloutStats
  num_dropped: np.ndarray  # [B] i32, rows before these, to be dropped too.
  errors: tuple[str, ...]  # For which environments were made anew.


def make_functions(
  search: Search,
  spec: EnvSpec,
  settings: settings_lib.Acting,
  frames: settings_lib.FrameStack,
  *,
  num_envs: int,
  temperature: Callable[[Count], Array | float],
  num_sampled: int = 0,
) -> Functions:
  """Make the compiled functions.

  Args:
    search: chooses the actions.
    spec: of the environments.
    settings: of acting; `rollout_length` is T.
    frames: what the network sees of the past.
    num_envs: B, of one thread.
    temperature: of the action's choice, by the environment steps so far.
    num_sampled: C of Sampled MuZero, or 0.
  """

  choose = functools.partial(
    actor.choose, search, temperature_moves=settings.temperature_moves,
    stack_actions=frames.stack_actions)
  act = functools.partial(_act, choose, temperature, settings)
  return Functions(
    init=jax.jit(functools.partial(
      _init, spec, num_envs, frames.stacked_frames)),
    empty=jax.jit(functools.partial(
      _empty, spec, num_envs, settings.rollout_length, num_sampled)),
    act=jax.jit(act, donate_argnums=4),
    drop=jax.jit(_drop, donate_argnums=0),
  )


def compiled(
  functions: Functions, params: Params, num_steps: Count
) -> tuple[Functions, tuple[Trajectory, RolloutStats]]:
  """Returns the functions with the slow one compiled, and what a rollout is.

  Args:
    functions: of `make_functions`.
    params: of the search's model.
    num_steps: []

  Returns:
    The functions, and the shapes of a rollout's rows and sums.
  """
  (state, action), part = jax.eval_shape(
    lambda: (functions.init(), functions.empty()))
  act = functions.act.lower(
    params, num_steps, jax.random.key(0), np.int32(0), Carry(state, *part),
    action, state.timestep)
  return functions._replace(act=act.compile()), part


def _init(
  spec: EnvSpec, num_envs: int, stacked_frames: int
) -> tuple[ActorState, Array]:
  """Returns actors who have seen nothing, and the actions they did not take.

  The row that comes first opens its episode, and all this is forgotten.
  """
  zero = jax.tree.map(lambda x: x[0], ring.init(spec, num_envs, 1).rows)
  names = TimeStep._fields[1:]
  return ActorState(
    env_state=None,
    timestep=TimeStep(zero.frame, *(getattr(zero, name) for name in names)),
    history=frame_stack.init(spec, num_envs, stacked_frames),
    episode_return=jnp.zeros(num_envs, jnp.float32),
    episode_length=jnp.zeros(num_envs, jnp.int32),
  ), frame_stack.no_action(spec, num_envs)


def _empty(
  spec: EnvSpec, num_envs: int, length: int, num_sampled: int
) -> tuple[Trajectory, RolloutStats]:
  """Returns a rollout without rows."""
  whole, real = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32)
  rows = ring.init(spec, num_envs, length, num_sampled).rows
  rows = rows._replace(action_value=jnp.zeros_like(rows.value))
  return rows, RolloutStats(
    num_steps=whole,
    num_episodes=whole,
    return_sum=real,
    length_sum=whole,
    policy_entropy_sum=real,
    value_sum=real,
    network_value_gap=real,
    num_bad=whole,
  )


def _act(
  choose: Callable[..., SearchOutput],
  temperature: Callable[[Count], Array | float],
  settings: settings_lib.Acting,
  params: Params,
  num_steps: Count,
  rng_key: Array,
  t: Array,
  carry: Carry,
  action: Array,
  row: TimeStep,
) -> tuple[Carry, Array]:
  """Returns the rollout with row t, and the actions that were chosen there.

  Args:
    choose: `actor.choose`, with its search.
    temperature: by environment steps.
    settings: of acting.
    params: of the search's model.
    num_steps: [] environment steps when the parameters were made.
    rng_key: of the whole rollout.
    t: [] i32, rows so far.
    carry: the rollout so far.
    action: [B] that led to the row.
    row: [B] the row.
  """
  state = actor.advance(carry.actor, None, row, action)
  search_key = lasting_noise.search_key(
    functools.partial(jax.random.fold_in, rng_key), t, settings.noise_steps)
  found = choose(
    params, state, search_key, temperature=temperature(num_steps))
  stored, stats = actor.record(state, found, reward_clip=settings.reward_clip)
  return Carry(
    actor=state,
    chunk=jax.tree.map(lambda x, new: x.at[t].set(new), carry.chunk, stored),
    stats=jax.tree.map(jnp.add, carry.stats, stats),
  ), found.action


def _drop(carry: Carry, t: Array) -> tuple[Carry, Array]:
  """Returns the rollout without the episodes that broke off after row t.

  Their rows of this rollout are marked as last ones, which are never trained
  and hide what follows.

  Args:
    carry: a rollout of t + 1 rows.
    t: [] i32

  Returns:
    The rollout, and how many rows [B] of these episodes lie before it.
  """
  state = carry.actor
  # An episode that was over anyway is whole.
  num_rows = jnp.where(state.timestep.is_last, 0, state.episode_length + 1)
  index = jnp.arange(carry.chunk.is_last.shape[0])[:, None]
  is_dropped = (index <= t) & (index > t - num_rows)
  chunk = carry.chunk._replace(is_last=carry.chunk.is_last | is_dropped)
  return carry._replace(chunk=chunk), jnp.maximum(num_rows - (t + 1), 0)


class HostActor:
  """Plays B host environments, one rollout after another; for one thread."""

  def __init__(
    self,
    functions: Functions,
    make_worker: Callable[[], Worker],
    *,
    length: int,
    seed: int,
    restarts: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
  ) -> None:
    """Makes and resets the environments.

    Args:
      functions: of `make_functions`.
      make_worker: the environments, each time it is called anew.
      length: T.
      seed: of the environments.
      restarts: whether environments that fail are made anew. Those that fail
        before their first step end the run all the same.
      is_stopped: asked before each row.

    Raises:
      WorkerError: the environments cannot be made or reset.
    """
    self._functions, self._make_worker = functions, make_worker
    self._length, self._seed = length, seed
    self._restarts, self._is_stopped = restarts, is_stopped
    self._num_started = 0
    self._row = self._start()
    self._actor, self._action = functions.init()

  def rollout(
    self, params: Params, num_steps: Count, rng_key: Array
  ) -> Rollout:
    """Returns the next T rows of each environment.

    Args:
      params: of the search's model.
      num_steps: [] environment steps when they were made.
      rng_key: for the searches.

    Raises:
      StoppedError: `is_stopped` says so.
      WorkerError: the environments failed, and are not to be made anew.
    """
    carry = Carry(self._actor, *self._functions.empty())
    num_dropped = np.zeros(self._action.shape, np.int32)
    errors = []
    for t in range(self._length):
      if self._is_stopped():
        raise StoppedError
      carry, self._action = self._functions.act(
        params, num_steps, rng_key, np.int32(t), carry, self._action,
        self._row)
      try:
        self._row = self._worker.step(np.array(self._action))
        self._has_stepped = True
      except WorkerError as error:
        if not self._restarts or not self._has_stepped:
          raise
        errors.append(str(error))
        carry, before = self._functions.drop(carry, t)
        num_dropped += np.asarray(before)
        self._worker.close()
        self._row = self._start()
    self._actor = carry.actor
    return Rollout(carry.chunk, carry.stats, num_dropped, tuple(errors))

  def close(self) -> None:
    """Closes the environments."""
    self._worker.close()

  def _start(self) -> TimeStep:
    """Returns the first rows of new environments, not played before."""
    self._worker = self._make_worker()
    entropy = np.random.SeedSequence([self._seed, self._num_started])
    self._num_started += 1
    self._has_stepped = False
    try:
      return self._worker.reset(int(entropy.generate_state(1)[0]) >> 1)
    except (WorkerError, StoppedError):
      self._worker.close()
      raise
