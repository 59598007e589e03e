"""What both loops of noise-free play share: games, openings, stored rows.

`device_play` and `host_play` play; `match` and `diagnose` use what they leave.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax.errors import UserError
from muzero_jax.evaluation.opponents import base
from muzero_jax.types import Array, SearchOutput, TimeStep, Trajectory


class Game(NamedTuple):
  """One game of a match."""

  agent_first: bool
  moves: tuple[int, ...]  # Both players' actions.
  result: int | str  # Of who moved first: 1, 0, -1, or game_records.BROKEN.
  reason: str = ''  # Of a broken game.


def episodes_per_env(num_episodes: int, num_envs: int) -> int:
  """Share out episodes, as many to each environment.

  Raises:
    UserError: if they cannot be shared out evenly.
  """
  if num_episodes < 1 or num_episodes % num_envs:
    raise UserError(
      f'num_episodes={num_episodes}: must be a multiple of num_envs='
      f'{num_envs}, so that every environment plays as many'
    )
  return num_episodes // num_envs


def draw_opening(
  opening_key: Array, num_done: Array, length: Array, legal_actions: Array
) -> Array:
  """Draw random legal moves [B], the same for both colours.

  Args:
    opening_key: of the whole match, used for nothing else.
    num_done: [B] games before this one, in the same environment.
    length: [B] moves before this one.
    legal_actions: [B, A] bool
  """
  num_envs = num_done.shape[0]
  pair = jnp.arange(num_envs) % max(num_envs // 2, 1)

  def draw(pair: Array, game: Array, move: Array, legal: Array) -> Array:
    key = opening_key
    for number in (pair, game, move):
      key = jax.random.fold_in(key, number)
    return base.choose(key, legal)

  return jax.vmap(draw)(pair, num_done, length, legal_actions)


def stored_row(
  row: TimeStep, found: SearchOutput, action: Any, *, reward_clip: float
) -> Trajectory:
  """Return rows [B, ...] as `acting.actor.record` stores them.

  Args:
    row: [B] where the agent searched.
    found: [B] what it found there.
    action: [B] i32, or [B, A] f32, taken there, whoever chose it.
    reward_clip: stored rewards are clipped to +-this; 0 for no clip.
  """
  clip = reward_clip or float('inf')
  return Trajectory(
    frame=row.observation,
    reward=row.reward.clip(-clip, clip),
    discount=row.discount,
    is_first=row.is_first,
    is_last=row.is_last,
    legal_actions=row.legal_actions,
    to_play=row.to_play,
    action=action,
    policy=found.policy,
    value=found.value,
    candidates=found.candidates,
  )
