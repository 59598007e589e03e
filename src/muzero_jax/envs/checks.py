"""The environments' contract: whether consecutive rows keep it.

`check_environment` is for whoever writes an environment; `base` has its name
too. `shapes` says whether the arrays are those of the spec.
"""

import functools

import jax
import numpy as np

from muzero_jax import types
from muzero_jax.envs import random_play, shapes
from muzero_jax.errors import UserError
from muzero_jax.types import Array


def check_bounds(spec: types.EnvSpec) -> None:
  """Raises UserError where bounds are not those of A continuous actions."""
  # As agents have them: a larger number is infinite there.
  with np.errstate(over='ignore'):
    low = np.array(spec.action_low, np.float32)
    high = np.array(spec.action_high, np.float32)
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
