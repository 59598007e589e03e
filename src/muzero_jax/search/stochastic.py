"""Stochastic MuZero's search: decision and chance nodes in one tree.

`stochastic_muzero_policy` takes what mctx's function of that name takes, and
options of its own behind (Antonoglou et al. 2022); its Gumbel form is ours.
"""

from collections.abc import Callable
from typing import Any

import jax
import mctx

from muzero_jax.search import chance_nodes, keys, root_noise, selection
from muzero_jax.search.engine import search_with_root
from muzero_jax.search.nodes import Nodes
from muzero_jax.search.policies import (
  act_by_improved,
  act_by_visits,
  draw_tie_break,
)
from muzero_jax.search.selection import Selection
from muzero_jax.types import Array, Params


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
  keeps_outcomes: bool = False,
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
    keeps_outcomes: True returns a tree of A actions and C outcomes.

  Returns:
    As `muzero_policy`; the tree holds the actions, and by default not the
    outcomes.

  Raises:
    UserError: on an unknown `tie_break`.
  """
  batch_size, num_actions = root.prior_logits.shape
  action_key, noise_key, search_key = keys.split(rng_key, 3)
  search_key, tie_noise = draw_tie_break(
    tie_break, search_key, (batch_size, num_actions))
  root = root_noise.noisy_root(
    noise_key, root, invalid_actions, dirichlet_fraction, dirichlet_alpha,
    dirichlet_legal_only,
  )
  root, recurrent_fn, num_outcomes = chance_nodes.with_chance(
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
    invalid_actions=chance_nodes.without_outcomes(
      invalid_actions, num_outcomes),
    loop_fn=loop_fn,
    interior_masks=False,
  )
  if not keeps_outcomes:
    tree = actions_of(tree, num_actions)
  return act_by_visits(
    action_key, tree, top.visits[:, :num_actions], temperature)


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
  keeps_outcomes: bool = False,
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
    keeps_outcomes: True returns a tree of A actions and C outcomes.
  """
  root = root.replace(  # type: ignore[attr-defined]
    prior_logits=root_noise.mask_logits(root.prior_logits, invalid_actions)
  )
  logits = root.prior_logits
  num_actions = logits.shape[-1]
  search_key, gumbel_key = keys.split(rng_key, 2)
  gumbel = gumbel_scale * root_noise.gumbel_noise(gumbel_key, logits)
  root, recurrent_fn, num_outcomes = chance_nodes.with_chance(
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
    invalid_actions=chance_nodes.without_outcomes(
      invalid_actions, num_outcomes),
    extra_data=mctx.GumbelMuZeroExtraData(  # type: ignore[call-arg]
      root_gumbel=gumbel
    ),
    loop_fn=loop_fn,
    interior_masks=False,
  )
  if not keeps_outcomes:
    tree = actions_of(tree, num_actions)
  return act_by_improved(
    tree, _actions_at(top, num_actions), gumbel, logits, invalid_actions,
    qtransform,
  )


def actions_of(tree: mctx.Tree, num_actions: int) -> mctx.Tree:
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
    tree=None if tree is None else actions_of(tree, num_actions),
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
