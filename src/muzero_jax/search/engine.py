"""Monte Carlo tree search over a batch of trees, in batch-native loops.

`search` takes the arguments of `mctx.search` and returns the same `mctx.Tree`.
What differs is how the trees are built. Every loop runs over the whole batch
and touches only the nodes that it visits, where a vmapped loop would select
over whole trees at each of its turns. `trees` stores them while they grow;
mctx's arrays are laid out once, at the end.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.errors import UserError
from muzero_jax.search import backup, first_round, selection, trees
from muzero_jax.search.nodes import Nodes
from muzero_jax.search.selection import Selection
from muzero_jax.types import Array, Params


@chex.dataclass(frozen=True)
class RecurrentFnOutput:
  """mctx's, with a mask of illegal actions for models that know them.

  reward: [B] of the transition.
  discount: [B] between `reward` and `value`; of each transition its own.
  prior_logits: [B, A] policy of the state that it leads to.
  value: [B] of that state.
  invalid_actions: [B, A] true where an action is illegal in that state; None
    of a model that does not know, which is then mctx's record.
  """

  reward: Array
  discount: Array
  prior_logits: Array
  value: Array
  invalid_actions: Array | None = None


class _Setting(NamedTuple):
  """What stays the same in a search."""

  select_root: Selection
  select_interior: Selection
  limit: int  # Most edges from the root to a leaf.
  invalid_actions: Array  # [B, A] at the root.
  extra_data: Any
  value_dtype: Any
  logits_dtype: Any


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
  for name, rank in (('prior_logits', 2), ('value', 1)):
    chex.assert_rank(root[name], rank, custom_message=f"root's {name}")
  if invalid_actions is None:
    invalid_actions = jnp.zeros_like(root.prior_logits)
  setting = _Setting(
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
    # A loop of Python's own, and jax's without jit, count in ints.
    sim = jnp.asarray(sim, jnp.int32)
    rng_key, descend_key, expand_key = jax.random.split(rng_key, 3)
    parent, action, known = _descend(setting, descend_key, state)
    # Node i + 1 is made by simulation i, but for one that the depth limit has
    # sent to an old leaf.
    leaf = jnp.full_like(parent, sim + 1)
    made: Any = sim + 1
    visits = jnp.ones_like(leaf)
    if setting.limit < num_simulations:
      leaf = made = jnp.where(known == trees.NONE, leaf, known)
      # A leaf at the depth limit has been here before, but has no children.
      visits = trees.read(state.nodes, leaf)[:, trees.COUNT] + 1
    state, row = _expand(
      params, expand_key, state, recurrent_fn, parent, action, leaf, made,
      visits,
    )
    return rng_key, backup.backup(state, leaf, row)

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
  tree = _layout(setting, state)
  everything = Selection(
    setting.select_root.select, needs_logits=True, needs_tree=True
  )
  return tree, _roots(setting, state, everything, tree)


def _open(
  params: Params,
  rng_key: Array,
  setting: _Setting,
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
  setting: _Setting, state: trees.State, rule: Selection, tree: Any
) -> Nodes:
  """Returns what a rule sees of the roots."""
  edges = trees.edges_of(state, None, trees.FIELDS)
  return _nodes(
    setting, state, rule, tree, None, jnp.zeros((), jnp.int32), edges
  )


def _layout(setting: _Setting, state: trees.State) -> mctx.Tree:
  """Returns the trees in mctx's form."""
  return trees.layout(
    state,
    invalid_actions=setting.invalid_actions,
    extra_data=setting.extra_data,
    value_dtype=setting.value_dtype,
    logits_dtype=setting.logits_dtype,
  )


class _Descent(NamedTuple):
  """Where each of B simulations stands."""

  keys: Array | None  # [B] for selections that draw.
  node: Array  # [B] i32, node whose action was chosen last.
  action: Array  # [B] i32, that action.
  child: Array  # [B] i32, where it leads to.
  active: Array  # [B] bool, True while going on.
  depth: Array  # [] i32, edges gone.


