"""A trained agent: load a run, a file or a shipped one; act on observations.

For users, and for `evaluation.report`, which plays through the same functions.
"""

import copy
import functools
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import envs, paths
from muzero_jax.config import Config
from muzero_jax.drivers import build, by_environment
from muzero_jax.drivers.build import Extensions
from muzero_jax.errors import UserError
from muzero_jax.replay import frame_stack
from muzero_jax.runs import (
  agent_file,
  agent_source,
  best,
  checkpoint,
  leaves,
  policy_checkpoints,
  run_dir,
)
from muzero_jax.runs.checkpoint import Checks
from muzero_jax.search import Search
from muzero_jax.types import (
  AnyEnvironment,
  Array,
  EnvSpec,
  History,
  Params,
  ScaledParams,
  SearchOutput,
  network_params,
)

# (config, *, num_envs, evaluation, seed) -> environments, as `envs.make`.
MakeEnv = Callable[..., AnyEnvironment]


class AgentState(NamedTuple):
  """What an agent remembers of B running episodes."""

  history: History
  action: Array  # [B] i32, or [B, A] f32, its latest action.


def init_state(spec: EnvSpec, num_envs: int, stacked_frames: int) -> AgentState:
  """Returns the memory of an agent that has seen nothing yet."""
  return AgentState(
    history=frame_stack.init(spec, num_envs, stacked_frames),
    action=frame_stack.no_action(spec, num_envs),
  )


def act(
  search: Search,
  num_actions: int,
  stack_actions: bool,
  params: Params,
  state: AgentState,
  rng_key: Array,
  observation: Array,
  legal_actions: Array,
  is_first: Array,
) -> tuple[AgentState, SearchOutput]:
  """Returns the agent after one more frame, and what its search found.

  Args:
    search: noise-free for evaluation.
    num_actions: A.
    stack_actions: whether observations hold the actions too.
    params: of the search's model.
    state: of B episodes.
    rng_key: for the search.
    observation: [B, ...] single frames.
    legal_actions: [B, A] bool.
    is_first: [B] bool, True where an episode starts.
  """
  seen = frame_stack.push(state.history, observation, state.action, is_first)
  found = search(
    params,
    rng_key,
    frame_stack.observe(seen, num_actions, stack_actions),
    legal_actions,
    0.0,
  )
  return AgentState(seen, found.action), found


class Agent:
  """A trained agent with its memory of the running episodes.

  Attributes:
    config: of its run.
    spec: of its environment.
    params: of its network.
    step: environment steps it was trained for; updates, if offline.
    make_env: builds its environments, as `envs.make` does.
    system: model and transforms.
    act_fn: pure, to be compiled into a loop: params, state, rng_key,
      observation, legal_actions, is_first -> state, `SearchOutput`.
    jitted_act: the same, compiled once for this agent and all `with_params`.
  """

  def __init__(
    self,
    config: Config,
    spec: EnvSpec,
    params: Params,
    step: int = 0,
    *,
    make_env: MakeEnv = envs.make,
    extensions: Extensions = build.NONE,
  ) -> None:
    self.config = config = by_environment.resolve(config, spec)
    self.spec = spec
    self.params = params
    self.step = step
    self.make_env = make_env
    self.system = build.make_system(config, spec, extensions)
    search = build.make_search(config, spec, self.system, 'evaluation')
    self.act_fn = functools.partial(
      act, search, spec.num_actions, config.stack_actions
    )
    self.jitted_act = jax.jit(self.act_fn)
    self.reset()

  def with_params(self, params: Params, step: int) -> 'Agent':
    """Returns an agent with other parameters, compiled together with this."""
    other = copy.copy(self)
    other.params, other.step = params, step
    other.reset()
    return other

  def reset(self, seed: int = 0) -> None:
    """Forgets all episodes; the next observations open new ones."""
    self._state: AgentState | None = None
    self._rng_key = jax.random.key(seed)

  def init_state(self, num_envs: int) -> AgentState:
    """Returns the memory of B episodes for `act_fn`."""
    return init_state(self.spec, num_envs, self.config.stacked_frames)

  def act(
    self,
    observation: Any,
    legal_actions: Any = None,
    is_first: Any = None,
  ) -> np.ndarray:
    """Returns greedy actions for the next frame of each episode.

    Args:
      observation: [B, ...] single frames, or [...] of one episode. The agent
        stacks frames itself.
      legal_actions: [B, A] or [A] bool; None if all are.
      is_first: [B] or scalar bool, True where the frame opens an episode;
        None if only the first call (after `reset`) does.

    Returns:
      [B] int32 actions, or a scalar for one episode; [B, A] or [A] floats
      where actions are continuous, in the environment's units.

    Raises:
      UserError: if a shape or a value does not fit the environment's.
    """
    observation = _observation(observation, self.spec)
    single = observation.shape == tuple(self.spec.observation_shape)
    if single:
      observation = observation[None]
    if observation.shape[1:] != tuple(self.spec.observation_shape):
      raise UserError(
        f'observation has shape {observation.shape}: must be '
        f'{self.spec.observation_shape} or that behind a batch axis'
      )
    num_envs = observation.shape[0]
    if not num_envs:
      raise UserError('observation holds no episode: at least 1 is needed')
    legal = _truths(
      'legal_actions', legal_actions, (num_envs, self.spec.num_actions), True
    )
    if not legal.any(axis=-1).all():
      raise UserError('legal_actions leaves an episode no action')
    opens = _truths('is_first', is_first, (num_envs,), self._state is None)
    if self._state is None:
      self._state = self.init_state(num_envs)
    elif self._state.action.shape[0] != num_envs:
      raise UserError(
        f'observation holds {num_envs} episodes: the agent is playing '
        f'{self._state.action.shape[0]}; call reset() first'
      )
    self._rng_key, rng_key = jax.random.split(self._rng_key)
    self._state, found = self.jitted_act(
      self.params, self._state, rng_key, observation, legal, opens
    )
    action = np.asarray(found.action)
    return action[0] if single else action


