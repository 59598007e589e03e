"""Stochastic MuZero's search: decision and chance nodes in one tree.

`stochastic_muzero_policy` takes what mctx's function of that name takes, and
options of its own behind (Antonoglou et al. 2022).
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.search import selection
from muzero_jax.search.engine import search_with_root
from muzero_jax.search.policies import (
  act_by_visits,
  noisy_root,
  tie_break_noise,
)
from muzero_jax.search.selection import Nodes, Selection
from muzero_jax.types import Array, Params


@chex.dataclass(frozen=True)
class StochasticState:
  """What a node of a stochastic search holds.

  state_embedding: [B, ...] meaningful at decision nodes.
  afterstate_embedding: [B, ...] meaningful at chance nodes.
  is_decision_node: [B] bool.
  """

  state_embedding: Any
  afterstate_embedding: Any
  is_decision_node: Array


def stochastic_muzero_policy(
  params: Params,
  rng_key: Array,
  root: mctx.RootFnOutput,
  decision_recurrent_fn: Callable[..., Any],
  chance_recurrent_fn: Callable[..., Any],
  num_simulations: int,
  invalid_actions: Array | None = None,
  max_depth: int | None = None,
  loop_fn: Callable[..., Any] = jax.lax.fori_loop,
  *,
  qtransform: Any = mctx.qtransform_by_parent_and_siblings,
  dirichlet_fraction: float = 0.25,
  dirichlet_alpha: float = 0.3,
  pb_c_init: float = 1.25,
  pb_c_base: float = 19_652,
  temperature: Any = 1.0,
  tie_break: str = 'search',
  dirichlet_legal_only: bool = False,
) -> mctx.PolicyOutput:
  """Returns actions, visit shares and trees of Stochastic MuZero's search.

  Decision nodes choose actions by pUCT, chance nodes the outcome c of largest
  p(c) / (n(c) + 1) (Antonoglou et al. 2022, section 4). Where all leaves of a
  simulation are of one kind, only that kind's network is evaluated.

  Args:
    params: for both functions.
    rng_key: consumed.
    root: prior logits [B, A], value [B], embedding [B, ...].
    decision_recurrent_fn: (params, rng_key, action, embedding) ->
      (`mctx.DecisionRecurrentFnOutput`, afterstate's embedding).
    chance_recurrent_fn: (params, rng_key, outcome, afterstate's embedding) ->
      (`mctx.ChanceRecurrentFnOutput`, embedding).
    num_simulations: S, of which each makes one node of either kind.
    invalid_actions: as for `muzero_policy`, and so are the others.
    max_depth: likewise.
    loop_fn: likewise.
    qtransform: likewise; of a tree of actions alone.
    dirichlet_fraction: likewise.
    dirichlet_alpha: likewise.
    pb_c_init: likewise.
    pb_c_base: likewise.
    temperature: likewise.
    tie_break: likewise.
    dirichlet_legal_only: likewise.

  Returns:
    As `muzero_policy`; the tree holds the actions, not the outcomes.

  Raises:
    ValueError: on an unknown `tie_break`.
  """
  batch_size, num_actions = root.prior_logits.shape
  action_key, noise_key, search_key = jax.random.split(rng_key, 3)
  root = noisy_root(
    noise_key, root, invalid_actions, dirichlet_fraction, dirichlet_alpha,
    dirichlet_legal_only,
  )
  output, afterstate = jax.eval_shape(
    decision_recurrent_fn, params, rng_key,
    jax.ShapeDtypeStruct((batch_size,), jnp.int32), root.embedding,
  )
  num_outcomes = output.chance_logits.shape[-1]
  root = root.replace(  # type: ignore[attr-defined]
    prior_logits=_with_outcomes(root.prior_logits, num_outcomes),
    embedding=StochasticState(  # type: ignore[call-arg]
      state_embedding=root.embedding,
      afterstate_embedding=jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), afterstate
      ),
      is_decision_node=jnp.ones(batch_size, bool),
    ),
  )
  select = _decision_or_chance(
    selection.puct(
      qtransform,
      pb_c_init=pb_c_init,
      pb_c_base=pb_c_base,
      tie_break=tie_break_noise(
        tie_break, search_key, (batch_size, num_actions)
      ),
    ),
    num_actions,
  )
  tree, top = search_with_root(
    params,
    search_key,
    root=root,
    recurrent_fn=_stochastic_fn(
      decision_recurrent_fn, chance_recurrent_fn, num_actions, num_outcomes
    ),
    root_action_selection_fn=select,
    interior_action_selection_fn=select,
    num_simulations=num_simulations,
    max_depth=max_depth,
    invalid_actions=None if invalid_actions is None else jnp.concatenate(
      [
        jnp.asarray(invalid_actions),
        jnp.ones(
          (batch_size, num_outcomes), jnp.asarray(invalid_actions).dtype
        ),
      ],
      axis=-1,
    ),
    loop_fn=loop_fn,
    interior_masks=False,
  )
  return act_by_visits(
    action_key, _actions_of(tree, num_actions), top.visits[:, :num_actions],
    temperature,
  )


def _with_outcomes(action_logits: Array, num_outcomes: int) -> Array:
  """Returns logits over A actions and C outcomes, none for the outcomes."""
  shape = (action_logits.shape[0], num_outcomes)
  return jnp.concatenate([action_logits, jnp.full(shape, -jnp.inf)], axis=-1)


def _actions_of(tree: mctx.Tree, num_actions: int) -> mctx.Tree:
  """Returns a tree without the edges of chance outcomes."""
  names = (
    'children_index', 'children_prior_logits', 'children_visits',
    'children_rewards', 'children_discounts', 'children_values',
    'root_invalid_actions',
  )
  return tree.replace(  # type: ignore[attr-defined]
    **{name: getattr(tree, name)[..., :num_actions] for name in names}
  )


def _decision_or_chance(decide: Selection, num_actions: int) -> Selection:
  """Returns a rule for trees whose edges are A actions and C outcomes.

  Decisions and chance alternate, so that the depth tells which it is.
  """

  def choose(keys: Array | None, nodes: Nodes) -> Array:
    edges = ('qvalues', 'visits', 'prior', 'logits', 'root_invalid_actions')
    of_actions: dict[str, Any] = {
      name: None if (x := getattr(nodes, name)) is None else x[:, :num_actions]
      for name in edges
    }
    tree = nodes.tree
    return decide.select(keys, nodes._replace(
      tree=None if tree is None else _actions_of(tree, num_actions),
      **of_actions,
    ))

  def happen(keys: Array | None, nodes: Nodes) -> Array:
    del keys
    likely = nodes.prior / (nodes.visits + 1)
    return num_actions + selection.argmax(likely[:, num_actions:])

  def select(keys: Array | None, nodes: Nodes) -> Array:
    is_decision = nodes.depth % 2 == 0
    return jax.lax.cond(is_decision, choose, happen, keys, nodes)

  return decide._replace(select=select)


def _stochastic_fn(
  decision_fn: Callable[..., Any],
  chance_fn: Callable[..., Any],
  num_actions: int,
  num_outcomes: int,
) -> Callable[..., Any]:
  """Returns one recurrent function over actions and outcomes."""

  def recurrent_fn(
    params: Params, rng_key: Array, edge: Array, state: StochasticState
  ) -> tuple[mctx.RecurrentFnOutput, StochasticState]:
    is_decision = state.is_decision_node

    def only_decide() -> Any:
      output, after = decision_fn(params, rng_key, edge, state.state_embedding)
      made = _as_decision(output, num_actions)
      return made, after, state.state_embedding

    def only_happen() -> Any:
      output, new_state = chance_fn(
        params, rng_key, edge - num_actions, state.afterstate_embedding
      )
      happened = _as_chance(output, num_outcomes)
      return happened, state.afterstate_embedding, new_state

    def both() -> Any:
      made, after, _ = only_decide()
      happened, _, new_state = only_happen()
      return _where(is_decision, made, happened), after, new_state

    output, after, new_state = jax.lax.switch(
      jnp.where(is_decision.all(), 0, jnp.where(is_decision.any(), 2, 1)),
      _alike(only_decide, only_happen, both),
    )
    return output, StochasticState(  # type: ignore[call-arg]
      state_embedding=new_state,
      afterstate_embedding=after,
      is_decision_node=~is_decision,
    )

  return recurrent_fn


def _as_decision(output: Any, num_actions: int) -> mctx.RecurrentFnOutput:
  """Returns an afterstate as a node whose edges are outcomes."""
  value = output.afterstate_value
  none = jnp.full((value.shape[0], num_actions), -jnp.inf)
  return mctx.RecurrentFnOutput(  # type: ignore[call-arg]
    prior_logits=jnp.concatenate([none, output.chance_logits], axis=-1),
    value=value,
    reward=jnp.zeros_like(value),
    discount=jnp.ones_like(value),
  )


def _as_chance(output: Any, num_outcomes: int) -> mctx.RecurrentFnOutput:
  """Returns a state as a node whose edges are actions."""
  return mctx.RecurrentFnOutput(  # type: ignore[call-arg]
    prior_logits=_with_outcomes(output.action_logits, num_outcomes),
    value=output.value,
    reward=output.reward,
    discount=output.discount,
  )


def _where(mask: Array, some: Any, others: Any) -> Any:
  """Returns the arrays [B, ...] of `some` where the mask [B] is true."""
  return jax.tree.map(
    lambda a, b: jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b),
    some,
    others,
  )


def _alike(*branches: Callable[[], Any]) -> list[Callable[[], Any]]:
  """Returns the branches, all with the types of the last.

  The user's two functions may differ in theirs, and a switch must not.
  """
  wanted = jax.eval_shape(branches[-1])

  def cast(branch: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: jax.tree.map(
      lambda x, like: x.astype(like.dtype), branch(), wanted
    )

  return [cast(branch) for branch in branches]
