"""Environments of B, built from the functions of a single one.

First in the data flow: everything downstream sees only `types.Environment`.
A JAX environment is a few pure functions of ONE environment; `make_environment`
adds the batch, the reset after the last row and the time limit. The checks of
`checks` have their names here too: whoever writes an environment wants both.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import types
from muzero_jax.envs import shapes
from muzero_jax.envs.checks import check_bounds, check_environment, check_rows
from muzero_jax.errors import UserError
from muzero_jax.types import Array

__all__ = [
  'BatchState',
  'Transition',
  'check_bounds',
  'check_environment',
  'check_rows',
  'host_row',
  'make_environment',
  'with_time_limit',
]


class Transition(NamedTuple):
  """What one step of ONE environment leads to."""

  state: Any
  reward: Array  # [] of this transition, to the player who moved.
  terminated: Array  # [] bool, nothing follows: the value is 0.
  truncated: Array | bool = False  # [] bool, cut off: the value is not 0.


class BatchState(NamedTuple):
  """State of B environments."""

  state: Any  # [B, ...] of the single environments.
  num_steps: Array  # [B] i32, steps since the episode's first row.
  is_last: Array  # [B] bool


class Functions(NamedTuple):
  """The functions of ONE environment; never crosses jit."""

  reset: Callable[[Array], Any]
  step: Callable[[Any, Array, Array], Transition]
  observe: Callable[[Any], Array]
  legal_actions: Callable[[Any], Array] | None
  to_play: Callable[[Any], Array] | None
  reset_is_dear: bool  # True where no step without a first row pays for it.


def make_environment(
  spec: types.EnvSpec,
  num_envs: int,
  *,
  reset: Callable[[Array], Any],
  step: Callable[[Any, Array, Array], Transition],
  observe: Callable[[Any], Array],
  legal_actions: Callable[[Any], Array] | None = None,
  to_play: Callable[[Any], Array] | None = None,
  reset_is_dear: bool = False,
) -> types.Environment:
  """Returns B environments made of pure functions of one environment.

  An episode ends when `step` terminates or truncates it, or after
  `spec.max_episode_steps` steps, which truncates. The step after its last row
  resets: its action is ignored, its reward is 0, its discount 1.

  Args:
    spec: what the arrays look like.
    num_envs: B, at least 1.
    reset: rng_key -> state, a pytree of arrays.
    step: state, action [] i32 (or [A] f32, if `spec` has bounds), rng_key ->
      Transition.
    observe: state -> observation of `spec.observation_shape`.
    legal_actions: state -> [A] bool, or numbers that are 0 where an action is
      illegal; None if every action is always legal.
    to_play: state -> [] i32, the player to move; None with one player.
    reset_is_dear: True runs `reset` only in steps in which at least one of the
      B environments starts anew; False in every step, which is faster where
      `reset` costs little. Rows and states are the same. Under `jax.vmap` the
      condition becomes a selection, and every step resets again.

  Raises:
    UserError: an argument is out of range, or the functions' arrays are not
      those of `spec`.
  """
  if num_envs < 1:
    raise UserError(f'num_envs: {num_envs} is not at least 1')
  if spec.num_players not in (1, 2):
    raise UserError(f'num_players: {spec.num_players} is not 1 or 2')
  if spec.num_players == 1 and not spec.alternates:
    raise UserError('alternates: False needs num_players = 2, not 1')
  if spec.num_players == 2 and to_play is None:
    raise UserError(
      f'{spec.name}: num_players = 2 needs to_play, a function that says whose '
      'move it is')
  check_bounds(spec)
  functions = Functions(
    shapes.in_32_bits(reset),
    shapes.in_32_bits(step),
    shapes.in_32_bits(observe),
    legal_actions and shapes.in_32_bits(legal_actions),
    to_play and shapes.in_32_bits(to_play),
    reset_is_dear)
  environment = types.Environment(
    spec=spec,
    init=functools.partial(_init, functions, spec, num_envs),
    step=functools.partial(_step, functions, spec),
  )
  shapes.check_arrays(environment, num_envs)
  return environment


def with_time_limit(
  environment: types.Environment, limit: int
) -> types.Environment:
  """Returns environments whose episodes are cut off after `limit` steps.

  Args:
    environment: of `make_environment`; its own limit, if shorter, stays.
    limit: steps, at least 1.
  """
  spec = environment.spec
  own = spec.max_episode_steps or limit

  def step(
    state: BatchState, action: Array, rng_key: Array
  ) -> tuple[BatchState, types.TimeStep]:
    state, row = environment.step(state, action, rng_key)
    is_last = state.is_last | (state.num_steps >= limit)
    return state._replace(is_last=is_last), row._replace(
      is_last=is_last, legal_actions=row.legal_actions | is_last[:, None])

  return environment._replace(
    spec=spec._replace(max_episode_steps=min(own, limit)), step=step)


def _init(
  functions: Functions, spec: types.EnvSpec, num_envs: int, rng_key: Array
) -> tuple[BatchState, types.TimeStep]:
  state = _reset(functions, jax.random.split(rng_key, num_envs))
  false = jnp.zeros((num_envs,), bool)
  batch = BatchState(state, jnp.zeros((num_envs,), jnp.int32), false)
  return batch, _row(
    functions, spec, batch, jnp.zeros((num_envs,), jnp.float32), false, ~false
  )


def _step(
  functions: Functions,
  spec: types.EnvSpec,
  batch: BatchState,
  action: Array,
  rng_key: Array,
) -> tuple[BatchState, types.TimeStep]:
  is_first = batch.is_last
  # A row either steps or resets, so one key serves both.
  keys = jax.random.split(rng_key, is_first.shape[0])
  new = jax.vmap(functions.step)(
    batch.state, jnp.asarray(action, spec.action_dtype), keys
  )
  if functions.reset_is_dear:
    # Where nothing starts anew, no row of the other branch is ever taken.
    fresh = jax.lax.cond(
      is_first.any(), functools.partial(_reset, functions),
      lambda keys: batch.state, keys)
  else:
    fresh = _reset(functions, keys)
  state = jax.tree.map(
    functools.partial(_where, is_first),
    fresh,
    new.state,
    batch.state,
  )
  num_steps = jnp.where(is_first, 0, batch.num_steps + 1)
  terminated = jnp.asarray(new.terminated, bool) & ~is_first
  truncated = jnp.asarray(new.truncated, bool) & ~is_first
  if spec.max_episode_steps:
    truncated |= num_steps >= spec.max_episode_steps
  batch = BatchState(state, num_steps, terminated | truncated)
  reward = jnp.where(is_first, 0.0, new.reward).astype(jnp.float32)
  return batch, _row(functions, spec, batch, reward, terminated, is_first)


@shapes.in_32_bits
def _reset(functions: Functions, keys: Array) -> Any:
  """Returns first states, one for each of the keys [B]."""
  return jax.tree.map(_strong, jax.vmap(functions.reset)(keys))


def _row(
  functions: Functions,
  spec: types.EnvSpec,
  batch: BatchState,
  reward: Array,
  terminated: Array,
  is_first: Array,
) -> types.TimeStep:
  """Returns the row of a state."""
  shape = is_first.shape
  legal_actions = jnp.ones((*shape, spec.num_actions), bool)
  if functions.legal_actions is not None:
    # Games tend to leave no legal action at their end, where a search would
    # then have nothing to normalise.
    # A mask may be of any numbers; what is not 0 is legal.
    legal = jnp.asarray(jax.vmap(functions.legal_actions)(batch.state)) != 0
    legal_actions = legal | batch.is_last[:, None]
  to_play = jnp.zeros(shape, jnp.int32)
  if functions.to_play is not None:
    to_play = jax.vmap(functions.to_play)(batch.state).astype(jnp.int32)
  return types.TimeStep(
    observation=jax.vmap(functions.observe)(batch.state),
    reward=reward,
    discount=jnp.where(terminated, 0.0, 1.0).astype(jnp.float32),
    is_first=is_first,
    is_last=batch.is_last,
    legal_actions=legal_actions,
    to_play=to_play,
  )


def _strong(x: Any) -> Array:
  """Returns x without JAX's weak type, which would change along a scan."""
  x = jnp.asarray(x)
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    return x
  return jnp.asarray(x, x.dtype)