def _numbers(name: str, value: Any) -> np.ndarray:
  """Returns what a user gave as an array of real numbers or truth values.

  Raises:
    UserError: it is none.
  """
  try:
    given = np.asarray(value)
  except (TypeError, ValueError, OverflowError):
    # NumPy's own words are about its inner parts.
    raise UserError(
      f'{name} is no array: its rows must be of one length, and hold numbers'
    ) from None
  if given.dtype == object:
    raise UserError(
      f'{name} is a {type(value).__name__} of other things: must be one array '
      'of numbers; gymnasium.spaces.flatten(space, observation) makes one of '
      'a Dict or Tuple space')
  # Extended types such as bfloat16 count as void to NumPy.
  is_number = given.dtype.kind in 'biuf' or (
    given.dtype.kind == 'V' and given.dtype.names is None
    and jax.dtypes.issubdtype(given.dtype, np.floating))
  if not is_number:
    raise UserError(
      f'{name} holds {given.dtype}: must be real numbers or truth values')
  return given


def _truths(
  name: str, value: Any, shape: tuple[int, ...], default: bool
) -> np.ndarray:
  """Returns a mask of a shape, of one episode with or without its axis.

  Raises:
    UserError: another shape, or what is neither true nor false.
  """
  if value is None:
    return np.full(shape, default)
  given = _numbers(name, value)
  if given.shape != shape and (1, *given.shape) != shape:
    raise UserError(f'{name} has shape {given.shape}: must be {shape}')
  if not ((given == 0) | (given == 1)).all():
    raise UserError(f'{name} holds what is neither true (1) nor false (0)')
  return given.astype(bool).reshape(shape)


def _observation(observation: Any, spec: EnvSpec) -> np.ndarray:
  """Returns an observation in the environment's dtype.

  Raises:
    UserError: if that would change it, or it is not finite.
  """
  given = _numbers('observation', observation)
  dtype = np.dtype(spec.observation_dtype)
  if np.issubdtype(dtype, np.floating):
    with np.errstate(over='ignore'):
      converted = given.astype(dtype)
    if not np.isfinite(converted).all():
      raise UserError(
        f'observation holds numbers that are not finite, as {dtype}')
    return converted
  # Frames scaled to [0, 1] would become black without a word.
  with np.errstate(invalid='ignore'):
    converted = given.astype(dtype)
  if given.dtype != dtype and not np.array_equal(converted, given):
    raise UserError(
      f'observation of {given.dtype} holds numbers that are no {dtype}, which '
      f'is what {spec.name} observes'
    )
  return converted


