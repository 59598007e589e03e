"""Backgammon's board as numbers: what an agent sees of pgx's positions.

pgx keeps the board from the view of the player to move, who moves upwards from
point 0 and bears off beyond point 23: `board` [28] counts that player's
checkers as positive, the other's as negative, on 24 points, two bars (own,
other's) and two trays of borne-off checkers (likewise).
"""

from typing import Any

import jax.numpy as jnp

from muzero_jax.types import Array

NUM_FEATURES = 2 * (24 * 4 + 2) + 6


def observe(state: Any) -> Array:
  """Returns the features [202] of ONE position, for the player to move.

  Tesauro's encoding (TD-Gammon, 1995): of each point and player, whether there
  are at least 1, 2 and 3 checkers, and half of how many there are beyond 3;
  half of the checkers on the bar, and the share of those borne off. Where he
  has a unit for who is to move, these have how many dice of each number that
  player may still use.

  Args:
    state: pgx's.
  """
  board = state._board.astype(jnp.float32)
  sides = []
  for sign, bar, off in ((1, 24, 26), (-1, 25, 27)):
    count = jnp.maximum(sign * board[:24], 0)[:, None]
    some = (count >= jnp.arange(1, 4)).astype(jnp.float32)
    points = jnp.concatenate([some, jnp.maximum(count - 3, 0) / 2], axis=1)
    rest = jnp.stack([sign * board[bar] / 2, sign * board[off] / 15])
    sides += [points.reshape(-1), rest]
  dice = state._playable_dice[:, None] == jnp.arange(6)  # -1 where it is used.
  return jnp.concatenate([*sides, dice.sum(axis=0).astype(jnp.float32)])
