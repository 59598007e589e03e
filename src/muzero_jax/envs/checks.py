"""The environments' contract: what their arrays and rows must be.

`base.make_environment` checks what it builds, actors the rows of the host's
environments, and `check_environment` those of an environment of one's own.
"""

import functools
from typing import Any

import jax
import numpy as np

from muzero_jax import types
from muzero_jax.envs import random_play
from muzero_jax.errors import UserError
from muzero_jax.types import Array


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


def check_arrays(environment: types.Environment, num_envs: int) -> None:
  """Raises UserError if the traced arrays are not those of the spec.

  Runs nothing; `make_environment` does it by itself.

  Args:
    environment: pure functions.
    num_envs: B, of `environment`.
  """
  spec = environment.spec
  key = jax.eval_shape(lambda: jax.random.key(0))
  action = jax.ShapeDtypeStruct(
    (num_envs, *spec.action_shape), spec.action_dtype)
  state, row = jax.eval_shape(environment.init, key)
  next_state, next_row = jax.eval_shape(environment.step, state, action, key)
  check_shapes(spec, row, (num_envs,))
  check_shapes(spec, next_row, (num_envs,))
  leaves = jax.tree_util.tree_leaves_with_path(state)
  for (path, x), y in zip(leaves, jax.tree.leaves(next_state)):
    if x.shape != y.shape:
      raise UserError(
        f'{spec.name}: state{jax.tree_util.keystr(path)} has shape '
        f'{x.shape} after reset and {y.shape} after step'
      )


def check_shapes(
  spec: types.EnvSpec, row: types.TimeStep, batch_shape: tuple[int, ...]
) -> None:
  """Raises UserError if a row's shapes and dtypes are not the spec's.

  Args:
    spec: of its environment.
    row: traced, of JAX or of NumPy.
    batch_shape: the axes in front, [B] or [T, B].
  """
  expected: dict[str, tuple[tuple[int, ...], Any]] = {
    'observation': (spec.observation_shape, spec.observation_dtype),
    'reward': ((), np.float32),
    'discount': ((), np.float32),
    'is_first': ((), np.bool_),
    'is_last': ((), np.bool_),
    'legal_actions': ((spec.num_actions,), np.bool_),
    'to_play': ((), np.int32),
  }
  for name, (shape, dtype) in expected.items():
    value = getattr(row, name)
    want = (*batch_shape, *shape)
    if value.shape != want or value.dtype != np.dtype(dtype):
      raise UserError(
        f'{spec.name}: {name} is {value.dtype}{list(value.shape)}, '
        f'expected {np.dtype(dtype)}{list(want)}'
      )


def check_environment(
  environment: types.Environment, rng_key: Array, *, num_steps: int = 100
) -> random_play.Rollout:
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
    functools.partial(random_play.random_rollout, environment), static_argnums=3
  )
  _, played = rollout(state, row, play_key, num_steps)
  played = jax.tree.map(np.asarray, played)
  check_rows(environment.spec, played.rows)
  return played


def check_rows(spec: types.EnvSpec, rows: types.TimeStep) -> None:
  """Raises UserError unless consecutive rows [T+1, B] keep the contract."""
  check_shapes(spec, rows, np.shape(rows.is_last))
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
