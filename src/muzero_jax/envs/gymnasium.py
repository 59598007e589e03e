"""Any Gymnasium environment, stepped by the host.

One of the environments behind `envs.make`. Gymnasium's vector environments
reset with the step after an episode's last one (`AutoresetMode.NEXT_STEP`), as
the rows of this project do, so that a row is theirs with other names.
"""

import functools
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import (
  AsyncVectorEnv,
  AutoresetMode,
  SyncVectorEnv,
  VectorEnv,
)

from muzero_jax import processes, types
from muzero_jax.envs import base, checks, gymnasium_ids, gymnasium_spaces
from muzero_jax.envs.gymnasium_ids import check as check_env_id
from muzero_jax.envs.gymnasium_ids import names
from muzero_jax.errors import UserError

_VECTORISATIONS = ('sync', 'async', 'own')

__all__ = ['check_env_id', 'make', 'names', 'spec']


class _Asked(NamedTuple):
  """Which environments are made, and how."""

  env_id: str
  vectorisation: str
  time_limit: int
  image_size: int
  render: bool = False


def spec(
  env_id: str,
  *,
  vectorisation: str = 'sync',
  time_limit: int = 0,
  image_size: int = 0,
) -> types.EnvSpec:
  """Returns what `make`'s environments look like, from one that it closes.

  Args and errors are those of `make`.
  """
  return _look(_Asked(env_id, vectorisation, time_limit, image_size))[0]


def make(
  env_id: str,
  num_envs: int,
  *,
  vectorisation: str = 'sync',
  time_limit: int = 0,
  image_size: int = 0,
  seed: int = 0,
  render: bool = False,
) -> types.HostEnvironment:
  """Returns B environments of one id.

  Observations are one array: of a Box as uint8 where it is one and else as
  float32, images as [H, W, C]; of a Discrete space as one-hot vectors; of
  Dicts, Tuples and the rest flattened, as Gymnasium's FlattenObservation does.
  Actions are whole numbers, each combination of several choices one, or
  vectors of a Box with bounds.

  Args:
    env_id: as Gymnasium registers it, or a function or class of a module or
      a file; see `gymnasium_ids`.
    num_envs: B.
    vectorisation: 'sync' steps one after another in the calling thread, 'async'
      each in a process of its own, 'own' takes the vector environment that
      was registered with the id.
    time_limit: steps after which an episode is cut off; 0 for the
      environment's own.
    image_size: pixels per side that images are resized to; 0 for as they are.
    seed: the seed given to `reset` is folded into it.
    render: whether they can be looked at, by `HostEnvironment.render`; 'async'
      then is as 'sync'. Those without an `rgb_array` cannot, and return None.

  Raises:
    MissingPackageError: a package is missing that the environment needs.
    UserError: no such environment, spaces that do not fit, a vector
      environment that resets at another time, or num_envs below 1.
  """
  if num_envs < 1:
    raise UserError(f'num_envs: {num_envs} is not at least 1')
  asked = _Asked(env_id, vectorisation, time_limit, image_size, render)
  host = _Host(asked, num_envs, *_look(asked), seed)
  return types.HostEnvironment(
    host.spec, host.reset, host.step, host.close,
    render=host.render if render else None)


