"""Opponents for evaluation: functions of (rng_key, TimeStep) -> actions."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.types import Array, TimeStep

Opponent = Callable[[Array, TimeStep], Array]

_LINES = (
  (0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8),
  (0, 4, 8), (2, 4, 6),
)


def make(name: str, env_name: str) -> Opponent:
  """Returns an opponent by name.

  Args:
    name: 'random' or 'perfect'.
    env_name: of the environment, for example 'board/tic_tac_toe'.

  Raises:
    ValueError: if there is no such opponent for that environment.
  """
  known = _known(env_name)
  if name not in known:
    raise ValueError(
      f'opponent = {name!r} is not one of {", ".join(known)} for {env_name}'
    )
  return known[name]


def names(env_name: str) -> tuple[str, ...]:
  """Returns the opponents of an environment, weakest first."""
  return tuple(_known(env_name))


def _known(env_name: str) -> dict[str, Opponent]:
  known: dict[str, Opponent] = {'random': random}
  if env_name == 'board/tic_tac_toe':
    known['perfect'] = perfect_tic_tac_toe
  return known


def random(rng_key: Array, timestep: TimeStep) -> Array:
  """Returns uniformly random legal actions [B]."""
  return _choose(rng_key, timestep.legal_actions)


def perfect_tic_tac_toe(rng_key: Array, timestep: TimeStep) -> Array:
  """Returns moves [B] that keep the game's value, drawn uniformly.

  Args:
    rng_key: for the draw.
    timestep: observations [B, 3, 3, 2], the mover's stones first.
  """
  table = jnp.asarray(_tic_tac_toe_table())
  board = timestep.observation.reshape(-1, 9, 2).astype(jnp.int32)
  code = (board[..., 0] + 2 * board[..., 1]) @ (3 ** jnp.arange(9))
  best = table[code] & timestep.legal_actions
  # A finished game has no best move; its action is ignored.
  best = jnp.where(best.any(axis=-1, keepdims=True), best, True)
  return _choose(rng_key, best)


def _choose(rng_key: Array, mask: Array) -> Array:
  logits = jnp.where(mask, 0.0, -jnp.inf)
  return jax.random.categorical(rng_key, logits).astype(jnp.int32)


@functools.cache
def _tic_tac_toe_table() -> np.ndarray:
  """Returns the best moves [3^9, 9] of each position, by minimax.

  A position is a number in base 3, one digit per square: 0 empty, 1 the
  mover's, 2 the other's.
  """
  table = np.zeros((3**9, 9), bool)

  @functools.cache
  def value(board: tuple[int, ...]) -> int:
    if any(all(board[i] == 2 for i in line) for line in _LINES):
      return -1
    moves = [i for i in range(9) if board[i] == 0]
    if not moves:
      return 0
    values = []
    for move in moves:
      after = list(board)
      after[move] = 1
      values.append(-value(tuple((3 - s) % 3 for s in after)))
    code = sum(stone * 3**i for i, stone in enumerate(board))
    for move, worth in zip(moves, values):
      table[code, move] = worth == max(values)
    return max(values)

  value((0,) * 9)
  return table
