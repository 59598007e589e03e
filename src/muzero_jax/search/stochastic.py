"""Stochastic MuZero's search: decision and chance nodes in one tree.

`stochastic_muzero_policy` takes what mctx's function of that name takes, and
options of its own behind (Antonoglou et al. 2022); its Gumbel form is ours.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.search import keys, selection
from muzero_jax.search.engine import search_with_root
from muzero_jax.search.policies import (
  act_by_improved,
  act_by_visits,
  draw_tie_break,
  gumbel_noise,
  mask_logits,
  noisy_root,
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
    max_depth, loop_fn, dirichlet_fraction, dirichlet_alpha, pb_c_init,
      pb_c_base, temperature, tie_break, dirichlet_legal_only: likewise.
    qtransform: likewise; of a tree of actions alone.

  Returns:
    As `muzero_policy`; the tree holds the actions, not the outcomes.

  Raises:
    UserError: on an unknown `tie_break`.
  """
  batch_size, num_actions = root.prior_logits.shape
  action_key, noise_key, search_key = keys.split(rng_key, 3)
  search_key, tie_noise = draw_tie_break(
    tie_break, search_key, (batch_size, num_actions))
  root = noisy_root(
    noise_key, root, invalid_actions, dirichlet_fraction, dirichlet_alpha,
    dirichlet_legal_only,
  )
  root, recurrent_fn, num_outcomes = _with_chance(
    params, rng_key, root, decision_recurrent_fn, chance_recurrent_fn
  )
  decide = _over_actions(
    selection.puct(
      qtransform,
      pb_c_init=pb_c_init,
      pb_c_base=pb_c_base,
      tie_break=tie_noise,
    ),
    num_actions,
  )
  select = _decision_or_chance(decide, num_actions)
  tree, top = search_with_root(
    params,
    keys.shared(search_key),
    root=root,
    recurrent_fn=recurrent_fn,
    root_action_selection_fn=select,
    interior_action_selection_fn=select,
    num_simulations=num_simulations,
    max_depth=max_depth,
    invalid_actions=_without_outcomes(invalid_actions, num_outcomes),
    loop_fn=loop_fn,
    interior_masks=False,
  )
  return act_by_visits(
    action_key, _actions_of(tree, num_actions), top.visits[:, :num_actions],
    temperature,
  )


def gumbel_stochastic_muzero_policy(
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
  qtransform: Any = mctx.qtransform_completed_by_mix_value,
  max_num_considered_actions: int = 16,
  gumbel_scale: Any = 1.0,
) -> mctx.PolicyOutput:
  """Returns actions and improved policies of a stochastic Gumbel search.

  Stochastic MuZero's trees with the rules of Gumbel MuZero at their decision
  nodes: Sequential Halving at the root, the improved policy below, so that few
  simulations suffice. Neither paper has this combination. The value of an
  action is that of its afterstate: the network's Q at its first visit, then
  the mean over the outcomes that were looked at.

  Args:
    params: as for `stochastic_muzero_policy`, and so are the next seven.
    rng_key: consumed.
    root: prior logits [B, A], value [B], embedding [B, ...].
    decision_recurrent_fn: likewise.
    chance_recurrent_fn: likewise.
    num_simulations: S.
    invalid_actions: [B, A] true where an action is illegal at the root.
    max_depth: most edges from the root to a leaf, two for each move.
    loop_fn: `jax.lax.fori_loop` or alike.
    qtransform: completes and scales q-values.
    max_num_considered_actions: m of Sequential Halving.
    gumbel_scale: of the noise, scalar or [B, 1]; 0 for none.
  """
  root = root.replace(  # type: ignore[attr-defined]
    prior_logits=mask_logits(root.prior_logits, invalid_actions)
  )
  logits = root.prior_logits
  num_actions = logits.shape[-1]
  search_key, gumbel_key = keys.split(rng_key, 2)
  gumbel = gumbel_scale * gumbel_noise(gumbel_key, logits)
  root, recurrent_fn, num_outcomes = _with_chance(
    params, rng_key, root, decision_recurrent_fn, chance_recurrent_fn
  )
  over_actions = lambda rule: _over_actions(rule, num_actions)
  tree, top = search_with_root(
    params,
    keys.shared(search_key),
    root=root,
    recurrent_fn=recurrent_fn,
    root_action_selection_fn=over_actions(selection.gumbel_root(
      qtransform,
      num_simulations=num_simulations,
      max_num_considered_actions=max_num_considered_actions,
      all_legal=invalid_actions is None,
    )),
    interior_action_selection_fn=_decision_or_chance(
      over_actions(selection.gumbel_interior(qtransform)), num_actions
    ),
    num_simulations=num_simulations,
    max_depth=max_depth,
    invalid_actions=_without_outcomes(invalid_actions, num_outcomes),
    extra_data=mctx.GumbelMuZeroExtraData(  # type: ignore[call-arg]
      root_gumbel=gumbel
    ),
    loop_fn=loop_fn,
    interior_masks=False,
  )
  return act_by_improved(
    _actions_of(tree, num_actions), _actions_at(top, num_actions), gumbel,
    logits, invalid_actions, qtransform,
  )