class _Host:
  """A vector environment, and which of its episodes have just ended."""

  def __init__(
    self,
    asked: _Asked,
    num_envs: int,
    spec: types.EnvSpec,
    observations: gymnasium_spaces.Observations,
    seed: int,
  ) -> None:
    self.spec = spec
    self._asked, self._num_envs, self._seed = asked, num_envs, seed
    self._observations = observations
    self._vector: VectorEnv | None = None
    self._is_last = np.zeros(num_envs, bool)
    self._is_broken = False

  def reset(self, seed: int) -> types.TimeStep:
    """Returns the first rows of new episodes."""
    if self._vector is None:
      self._vector = _make_vector(self._asked, self._num_envs)
    entropy = np.random.SeedSequence([self._seed, seed])
    # Environment b gets this + b, which has to stay a seed.
    first_seed = int(entropy.generate_state(1)[0]) >> 2
    observation, _ = self._vector.reset(seed=first_seed)
    zeros = np.zeros(self._num_envs)
    self._is_last = zeros > 0
    return self._row(observation, zeros, zeros > 0, ~self._is_last)

  def step(self, action: Any) -> types.TimeStep:
    """Returns the rows that the actions [B] lead to."""
    assert self._vector is not None, 'reset comes first'
    space: Any = self._vector.single_action_space
    if self.spec.is_continuous:
      # Its bounds are float32's nearest, which may lie outside.
      action = np.clip(
        np.reshape(action, (self._num_envs, *space.shape)), space.low,
        space.high).astype(space.dtype)
    else:
      action = np.asarray(action) + getattr(space, 'start', 0)
    try:
      found = self._vector.step(action)
    except (EOFError, BrokenPipeError, ConnectionResetError):
      if self._asked.vectorisation != 'async':
        raise
      self._is_broken = True
      raise ConnectionError(
        "an environment's process was ended from outside") from None
    observation, reward, terminated, truncated, _ = found
    is_first, self._is_last = self._is_last, terminated | truncated
    return self._row(observation, reward, terminated, is_first)

  def render(self, index: int) -> np.ndarray | None:
    """Returns the picture [H, W, 3] of one environment, None without one."""
    if not isinstance(self._vector, SyncVectorEnv):
      return None
    env = self._vector.envs[index]
    if env.render_mode != 'rgb_array':
      return None
    image: Any = env.render()
    return image if np.ndim(image) == 3 else None

  def close(self) -> None:
    """Closes the environments, if there are any."""
    vector, self._vector = self._vector, None
    if vector is not None and self._is_broken:
      # Its own `close` would wait for the answer of a process that is gone.
      for process in vector.processes:  # type: ignore[attr-defined]
        process.kill()
      vector.closed = True
    elif vector is not None:
      vector.close()

  def _row(
    self,
    observation: Any,
    reward: np.ndarray,
    terminated: np.ndarray,
    is_first: np.ndarray,
  ) -> types.TimeStep:
    return base.host_row(
      self.spec, observation=self._observations(observation), reward=reward,
      terminated=terminated, is_last=self._is_last, is_first=is_first)


def _look(asked: _Asked
          ) -> tuple[types.EnvSpec, gymnasium_spaces.Observations]:
  """Returns what the arrays look like, and what makes observations of them.

  Raises:
    MissingPackageError, UserError: as `make` does.
  """
  check_env_id(asked.env_id)
  if asked.vectorisation not in _VECTORISATIONS:
    raise UserError(
      f'vectorisation = {asked.vectorisation!r} is not one of '
      f'{", ".join(_VECTORISATIONS)}')
  if asked.vectorisation == 'own':
    vector = _make_own(asked, 1)
    try:
      _check_own(asked, vector)
      return _spec(
        asked, vector.single_observation_space, vector.single_action_space,
        vector.spec)
    finally:
      vector.close()
  env = gymnasium_ids.make_one(asked.env_id, asked.time_limit)
  try:
    return _spec(asked, env.observation_space, env.action_space, env.spec)
  finally:
    env.close()


