"""A player of backgammon who counts pips, and nothing else."""

from typing import Any

import jax.numpy as jnp

from muzero_jax.evaluation.opponents.base import choose
from muzero_jax.types import Array, TimeStep


def pip_count(rng_key: Array, env_state: Any, timestep: TimeStep) -> Array:
  """Returns the legal moves [B] that gain most pips, drawn uniformly.

  A player's pip count is how far all of its checkers have still to go; what a
  move gains is what it takes off the mover's and adds to the other's. So it
  hits wherever it can, uses the larger die first, and leaves blots alone.

  Args:
    rng_key: for the draw.
    env_state: of pgx's backgammon; see `envs.backgammon` for its board.
    timestep: their rows.
  """
  gained = pips_gained(env_state.state._board)
  gained = jnp.where(timestep.legal_actions, gained, -1)
  best = gained == gained.max(axis=-1, keepdims=True)
  return choose(rng_key, best & timestep.legal_actions)


def pips_gained(board: Array) -> Array:
  """Returns what each action [B, 156] gains on boards [B, 28], in pips.

  Action 6 s + d moves a checker by d + 1: none at s = 0, one from the bar at 1,
  else from point s - 2. Of actions that are not legal, anything.
  """
  action = jnp.arange(26 * 6)
  source, die = action // 6, action % 6 + 1
  # The bar is one step before point 0; point 24 and beyond is off the board.
  target = jnp.where(source == 1, -1, source - 2) + die
  own = jnp.where(target > 23, 24 - (source - 2), die)
  own = jnp.where(source == 0, 0, own)
  # A hit sends a checker that had target + 1 pips to go back to 25.
  on_board = (source > 0) & (target <= 23)
  hit = on_board & (board[:, jnp.clip(target, 0, 23)] == -1)
  return own + jnp.where(hit, 24 - target, 0)
