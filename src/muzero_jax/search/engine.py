"""Monte Carlo tree search over a batch of trees, in batch-native loops.

`search` takes the arguments of `mctx.search` and returns the same `mctx.Tree`.
What differs is how the trees are built. Every loop runs over the whole batch
and touches only the nodes that it visits, where a vmapped loop would select
over whole trees at each of its turns. `trees` stores them while they grow;
mctx's arrays are laid out once, at the end.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.errors import UserError
from muzero_jax.search import first_round, selection, simulation, trees
from muzero_jax.search.selection import Nodes, Selection
from muzero_jax.search.simulation import Setting
from muzero_jax.types import Array, Params


@chex.dataclass(frozen=True)
class RecurrentFnOutput:
  """mctx's, with a mask of illegal actions for models that know them.

  reward: [B] of the transition.
  discount: [B] between `reward` and `value`; of each transition its own.
  prior_logits: [B, A] policy of the state that it leads to.
  value: [B] of that state.
  invalid_actions: [B, A] true where an action is illegal in that state.
  """

  reward: Array
  discount: Array
  prior_logits: Array
  value: Array
  invalid_actions: Array


def search(
  params: Params,
  rng_key: Array,
  *,
  root: mctx.RootFnOutput,
  recurrent_fn: Callable[..., Any],
  root_action_selection_fn: Any,
  interior_action_selection_fn: Any,
  num_simulations: int,
  max_depth: int | None = None,
  invalid_actions: Array | None = None,
  extra_data: Any = None,
  loop_fn: Callable[..., Any] = jax.lax.fori_loop,
  interior_masks: bool = False,
) -> mctx.Tree:
  """Returns search trees after `num_simulations` simulations.

  The arguments, their order, the use of `rng_key` and the result are those of
  `mctx.search`; node for node the trees are equal to its trees. Statistics are
  kept in float32 at least, where mctx keeps those of bfloat16 values in
  bfloat16.

  Args:
    params: for `recurrent_fn`.
    rng_key: consumed.
    root: prior logits [B, A], value [B] and embedding [B, ...].
    recurrent_fn: (params, rng_key, action [B], embedding [B, ...]) ->
      (`mctx.RecurrentFnOutput`, embedding).
    root_action_selection_fn: a batched `Selection`; or a function of one tree
      as in mctx, (rng_key, tree, node_index) -> action, for which the trees
      are laid out anew in each simulation.
    interior_action_selection_fn: likewise, with depth as a fourth argument.
    num_simulations: S.
    max_depth: most edges from the root to a leaf; None for no limit.
    invalid_actions: [B, A] true where an action is illegal at the root.
    extra_data: kept in the tree, [B, ...].
    loop_fn: runs the simulations; `jax.lax.fori_loop` or alike.
    interior_masks: True if `recurrent_fn` returns our `RecurrentFnOutput`,
      whose `invalid_actions` are then never taken, unless all are illegal.

  Returns:
    `mctx.Tree` of S + 1 nodes, of the size that `num_bytes` tells.

  Raises:
    UserError: if `num_simulations` or `max_depth` is below 1, or
      `interior_masks` is not as the model's outputs are.
  """
  tree, _ = search_with_root(
    params,
    rng_key,
    root=root,
    recurrent_fn=recurrent_fn,
    root_action_selection_fn=root_action_selection_fn,
    interior_action_selection_fn=interior_action_selection_fn,
    num_simulations=num_simulations,
    max_depth=max_depth,
    invalid_actions=invalid_actions,
    extra_data=extra_data,
    loop_fn=loop_fn,
    interior_masks=interior_masks,
  )
  return tree


def search_with_root(
  params: Params,
  rng_key: Array,
  *,
  root: mctx.RootFnOutput,
  recurrent_fn: Callable[..., Any],
  root_action_selection_fn: Any,
  interior_action_selection_fn: Any,
  num_simulations: int,
  max_depth: int | None,
  invalid_actions: Array | None,
  loop_fn: Callable[..., Any],
  interior_masks: bool,
  extra_data: Any = None,
) -> tuple[mctx.Tree, Nodes]:
  """Returns the trees of `search`, and what a rule would see of their roots.

  Whoever needs the roots alone then never pays for the trees' layout: under
  jit what is not used is not made.
  """
  for name, number in (
    ('num_simulations', num_simulations), ('max_depth', max_depth)
  ):
    if number is not None and number < 1:
      raise UserError(f'{name}={number}: must be at least 1')
  chex.assert_rank([root.prior_logits, root.value], [2, 1])
  if invalid_actions is None:
    invalid_actions = jnp.zeros_like(root.prior_logits)
  setting = Setting(
    select_root=selection.batched(root_action_selection_fn, is_root=True),
    select_interior=selection.batched(interior_action_selection_fn),
    limit=num_simulations if max_depth is None else max_depth,
    invalid_actions=jnp.asarray(invalid_actions),
    extra_data=extra_data,
    value_dtype=root.value.dtype,
    logits_dtype=root.prior_logits.dtype,
  )

  def simulate(sim: Array, carry: tuple[Array, trees.State]) -> Any:
    rng_key, state = carry
    rng_key, descend_key, expand_key = jax.random.split(rng_key, 3)
    parent, action, known = simulation.descend(setting, descend_key, state)
    # Node i + 1 is made by simulation i, but for one that the depth limit has
    # sent to an old leaf.
    leaf = jnp.full_like(parent, sim + 1)
    made: Any = sim + 1
    visits = jnp.ones_like(leaf)
    if setting.limit < num_simulations:
      leaf = made = jnp.where(known == trees.NONE, leaf, known)
      # A leaf at the depth limit has been here before, but has no children.
      visits = trees.read(state.nodes, leaf)[:, trees.COUNT] + 1
    state, row = simulation.expand(
      params, expand_key, state, recurrent_fn, parent, action, leaf, made,
      visits,
    )
    return rng_key, simulation.backup(state, leaf, row)

  state = trees.init(
    root, num_simulations, interior_masks,
    setting.select_root.needs_extremes
    or setting.select_interior.needs_extremes,
    invalid_actions,
  )
  start: Any = 0
  # A loop of the user's own is there because jax's must not go around the
  # model, and so must not jax's vmap or scan.
  if loop_fn is jax.lax.fori_loop:
    start, (rng_key, state) = _open(
      params, rng_key, setting, state, recurrent_fn
    )
  if not isinstance(start, int) or start < num_simulations:
    _, state = loop_fn(start, num_simulations, simulate, (rng_key, state))
  tree = simulation.layout(setting, state)
  everything = Selection(
    setting.select_root.select, needs_logits=True, needs_tree=True
  )
  return tree, _roots(setting, state, everything, tree)


def _open(
  params: Params,
  rng_key: Array,
  setting: Setting,
  state: trees.State,
  recurrent_fn: Callable[..., Any],
) -> tuple[Any, tuple[Array, trees.State]]:
  """Returns how many simulations the opening makes, its key and its trees."""
  rule = setting.select_root
  if rule.opening is None:
    return 0, (rng_key, state)
  actions, is_known = rule.opening(_roots(setting, state, rule, None))
  play = lambda key, state: first_round.play(
    params, key, state, recurrent_fn, actions
  )
  if is_known is None:
    return actions.shape[1], play(rng_key, state)
  carry = jax.lax.cond(
    is_known.all(), play, lambda *carry: carry, rng_key, state
  )
  return jnp.where(is_known.all(), actions.shape[1], 0), carry


def _roots(
  setting: Setting, state: trees.State, rule: Selection, tree: Any
) -> Nodes:
  """Returns what a rule sees of the roots."""
  edges = trees.edges_of(state, None, trees.FIELDS)
  return simulation.nodes_at(
    setting, state, rule, tree, None, jnp.zeros((), jnp.int32), edges
  )


