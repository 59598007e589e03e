"""Monte Carlo tree search by the true rules, with random games as values.

UCT (Kocsis and Szepesvari 2006): what board games were searched with before
networks, and so a yardstick of known strength.
"""

from typing import Any

import jax
import jax.numpy as jnp
import mctx

from muzero_jax import search
from muzero_jax.envs.rules import Rules
from muzero_jax.evaluation.opponents.base import choose
from muzero_jax.search import selection
from muzero_jax.search.nodes import Nodes
from muzero_jax.types import Array, TimeStep


def act(
  rules: Rules,
  rng_key: Array,
  env_state: Any,
  timestep: TimeStep,
  *,
  num_simulations: int,
  exploration: float = 1.0,
  max_rollout: int = 512,
) -> Array:
  """Returns the most visited moves [B] of a search.

  Args:
    rules: of the game.
    rng_key: for random games and for draws between equals.
    env_state: of the environments.
    timestep: their rows.
    num_simulations: S; each plays one random game from the node it adds.
    exploration: c of `ucb1`.
    max_rollout: moves after which a random game counts as a draw.
  """
  del timestep
  action_key, tie_key, search_key = jax.random.split(rng_key, 3)
  position = rules.position(env_state)
  legal = rules.legal_actions(position)
  rule = ucb1(exploration, jax.random.uniform(tie_key, legal.shape))

  def step(
    params: Any, rng_key: Array, action: Array, position: Any
  ) -> tuple[search.RecurrentFnOutput, Any]:
    del params
    after, reward = rules.step(position, action)
    is_over = rules.is_over(after)
    # Nothing follows the end: whatever a tree grows behind it is worth 0. It
    # grows on all actions, not on one, or else visits would go ever deeper.
    illegal = ~rules.legal_actions(after) & ~is_over[:, None]
    value = rollout(rules, rng_key, after, max_rollout)
    return search.RecurrentFnOutput(  # type: ignore[call-arg]
      reward=reward,
      discount=jnp.where(is_over, 0.0, -1.0),
      # Zeros, as everywhere; but XLA would write a constant into the trees
      # before the descent has read them, and so copy all in each simulation.
      prior_logits=jnp.broadcast_to(0.0 * value[:, None], legal.shape),
      value=value,
      invalid_actions=illegal,
    ), after

  tree = search.search(
    None,
    search_key,
    root=mctx.RootFnOutput(  # type: ignore[call-arg]
      prior_logits=jnp.zeros(legal.shape),
      value=jnp.zeros(legal.shape[0]),
      embedding=position,
    ),
    recurrent_fn=step,
    root_action_selection_fn=rule,
    interior_action_selection_fn=rule,
    num_simulations=num_simulations,
    invalid_actions=~legal,
    interior_masks=True,
  )
  visits = tree.children_visits[:, mctx.Tree.ROOT_INDEX]
  return choose(action_key, visits == visits.max(axis=-1, keepdims=True))


def ucb1(exploration: float, tie_break: Array) -> search.Selection:
  """Returns the rule of UCT.

  argmax_a q(a) + c sqrt(ln N / n(a)) with q scaled from [-1, 1] to [0, 1],
  after each legal action has been taken once (Auer et al. 2002, section 2).

  Args:
    exploration: c.
    tie_break: [B, A] in [0, 1), decides between equals.
  """

  def select(keys: Array | None, nodes: Nodes) -> Array:
    del keys
    assert nodes.invalid_actions is not None
    total = jnp.log(nodes.node_visits)[:, None]
    bonus = exploration * jnp.sqrt(total / jnp.maximum(nodes.visits, 1))
    known = (nodes.qvalues + 1) / 2 + bonus + 1e-6 * tie_break
    # Above every score that can be reached.
    score = jnp.where(nodes.visits > 0, known, 1e3 * (1 + tie_break))
    return selection.argmax(jnp.where(nodes.invalid_actions, -jnp.inf, score))

  return search.Selection(select)


def rollout(
  rules: Rules, rng_key: Array, position: Any, max_steps: int
) -> Array:
  """Returns outcomes [B] of random games, for the player to move.

  0 where a position is over, and where a game is not after `max_steps` moves.
  """

  def play(carry: tuple[Any, ...]) -> tuple[Any, ...]:
    rng_key, position, value, sign, length = carry
    rng_key, action_key = jax.random.split(rng_key)
    legal = rules.legal_actions(position)
    # The largest of equally distributed numbers; bits are cheaper than logits.
    noise = jax.random.uniform(action_key, legal.shape)
    action = selection.argmax(jnp.where(legal, noise, -1.0))
    position, reward = rules.step(position, action)
    return rng_key, position, value + sign * reward, -sign, length + 1

  is_over = rules.is_over(position)
  value = jnp.zeros(is_over.shape)
  end = jax.lax.while_loop(
    lambda carry: ~rules.is_over(carry[1]).all() & (carry[-1] < max_steps),
    play,
    (rng_key, position, value, jnp.float32(1), jnp.int32(0)),
  )
  return end[2]
