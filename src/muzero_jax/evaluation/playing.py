"""What both loops of noise-free play share: games and openings.

`device_play` and `host_play` play; `match` and `diagnose` use what they leave.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax.errors import UserError
from muzero_jax.evaluation.opponents import base
from muzero_jax.types import Array


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


@functools.lru_cache(maxsize=4)
def compiled(function: Callable[..., Any], first: Any) -> Callable[..., Any]:
  """Bind the first argument of a function, and compile it.

  The same arguments give the same program: the evaluations during a run
  compile it once.

  Args:
    function: to be compiled.
    first: its first argument, static; hashable.
  """
  return jax.jit(functools.partial(function, first))


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