def _descend(
  setting: _Setting, rng_key: Array, state: trees.State
) -> tuple[Array, Array, Array]:
  """Returns node and action [B] at which each simulation leaves its tree.

  And the node behind, if the depth limit stopped it; else -1.
  """
  batch_size = state.nodes.shape[0]
  rules = setting.select_root, setting.select_interior
  keys = None
  if any(rule.draws for rule in rules):
    keys = jax.random.split(rng_key, batch_size)
  tree = None
  if any(rule.needs_tree for rule in rules):
    tree = _layout(setting, state)

  def choose(
    rule: Selection, keys: Array | None, node: Array | None, depth: Array
  ) -> tuple[Array | None, Array, Array]:
    now = None
    if keys is not None:
      pair = jax.vmap(jax.random.split)(keys)
      keys, now = pair[:, 0], pair[:, 1]
    edges = trees.edges_of(state, node, trees.LOGITS + rule.needs_logits)
    nodes = _nodes(setting, state, rule, tree, node, depth, edges)
    action = rule.select(now, nodes)
    is_chosen = jnp.arange(edges[trees.CHILD].shape[-1]) == action[:, None]
    child = jnp.where(is_chosen, edges[trees.CHILD], 0).sum(axis=-1)
    return keys, action, child.astype(jnp.int32)

  keys, action, child = choose(
    setting.select_root, keys, None, jnp.zeros((), jnp.int32)
  )
  node = jnp.full(batch_size, trees.ROOT, jnp.int32)
  if setting.limit == 1:
    return node, action, child

  def step(at: _Descent) -> _Descent:
    # Whoever has arrived looks at the root, which always exists.
    node = jnp.where(at.active, at.child, trees.ROOT)
    keys, action, child = choose(
      setting.select_interior, at.keys, node, at.depth
    )
    depth = at.depth + 1
    return _Descent(
      keys,
      jnp.where(at.active, node, at.node),
      jnp.where(at.active, action, at.action),
      jnp.where(at.active, child, at.child),
      at.active & (child != trees.NONE) & (depth < setting.limit),
      depth,
    )

  end = jax.lax.while_loop(
    lambda at: at.active.any(),
    step,
    _Descent(
      keys, node, action, child, child != trees.NONE, jnp.ones((), jnp.int32)
    ),
  )
  return end.node, end.action, end.child


def _nodes(
  setting: _Setting,
  state: trees.State,
  rule: Selection,
  tree: mctx.Tree | None,
  node: Array | None,
  depth: Array,
  edges: list[Array],
) -> Nodes:
  """Returns what a rule sees of one node [B] of each tree; None: the root."""
  illegal = state.invalid_actions
  read = lambda x: x[:, trees.ROOT] if node is None else trees.read(x, node)
  row = read(state.nodes)
  return Nodes(
    qvalues=edges[trees.Q],
    visits=edges[trees.VISITS],
    prior=edges[trees.PRIOR],
    logits=edges[trees.LOGITS] if rule.needs_logits else None,
    node_visits=row[:, trees.COUNT],
    values=row[:, trees.MEAN],
    raw_values=row[:, trees.RAW],
    invalid_actions=None if illegal is None else read(illegal),
    low=state.low,
    high=state.high,
    root_invalid_actions=setting.invalid_actions,
    extra_data=setting.extra_data,
    depth=depth,
    node=jnp.zeros(len(row), jnp.int32) if node is None else node,
    tree=tree if rule.needs_tree else None,
  )


def _expand(
  params: Params,
  rng_key: Array,
  state: trees.State,
  recurrent_fn: Callable[..., Any],
  parent: Array,
  action: Array,
  leaf: Array,
  made: Array,
  visits: Array,
) -> tuple[trees.State, Array]:
  """Returns the trees with each leaf [B] evaluated, and the leaves' rows.

  `made` are the leaves as `trees.fill` takes them; with this visit, they have
  had so many `visits`. Whoever needs the rows takes them from here: to read
  them where they were just written makes XLA keep, and copy, the whole array.
  """
  batch_size, num_actions = state.edges.shape[0], trees.num_actions_of(state)
  embedding = jax.tree.map(lambda x: trees.read(x, parent), state.embeddings)
  step, embedding = recurrent_fn(params, rng_key, action, embedding)
  trees.check_outputs(step, (batch_size,), num_actions)
  mask, illegal = trees.checked_mask(step, state), state.invalid_actions
  if mask is not None and illegal is not None:
    illegal = trees.fill(illegal, mask, made)
  new_edges = trees.new_edges(step.prior_logits, state)
  edges = trees.fill(state.edges, new_edges, made)
  row = trees.new_rows(step, visits, parent, action, state)
  return state._replace(
    edges=trees.write(edges, leaf, parent, trees.CHILD * num_actions + action),
    nodes=trees.fill(state.nodes, row, made),
    embeddings=jax.tree.map(
      lambda x, new: trees.fill(x, new, made), state.embeddings, embedding
    ),
    invalid_actions=illegal,
  ), row
