"""Environments from single-environment functions, and the contract's check.

First in the data flow: everything downstream sees only `types.Environment`.
A JAX environment is a few pure functions of ONE environment; `make_environment`
adds the batch, the reset after the last row and the time limit.
"""

import difflib
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import types
from muzero_jax.envs import shapes
from muzero_jax.errors import UserError

Array = jax.Array


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


class Rules(NamedTuple):
  """True rules of a game of two players, for whoever may know them.

  Pure functions of B positions, which are pytrees; players alternate.
  """

  position: Callable[[BatchState], Any]  # Of an environment's state.
  # positions, actions [B] -> positions, rewards [B] of who moved. After the
  # end nothing changes, and rewards are 0.
  step: Callable[[Any, Array], tuple[Any, Array]]
  legal_actions: Callable[[Any], Array]  # [B, A] bool; none after the end.
  is_over: Callable[[Any], Array]  # [B] bool


class GoRules(NamedTuple):
  """What a game of Go leaves open."""

  size: int  # Points per side.
  komi: float  # Points that White gets.


class Rollout(NamedTuple):
  """Rows of a random policy; row t + 1 follows from action t at row t."""

  rows: types.TimeStep  # [T+1, B, ...]
  action: Array  # [T, B] i32, or [T, B, A] f32.