def _make_vector(asked: _Asked, num_envs: int) -> VectorEnv:
  """Returns a vector environment of Gymnasium."""
  if asked.vectorisation == 'own':
    return _make_own(asked, num_envs)
  if asked.render:
    return SyncVectorEnv(
      [functools.partial(
        gymnasium_ids.make_one, asked.env_id, asked.time_limit, render=True)
      ] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
  makers = [_maker(asked)] * num_envs
  mode = AutoresetMode.NEXT_STEP
  with processes.holding_signals():
    if asked.vectorisation == 'sync':
      return SyncVectorEnv(makers, autoreset_mode=mode)
    # A fork would copy the locks that jax's threads hold.
    return AsyncVectorEnv(
      makers, autoreset_mode=mode, context='spawn',
      worker=processes.play_environment)


def _maker(asked: _Asked) -> Any:
  """Returns what makes one environment, in whichever process.

  Gymnasium's own function is used where it suffices, so that a process need not
  load jax. To find that out, one environment of a registered id is made and
  closed; a user's own is not.
  """
  make_fitted = functools.partial(
    gymnasium_ids.make_one, asked.env_id, asked.time_limit)
  if gymnasium_ids.own_maker(asked.env_id) is not None:
    return make_fitted
  fitted = make_fitted()
  try:
    if gymnasium_spaces.is_fitted(fitted):
      return make_fitted
  finally:
    fitted.close()
  return functools.partial(
    gymnasium.make, asked.env_id, max_episode_steps=asked.time_limit or None)


def _make_own(asked: _Asked, num_envs: int) -> VectorEnv:
  """Returns the vector environment that was registered with an id.

  Raises:
    UserError: there is none.
  """
  if asked.time_limit:
    raise UserError(
      f"time_limit = {asked.time_limit} is not for vectorisation = 'own', "
      "whose episodes end by themselves; take 'sync' or 'async'")
  try:
    return gymnasium.make_vec(
      asked.env_id, num_envs, vectorization_mode='vector_entry_point')
  except gymnasium.error.Error as error:
    raise UserError(
      f"vectorisation = 'own': {asked.env_id} cannot be made so: {error}"
    ) from None


def _check_own(asked: _Asked, env: VectorEnv) -> None:
  """Raises UserError where a vector environment resets at another time."""
  mode = env.metadata.get('autoreset_mode')
  if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.NEXT_STEP.value):
    raise UserError(
      f'env_id = {asked.env_id!r}: its own vector environment has '
      f'autoreset_mode {mode}, but only {AutoresetMode.NEXT_STEP} is allowed; '
      "take vectorisation = 'sync' or 'async'")


def _spec(
  asked: _Asked, seen: Any, done: Any, registered: Any
) -> tuple[types.EnvSpec, gymnasium_spaces.Observations]:
  """Returns what the arrays look like.

  Args:
    asked: for messages.
    seen: the space of observations of one environment.
    done: that of actions.
    registered: Gymnasium's spec, if there is one.

  Raises:
    UserError: as `make` does.
  """
  if not isinstance(seen, (gymnasium.spaces.Box, gymnasium.spaces.Discrete)):
    raise UserError(
      f'env_id = {asked.env_id!r} has observations {seen}, which its own '
      "vector environment does not flatten; take vectorisation = 'sync' or "
      "'async'")
  observations = gymnasium_spaces.Observations(
    asked.env_id, seen, asked.image_size)
  limit = registered.max_episode_steps if registered else None
  spec = types.EnvSpec(
    name=f'gymnasium/{gymnasium_ids.without_folder(asked.env_id)}',
    observation_shape=observations.shape,
    observation_dtype=observations.dtype,
    **_actions(asked.env_id, done),
    max_episode_steps=asked.time_limit or limit or 0,
  )
  checks.check_bounds(spec)
  return spec, observations


def _actions(env_id: str, space: Any) -> dict[str, Any]:
  """Returns the fields of a spec that say what actions are.

  Raises:
    UserError: they are neither of a Discrete space nor of a Box with bounds.
  """
  if isinstance(space, gymnasium.spaces.Discrete):
    return dict(num_actions=int(space.n))
  if not gymnasium_spaces.is_continuous(space) or not space.is_bounded():
    raise UserError(
      f'env_id = {env_id!r} has actions {space}: only those of a Discrete '
      'space, or of a Box of floats with bounds, can be searched')
  low, high = (
    tuple(float(x) for x in np.ravel(bound))
    for bound in (space.low, space.high))
  if not low:
    raise UserError(
      f'env_id = {env_id!r} has actions {space}: there is nothing to choose; '
      'at least one number is needed')
  return dict(num_actions=len(low), action_low=low, action_high=high)