def load(
  workdir: str | os.PathLike,
  *,
  index: int = 0,
  snapshot: int | str | None = None,
  make_env: MakeEnv = envs.make,
  make_network: Callable[..., Any] | None = None,
  make_search: Callable[..., Any] | None = None,
  allow_imports: str | Iterable[str] = (),
) -> Agent:
  """Returns a trained agent: of a run, of a file, or one of `shipped`.

  Args:
    workdir: the run directory, whose newest sound checkpoint is taken; a file
      that the command export wrote; or a name such as 'cartpole'. What is
      there in the file system is meant before a name.
    index: which of `num_seeds` agents of a run.
    snapshot: the step of one of the run's snapshots, to load that instead;
      'best' for the best of the evaluations during training.
    make_env, make_network, make_search: as they were given to `train.run`.
    allow_imports: modules that the stored env_id may import, for example
      ('my_envs',) of "my_envs:Foo-v0". A run directory may come from anywhere,
      and what it imports is run.

  Raises:
    UserError: if the directory holds no run, no checkpoint, no such snapshot
      or no such agent, another configuration than it was trained with, or an
      env_id that names a module which is not allowed; if the file is none that
      can be trusted; or if there is nothing of that name.
  """
  extensions = Extensions(make_network, make_search)
  if path := agent_source.find_file(workdir):
    if index or snapshot is not None:
      raise UserError(
        f'workdir {workdir} is a single agent: it has no index = {index}'
        if index else
        f'workdir {workdir} is a single agent: it has no snapshots')
    return _of_file(path, make_env, extensions, allow_imports)
  workdir = paths.expand(workdir, 'workdir')
  config = run_dir.read_config(workdir, allow_imports=allow_imports)
  if not 0 <= index < config.num_seeds:
    raise UserError(
      f'index={index}: the run has {config.num_seeds} agents, from 0 on'
    )
  # Told before anything is built: some environments take half a minute.
  nothing = f'workdir {workdir} has no checkpoint yet'
  if snapshot is None and not checkpoint.steps(workdir):
    raise UserError(nothing)
  spec = envs.spec_of(config, make_env)
  system = build.make_system(config, spec, extensions)
  abstract = build.abstract_params(config, spec, system)
  if config.num_seeds > 1:
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((config.num_seeds, *x.shape), x.dtype),
      abstract,
    )
  checks = Checks(run_dir.check_trained_with(workdir, config, spec.name))
  if snapshot is None:
    part = 'average_params' if config.ema_decay else 'params'
    found = checkpoint.restore_subtree(
      workdir, network_params(abstract), f'learner/{part}', checks=checks)
    if found is None:
      raise UserError(nothing)
    step, params = found
    if isinstance(abstract, ScaledParams):
      error = checkpoint.restore_subtree(
        workdir, abstract.search_error, 'learner/search_error', checks=checks)
      assert error is not None  # Or the first had not been found.
      params = ScaledParams(params, error[1])
  elif snapshot == best.NAME:
    step, params = best.restore(workdir, abstract, checks=checks)
  else:
    step = _step_of(snapshot)
    params = policy_checkpoints.restore(
      workdir, step, abstract, checks=checks)
  if config.num_seeds > 1:
    params = jax.tree.map(lambda x: x[index], params)
  return Agent(
    config, spec, params, step, make_env=make_env, extensions=extensions)


def _step_of(snapshot: Any) -> int:
  """Return the step of a snapshot.

  Raises:
    UserError: it is no whole number.
  """
  is_text = isinstance(snapshot, str)
  is_step = snapshot.isascii() and snapshot.isdecimal() if is_text else (
    isinstance(snapshot, (int, np.integer)) and not isinstance(snapshot, bool))
  if not is_step:
    raise UserError(
      f'snapshot = {snapshot!r}: must be a step, or {best.NAME!r}')
  return int(snapshot)


def shipped() -> tuple[str, ...]:
  """Returns the names of the agents that come with this package."""
  return agent_source.shipped()


def _of_file(
  path: str,
  make_env: MakeEnv,
  extensions: Extensions,
  allow_imports: str | Iterable[str],
) -> Agent:
  """Returns the agent of a file; the arguments are those of `load`."""
  found = agent_file.read(path, allow_imports=allow_imports)
  spec = envs.spec_of(found.config, make_env)
  agent_file.check_environment(path, found, spec)
  abstract = build.abstract_params(
    found.config, spec, build.make_system(found.config, spec, extensions))
  arrays = agent_file.read_arrays(path, found, leaves.flatten(abstract))
  params = jax.tree.unflatten(
    jax.tree.structure(abstract),
    [jnp.asarray(arrays[name]) for name in leaves.flatten(abstract)])
  return Agent(
    found.config, spec, params, found.step, make_env=make_env,
    extensions=extensions)