def _with_chance(
  params: Params,
  rng_key: Array,
  root: mctx.RootFnOutput,
  decision_fn: Callable[..., Any],
  chance_fn: Callable[..., Any],
) -> tuple[mctx.RootFnOutput, Callable[..., Any], int]:
  """Returns root and recurrent function over A actions and C outcomes; C."""
  batch_size, num_actions = root.prior_logits.shape
  output, afterstate = jax.eval_shape(
    decision_fn, params, rng_key,
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
  recurrent_fn = _stochastic_fn(
    decision_fn, chance_fn, num_actions, num_outcomes
  )
  return root, recurrent_fn, num_outcomes


def _without_outcomes(
  invalid_actions: Array | None, num_outcomes: int
) -> Array | None:
  """Returns a mask [B, A + C] of a root, where no outcome can be chosen."""
  if invalid_actions is None:
    return None
  mask = jnp.asarray(invalid_actions)
  outcomes = jnp.ones((mask.shape[0], num_outcomes), mask.dtype)
  return jnp.concatenate([mask, outcomes], axis=-1)


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


def _actions_at(nodes: Nodes, num_actions: int) -> Nodes:
  """Returns what a rule sees of decision nodes, without chance outcomes."""
  edges = ('qvalues', 'visits', 'prior', 'logits', 'root_invalid_actions')
  of_actions: dict[str, Any] = {
    name: None if (x := getattr(nodes, name)) is None else x[:, :num_actions]
    for name in edges
  }
  tree = nodes.tree
  return nodes._replace(
    tree=None if tree is None else _actions_of(tree, num_actions),
    **of_actions,
  )


def _over_actions(rule: Selection, num_actions: int) -> Selection:
  """Returns a rule for actions as one for edges of actions and outcomes."""
  opening = rule.opening
  return rule._replace(
    select=lambda keys, nodes: rule.select(
      keys, _actions_at(nodes, num_actions)
    ),
    opening=None if opening is None else (
      lambda nodes: opening(_actions_at(nodes, num_actions))
    ),
  )


def _decision_or_chance(decide: Selection, num_actions: int) -> Selection:
  """Returns a rule for trees whose edges are A actions and C outcomes.

  Decisions and chance alternate, so that the depth tells which it is.
  """

  def happen(keys: Array | None, nodes: Nodes) -> Array:
    del keys
    likely = nodes.prior / (nodes.visits + 1)
    return num_actions + selection.argmax(likely[:, num_actions:])

  def select(keys: Array | None, nodes: Nodes) -> Array:
    is_decision = nodes.depth % 2 == 0
    return jax.lax.cond(is_decision, decide.select, happen, keys, nodes)

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