def _where(mask: Array, x: Any, y: Any, like: Array) -> Array:
  """Returns x where `mask` [B] else y, in the dtype of `like`."""
  mask = mask.reshape(mask.shape + (1,) * (jnp.ndim(x) - 1))
  new = jnp.where(mask, x, y)
  return new if new.dtype == like.dtype else new.astype(like.dtype)


def host_row(
  spec: types.EnvSpec,
  *,
  observation: np.ndarray,
  reward: np.ndarray,
  terminated: np.ndarray,
  is_last: np.ndarray,
  is_first: np.ndarray,
) -> types.TimeStep:
  """Returns a row of a host environment in which every action is legal.

  Args:
    spec: of the environment.
    observation: [B, ...] in the spec's dtype.
    reward: [B]
    terminated: [B] bool, True where nothing follows.
    is_last: [B] bool, True where the episode is over.
    is_first: [B] bool, True where it has just begun.
  """
  row: Any = types.TimeStep
  return row(
    observation=observation,
    reward=np.where(is_first, 0, reward).astype(np.float32),
    discount=np.where(terminated, 0, 1).astype(np.float32),
    is_first=np.array(is_first),
    is_last=np.array(is_last),
    legal_actions=np.ones((*is_first.shape, spec.num_actions), bool),
    to_play=np.zeros(is_first.shape, np.int32),
  )


