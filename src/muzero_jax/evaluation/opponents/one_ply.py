"""An opponent that sees one move of each side ahead, by the true rules."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from muzero_jax.envs.rules import Rules
from muzero_jax.evaluation.opponents.base import choose
from muzero_jax.types import Array, TimeStep


def act(
  rules: Rules, rng_key: Array, env_state: Any, timestep: TimeStep
) -> Array:
  """Returns moves [B] that win at once, else do not let the other win at once.

  Drawn uniformly among the best of these kinds; any legal move where all lose.

  Args:
    rules: of the game.
    rng_key: for the draw.
    env_state: of the environments.
    timestep: their rows.
  """
  del timestep
  position = rules.position(env_state)
  legal = rules.legal_actions(position)

  def judge(action: Array, grades: Array) -> Array:
    after, reward = rules.step(position, action)
    lost = (reward < 0) | _can_win(rules, after)
    grade = jnp.where(reward > 0, 2, jnp.where(lost, 0, 1))
    return _set(grades, action, grade)

  grades = _for_each_legal(legal, judge, jnp.zeros(legal.shape, jnp.int32))
  grades = jnp.where(legal, grades, -1)
  return choose(rng_key, grades == grades.max(axis=-1, keepdims=True))


def _can_win(rules: Rules, position: Any) -> Array:
  """Returns whether [B] the player to move can win at once."""
  legal = rules.legal_actions(position)

  def play(action: Array, wins: Array) -> Array:
    return _set(wins, action, rules.step(position, action)[1] > 0)

  wins = _for_each_legal(legal, play, jnp.zeros(legal.shape, bool))
  return (wins & legal).any(axis=-1)


def _for_each_legal(
  legal: Array, body: Callable[[Array, Array], Array], init: Array
) -> Array:
  """Returns the carry of `body` after the legal actions [B, A] of each game.

  One action of each game at a time: where thousands exist, as in chess, few
  are legal. Games with fewer than others get illegal ones at the end.
  """
  order = jnp.argsort(~legal, axis=-1, stable=True).astype(jnp.int32)
  return jax.lax.fori_loop(
    0,
    legal.sum(axis=-1).max(),
    lambda i, carry: body(order[:, i], carry),
    init,
  )


def _set(x: Array, action: Array, new: Array) -> Array:
  """Returns x [B, A] with a new entry of each row."""
  return x.at[jnp.arange(x.shape[0]), action].set(new.astype(x.dtype))
