"""Any Gymnasium environment, stepped by the host.

One of the environments behind `envs.make`. Gymnasium's vector environments
reset with the step after an episode's last one (`AutoresetMode.NEXT_STEP`), as
the rows of this project do, so that a row is theirs with other names.
"""

import difflib
import importlib
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from muzero_jax import processes, types
from muzero_jax.config import imports
from muzero_jax.envs import base
from muzero_jax.errors import MissingPackageError, UserError

_VECTORISATIONS = ('sync', 'async', 'own')
# How many a message lists of the environments that there are.
_MOST_NAMED = 3


def check_env_id(env_id: str) -> str:
  """Returns `env_id`, if it is registered; "package:Name-v0" imports a package.

  Whoever calls this has allowed that: `config.from_json` refuses what comes
  from a file.

  Raises:
    MissingPackageError: the package cannot be imported.
    UserError: no such environment or version; names the nearest.
  """
  package, colon, name = env_id.rpartition(':')
  if colon:
    _import(env_id, package)
  try:
    gymnasium.spec(name)
  except gymnasium.error.Error as error:
    near = difflib.get_close_matches(
      name, list(gymnasium.registry), n=_MOST_NAMED, cutoff=0.5)
    hint = f'; nearest: {", ".join(near)}' if near else ''
    raise UserError(
      f'env_id: no gymnasium environment {env_id!r} ({error}){hint}'
    ) from None
  return env_id


def _import(env_id: str, package: str) -> None:
  """Imports the module in front of an id.

  Raises:
    MissingPackageError: it cannot be imported.
    UserError: it is no name of a module.
  """
  if not imports.is_name(package):
    raise UserError(
      f'env_id = {env_id!r}: {package!r} is no name of a module, such as '
      'package.module')
  try:
    importlib.import_module(package)
  except (Exception, SystemExit) as error:
    # Whatever it does while it is imported, a script that ends included.
    what = '' if isinstance(error, ImportError) else f'{type(error).__name__}: '
    raise MissingPackageError(
      f'env_id {env_id!r}: {package!r} cannot be imported: {what}{error}'
    ) from error


def names() -> tuple[str, ...]:
  """Returns the ids of all registered environments."""
  return tuple(sorted(gymnasium.registry))


def spec(env_id: str, *, vectorisation: str = 'sync') -> types.EnvSpec:
  """Returns what `make`'s environments look like, from one that it closes.

  Args and errors are those of `make`.
  """
  check_env_id(env_id)
  if vectorisation not in _VECTORISATIONS:
    raise UserError(
      f'vectorisation = {vectorisation!r} is not one of '
      f'{", ".join(_VECTORISATIONS)}')
  # Processes are for `reset` to start.
  mode = 'sync' if vectorisation == 'async' else vectorisation
  try:
    one = _make_vector(env_id, 1, mode)
  except gymnasium.error.DependencyNotInstalled as error:
    raise MissingPackageError(
      f'env_id = {env_id!r} needs a package that is missing: {error} '
      '(pip install "muzero_jax[gymnasium]" brings Box2D and pygame)'
    ) from error
  except gymnasium.error.Error as error:
    raise UserError(
      f'vectorisation = {vectorisation!r}: {env_id} cannot be made so: {error}'
    ) from None
  try:
    return _spec(env_id, one)
  finally:
    one.close()


def make(
  env_id: str,
  num_envs: int,
  *,
  vectorisation: str = 'sync',
  seed: int = 0,
) -> types.HostEnvironment:
  """Returns B environments of one id.

  Observations are those of a Box, as uint8 where it is one and else as
  float32, or of a Discrete space, as one-hot float32 vectors. Actions are of a
  Discrete space, or of a Box with bounds, flattened.

  Args:
    env_id: as Gymnasium registers it, for example "LunarLander-v3".
    num_envs: B.
    vectorisation: 'sync' steps one after another in the calling thread, 'async'
      each in a process of its own, 'own' takes the vector environment that
      was registered with the id.
    seed: the seed given to `reset` is folded into it.

  Raises:
    MissingPackageError: a package is missing that the environment needs.
    UserError: no such environment, spaces that do not fit, a vector
      environment that resets at another time, or num_envs below 1.
  """
  if num_envs < 1:
    raise UserError(f'num_envs: {num_envs} is not at least 1')
  found = spec(env_id, vectorisation=vectorisation)
  host = _Host(env_id, num_envs, vectorisation, found, seed)
  return types.HostEnvironment(found, host.reset, host.step, host.close)