def make_environment(
  spec: types.EnvSpec,
  num_envs: int,
  *,
  reset: Callable[[Array], Any],
  step: Callable[[Any, Array, Array], Transition],
  observe: Callable[[Any], Array],
  legal_actions: Callable[[Any], Array] | None = None,
  to_play: Callable[[Any], Array] | None = None,
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
    legal_actions: state -> [A] bool; None if every action is always legal.
    to_play: state -> [] i32, the player to move; None with one player.

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
  check_bounds(spec)
  functions = Functions(reset, step, observe, legal_actions, to_play)
  environment = types.Environment(
    spec=spec,
    init=functools.partial(_init, functions, spec, num_envs),
    step=functools.partial(_step, functions, spec),
  )
  shapes.check_arrays(environment, num_envs)
  return environment


def check_bounds(spec: types.EnvSpec) -> None:
  """Raises UserError where bounds are not those of A continuous actions."""
  low, high = np.array(spec.action_low), np.array(spec.action_high)
  if not low.size and not high.size:
    return
  shape = (spec.num_actions,)
  if low.shape != shape or high.shape != shape or not (
    np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()
  ):
    raise UserError(
      f'{spec.name}: action_low = {spec.action_low} and action_high = '
      f'{spec.action_high} must be num_actions = {spec.num_actions} finite '
      'numbers each, low below high')


def _init(
  functions: Functions, spec: types.EnvSpec, num_envs: int, rng_key: Array
) -> tuple[BatchState, types.TimeStep]:
  keys = jax.random.split(rng_key, num_envs)
  state = jax.tree.map(_strong, jax.vmap(functions.reset)(keys))
  false = jnp.zeros((num_envs,), bool)
  batch = BatchState(state, jnp.zeros((num_envs,), jnp.int32), false)
  return batch, _row(
    functions, spec, batch, jnp.zeros((num_envs,)), false, ~false
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
  state = jax.tree.map(
    functools.partial(_where, is_first),
    jax.vmap(functions.reset)(keys),
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
    legal = jax.vmap(functions.legal_actions)(batch.state)
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


def random_actions(
  spec: types.EnvSpec, row: types.TimeStep, rng_key: Array
) -> Array:
  """Returns legal actions [B, ...], all equally likely.

  Args:
    spec: of the environment.
    row: [B] where they are to be taken.
    rng_key: for the draw.
  """
  if spec.is_continuous:
    return jax.random.uniform(
      rng_key, row.legal_actions.shape, minval=jnp.array(spec.action_low),
      maxval=jnp.array(spec.action_high))
  logits = jnp.where(row.legal_actions, 0.0, -jnp.inf)
  return jax.random.categorical(rng_key, logits).astype(jnp.int32)


def random_rollout(
  environment: types.Environment,
  state: Any,
  row: types.TimeStep,
  rng_key: Array,
  num_steps: int,
) -> tuple[tuple[Any, types.TimeStep], Rollout]:
  """Returns the last state and row, and T + 1 rows of random legal play.

  Args:
    environment: B environments.
    state, row: as `environment.init` or `step` returned them.
    rng_key: draws the actions and drives the environments.
    num_steps: T.
  """

  def body(carry: Any, key: Array) -> tuple[Any, Any]:
    state, row = carry
    action_key, step_key = jax.random.split(key)
    action = random_actions(environment.spec, row, action_key)
    new = environment.step(state, action, step_key)
    return new, (new[1], action)

  carry, (rows, action) = jax.lax.scan(
    body, (state, row), jax.random.split(rng_key, num_steps)
  )
  rows = jax.tree.map(
    lambda first, rest: jnp.concatenate([first[None], rest]), row, rows
  )
  return carry, Rollout(rows, action)


def check_environment(
  environment: types.Environment, rng_key: Array, *, num_steps: int = 100
) -> Rollout:
  """Plays random legal actions under jit and checks the contract of each row.

  Args:
    environment: B environments.
    rng_key: determines everything.
    num_steps: T; long enough that episodes end, or resets go unchecked.

  Returns:
    T + 1 rows and T actions, as NumPy arrays.

  Raises:
    UserError: says which part of the contract is broken.
  """
  init_key, play_key = jax.random.split(rng_key)
  state, row = environment.init(init_key)
  rollout = jax.jit(
    functools.partial(random_rollout, environment), static_argnums=3
  )
  _, played = rollout(state, row, play_key, num_steps)
  played = jax.tree.map(np.asarray, played)
  check_rows(environment.spec, played.rows)
  return played


def check_rows(spec: types.EnvSpec, rows: types.TimeStep) -> None:
  """Raises UserError unless consecutive rows [T+1, B] keep the contract."""
  shapes.check_row(spec, rows, np.shape(rows.is_last))
  first, last = rows.is_first, rows.is_last
  mid_episode = ~last[:-1]
  length = np.zeros(last.shape[1], int)
  longest = 0
  for is_first in first:
    length = np.where(is_first, 0, length + 1)
    longest = max(longest, int(length.max()))
  broken = {
    'a rollout must open with is_first': not first[0].all(),
    'is_first must follow is_last and nothing else':
      (first[1:] != last[:-1]).any(),
    'the first row of an episode must have reward 0':
      (rows.reward[first] != 0).any(),
    'the first row of an episode must have discount 1':
      (rows.discount[first] != 1).any(),
    'discount must be 0 or 1': (~np.isin(rows.discount, (0, 1))).any(),
    'discount 0 must come with is_last': (~last[rows.discount == 0]).any(),
    'reward must be finite': (~np.isfinite(rows.reward)).any(),
    'observation must be finite':
      (~np.isfinite(np.asarray(rows.observation, np.float32))).any(),
    'each row needs a legal action': (~rows.legal_actions.any(-1)).any(),
    f'to_play must be below {spec.num_players}':
      ((rows.to_play < 0) | (rows.to_play >= spec.num_players)).any(),
    'two players must alternate':
      spec.num_players == 2 and spec.alternates
      and (rows.to_play[1:] == rows.to_play[:-1])[mid_episode].any(),
    f'an episode must end within {spec.max_episode_steps} steps':
      bool(spec.max_episode_steps) and longest > spec.max_episode_steps,
  }
  for rule, is_broken in broken.items():
    if is_broken:
      raise UserError(f'{spec.name}: {rule}')


def _plain(name: str) -> str:
  """Returns a name without the decorations that libraries put around it."""
  name = re.sub(r'^ale/', '', name.lower())
  name = re.sub(r'-v\d+$', '', name)
  name = re.sub(r'(noframeskip|deterministic)$', '', name)
  return re.sub(r'[^a-z0-9]', '', name)


def resolve_name(family: str, name: str, names: Iterable[str]) -> str:
  """Returns the one of `names` that `name` spells.

  Case, underscores, "ALE/", "NoFrameskip" and versions make no difference:
  "ALE/MsPacman-v5" is "ms_pacman".

  Raises:
    UserError: there is none; the message gives the nearest.
  """
  names = sorted(names)
  plain = {_plain(known): known for known in names}
  if _plain(name) in plain:
    return plain[_plain(name)]
  near = difflib.get_close_matches(_plain(name), plain, n=3, cutoff=0.5)
  hint = (
    'nearest: ' + ', '.join(plain[n] for n in near)
    if near
    else 'known: ' + ', '.join(names)
  )
  raise UserError(f'env_id: no {family} environment {name!r}; {hint}')
