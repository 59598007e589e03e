"""Perfect tic-tac-toe, from the table of all its positions."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from muzero_jax.evaluation.opponents.base import choose
from muzero_jax.types import Array, TimeStep

_LINES = (
  (0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8),
  (0, 4, 8), (2, 4, 6),
)


def perfect_tic_tac_toe(
  rng_key: Array, env_state: Any, timestep: TimeStep
) -> Array:
  """Returns moves [B] that keep the game's value, drawn uniformly.

  Args:
    rng_key: for the draw.
    env_state: not needed; the observation shows the whole game.
    timestep: observations [B, 3, 3, 2], the mover's stones first.
  """
  del env_state
  table = jnp.asarray(_tic_tac_toe_table())
  board = timestep.observation.reshape(-1, 9, 2).astype(jnp.int32)
  code = (board[..., 0] + 2 * board[..., 1]) @ (3 ** jnp.arange(9))
  best = table[code] & timestep.legal_actions
  # A finished game has no best move; its action is ignored.
  best = jnp.where(best.any(axis=-1, keepdims=True), best, True)
  return choose(rng_key, best)


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