class _Host:
  """A vector environment, and which of its episodes have just ended."""

  def __init__(
    self, env_id: str, num_envs: int, mode: str, spec: types.EnvSpec, seed: int
  ) -> None:
    self._env_id, self._num_envs, self._mode = env_id, num_envs, mode
    self._spec, self._seed = spec, seed
    self._vector: VectorEnv | None = None
    self._is_last = np.zeros(num_envs, bool)
    self._is_broken = False

  def reset(self, seed: int) -> types.TimeStep:
    """Returns the first rows of new episodes."""
    if self._vector is None:
      self._vector = _make_vector(self._env_id, self._num_envs, self._mode)
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
    if self._spec.is_continuous:
      # Its bounds are float32's nearest, which may lie outside.
      action = np.clip(
        np.reshape(action, (self._num_envs, *space.shape)), space.low,
        space.high).astype(space.dtype)
    else:
      action = np.asarray(action) + getattr(space, 'start', 0)
    try:
      found = self._vector.step(action)
    except (EOFError, BrokenPipeError, ConnectionResetError):
      if self._mode != 'async':
        raise
      self._is_broken = True
      raise ConnectionError(
        "an environment's process was ended from outside") from None
    observation, reward, terminated, truncated, _ = found
    is_first, self._is_last = self._is_last, terminated | truncated
    return self._row(observation, reward, terminated, is_first)

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
    assert self._vector is not None
    spec, space = self._spec, self._vector.single_observation_space
    if isinstance(space, gymnasium.spaces.Discrete):
      observation = np.eye(int(space.n), dtype=np.float32)[
        np.asarray(observation) - space.start]
    # A uint8 image never comes of a float one by cutting digits off.
    frame = np.array(observation).astype(
      spec.observation_dtype, casting='same_kind')
    if space.shape == () and frame.ndim == 1:
      frame = frame[:, None]
    return base.host_row(
      spec, observation=frame, reward=reward, terminated=terminated,
      is_last=self._is_last, is_first=is_first)


def _make_vector(env_id: str, num_envs: int, mode: str) -> VectorEnv:
  """Returns a vector environment of Gymnasium."""
  if mode == 'own':
    return gymnasium.make_vec(
      env_id, num_envs, vectorization_mode='vector_entry_point')
  kwargs: dict[str, Any] = dict(autoreset_mode=AutoresetMode.NEXT_STEP)
  if mode == 'async':
    # A fork would copy the locks that jax's threads hold.
    kwargs.update(context='spawn', worker=processes.play_environment)
  with processes.holding_signals():
    return gymnasium.make_vec(
      env_id, num_envs, vectorization_mode=mode, vector_kwargs=kwargs)


def _spec(env_id: str, env: VectorEnv) -> types.EnvSpec:
  """Returns what the arrays look like.

  Raises:
    UserError: as `make` does.
  """
  space = env.single_observation_space
  actions = _actions(env_id, env.single_action_space)
  shape: tuple[int, ...]
  if isinstance(space, gymnasium.spaces.Discrete):
    shape = (int(space.n),)
  elif isinstance(space, gymnasium.spaces.Box):
    shape = space.shape or (1,)
  else:
    raise UserError(
      f'env_id = {env_id!r} has observations {space}: only those of a Box or '
      'a Discrete space can be learnt from; register the environment behind '
      'a wrapper such as gymnasium.wrappers.FlattenObservation')
  mode = env.metadata.get('autoreset_mode')
  if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.NEXT_STEP.value):
    raise UserError(
      f'env_id = {env_id!r}: its own vector environment has autoreset_mode '
      f'{mode}, but only {AutoresetMode.NEXT_STEP} is allowed; take '
      "vectorisation = 'sync' or 'async'")
  registered = env.spec
  limit = registered.max_episode_steps if registered else None
  return types.EnvSpec(
    name=f'gymnasium/{env_id}',
    observation_shape=tuple(int(n) for n in shape),
    observation_dtype=np.dtype(
      np.uint8 if space.dtype == np.uint8 else np.float32),
    **actions,
    max_episode_steps=limit or 0,
  )


def _actions(env_id: str, space: Any) -> dict[str, Any]:
  """Returns the fields of a spec that say what actions are.

  Raises:
    UserError: they are neither of a Discrete space nor of a Box with bounds.
  """
  if isinstance(space, gymnasium.spaces.Discrete):
    return dict(num_actions=int(space.n))
  is_box = isinstance(space, gymnasium.spaces.Box)
  if not is_box or not np.issubdtype(space.dtype, np.floating) or not (
    space.is_bounded()
  ):
    raise UserError(
      f'env_id = {env_id!r} has actions {space}: only those of a Discrete '
      'space, or of a Box of floats with bounds, can be searched')
  low, high = (
    tuple(float(x) for x in np.ravel(bound))
    for bound in (space.low, space.high))
  return dict(num_actions=len(low), action_low=low, action_high=high)
