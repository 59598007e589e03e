"""Monte Carlo tree search over a batch of trees, in batch-native loops.

`search` takes the arguments of `mctx.search` and returns the same `mctx.Tree`.
What differs is how the trees are built. Every loop runs over the whole batch
and touches only the nodes that it visits, where a vmapped loop would select
over whole trees at each of its turns. What a rule reads of a node lies
together, so that it is fetched as one piece, with the scaled q-value and the
prior's softmax already made; mctx's arrays are laid out once, at the end.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.search import selection
from muzero_jax.search.selection import Nodes, Selection
from muzero_jax.types import Array, Params

_ROOT = mctx.Tree.ROOT_INDEX
_NONE = mctx.Tree.UNVISITED
# What is kept of an edge, in the order in which rules need it. All of a node
# lies together, in one row of 5 A numbers: on a CPU a search waits for memory
# more than it computes, and rows without inner axes are copied fastest.
_Q, _VISITS, _PRIOR, _CHILD, _LOGITS = range(5)
_FIELDS = 5
# What is kept of a node: mean value, visits, reward and discount of the edge
# that leads to it, where that edge comes from, and the model's value.
_MEAN, _COUNT, _REWARD, _DISCOUNT, _PARENT, _ACTION, _RAW = range(7)


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


class _State(NamedTuple):
  """B growing trees of N nodes with A edges each."""

  # [B, N, 5 A] q-values, visits, prior probabilities, nodes behind the edges
  # (whole numbers, -1 for none) and prior logits.
  edges: Array
  nodes: Array  # [B, N, 7], whole numbers too.
  embeddings: Any  # [B, N, ...]
  invalid_actions: Array | None  # [B, N, A] bool, if the model tells.
  low: Array | None  # [B] least q-value that any backup has seen.
  high: Array | None  # [B] largest.


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
    ValueError: if `num_simulations` or `max_depth` is below 1, or
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
      raise ValueError(f'{name}={number}: must be at least 1')
  chex.assert_rank([root.prior_logits, root.value], [2, 1])
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

  def simulate(sim: Array, carry: tuple[Array, _State]) -> Any:
    rng_key, state = carry
    rng_key, descend_key, expand_key = jax.random.split(rng_key, 3)
    parent, action, known = _descend(setting, descend_key, state)
    # Node i + 1 is made by simulation i, but for one that the depth limit has
    # sent to an old leaf.
    leaf = jnp.full_like(parent, sim + 1)
    made: Any = sim + 1
    if setting.limit < num_simulations:
      leaf = made = jnp.where(known == _NONE, leaf, known)
    state = _expand(
      params, expand_key, state, recurrent_fn, parent, action, leaf, made
    )
    return rng_key, _backup(state, leaf)

  state = _init(
    root, num_simulations, interior_masks,
    setting.select_root.needs_extremes
    or setting.select_interior.needs_extremes,
    invalid_actions,
  )
  _, state = loop_fn(0, num_simulations, simulate, (rng_key, state))
  tree = _tree(setting, state)
  edges = _edges(state, None, _FIELDS)
  everything = Selection(
    setting.select_root.select, needs_logits=True, needs_tree=True
  )
  return tree, _nodes(
    setting, state, everything, tree, None, jnp.zeros((), jnp.int32), edges
  )


def num_bytes(
  batch_size: int, num_actions: int, num_simulations: int, embedding: Any
) -> int:
  """Returns the bytes of a tree of 32-bit values, allocating nothing.

  B (S + 1) (20 + 24 A + e) + 4 B A: five numbers per node, six per edge, e
  bytes of embedding; and a flag for each action of a root. While it searches,
  it holds B (S + 1) (28 + 20 A + e) bytes.

  Args:
    batch_size: B.
    num_actions: A.
    num_simulations: S.
    embedding: of a root, [B, ...] arrays or their shapes.
  """
  embedded = sum(
    x.size // batch_size * x.dtype.itemsize for x in jax.tree.leaves(embedding)
  )
  per_node = 20 + 24 * num_actions + embedded
  return (
    batch_size * (num_simulations + 1) * per_node
    + 4 * batch_size * num_actions
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
  setting: _Setting, rng_key: Array, state: _State
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
    tree = _tree(setting, state)

  def choose(
    rule: Selection, keys: Array | None, node: Array | None, depth: Array
  ) -> tuple[Array | None, Array, Array]:
    now = None
    if keys is not None:
      pair = jax.vmap(jax.random.split)(keys)
      keys, now = pair[:, 0], pair[:, 1]
    edges = _edges(state, node, _LOGITS + rule.needs_logits)
    nodes = _nodes(setting, state, rule, tree, node, depth, edges)
    action = rule.select(now, nodes)
    is_chosen = jnp.arange(edges[_CHILD].shape[-1]) == action[:, None]
    child = jnp.where(is_chosen, edges[_CHILD], 0).sum(axis=-1)
    return keys, action, child.astype(jnp.int32)

  keys, action, child = choose(
    setting.select_root, keys, None, jnp.zeros((), jnp.int32)
  )
  node = jnp.full(batch_size, _ROOT, jnp.int32)
  if setting.limit == 1:
    return node, action, child

  def step(at: _Descent) -> _Descent:
    # Whoever has arrived looks at the root, which always exists.
    node = jnp.where(at.active, at.child, _ROOT)
    keys, action, child = choose(
      setting.select_interior, at.keys, node, at.depth
    )
    depth = at.depth + 1
    return _Descent(
      keys,
      jnp.where(at.active, node, at.node),
      jnp.where(at.active, action, at.action),
      jnp.where(at.active, child, at.child),
      at.active & (child != _NONE) & (depth < setting.limit),
      depth,
    )

  end = jax.lax.while_loop(
    lambda at: at.active.any(),
    step,
    _Descent(
      keys, node, action, child, child != _NONE, jnp.ones((), jnp.int32)
    ),
  )
  return end.node, end.action, end.child


def _edges(state: _State, node: Array | None, count: int) -> list[Array]:
  """Returns the first `count` numbers, each [B, A], of one node's edges."""
  width = count * _num_actions(state)
  if node is None:
    rows = state.edges[:, _ROOT, :width]
  else:
    first = jnp.zeros_like(node[0])  # Of node's own type, also under x64.
    rows = jax.vmap(
      lambda tree, row: jax.lax.dynamic_slice(
        tree, (row, first), (1, width)
      )[0]
    )(state.edges, node)
  return jnp.split(rows, count, axis=-1)


def _nodes(
  setting: _Setting,
  state: _State,
  rule: Selection,
  tree: mctx.Tree | None,
  node: Array | None,
  depth: Array,
  edges: list[Array],
) -> Nodes:
  """Returns what a rule sees of one node [B] of each tree; None: the root."""
  illegal = state.invalid_actions
  read = lambda x: x[:, _ROOT] if node is None else _read(x, node)
  row = read(state.nodes)
  return Nodes(
    qvalues=edges[_Q],
    visits=edges[_VISITS],
    prior=edges[_PRIOR],
    logits=edges[_LOGITS] if rule.needs_logits else None,
    node_visits=row[:, _COUNT],
    values=row[:, _MEAN],
    raw_values=row[:, _RAW],
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
  state: _State,
  recurrent_fn: Callable[..., Any],
  parent: Array,
  action: Array,
  leaf: Array,
  made: Array,
) -> _State:
  """Returns the trees with each leaf [B] evaluated; `made` as in `_fill`."""
  batch_size, num_actions = state.edges.shape[0], _num_actions(state)
  embedding = jax.tree.map(lambda x: _read(x, parent), state.embeddings)
  step, embedding = recurrent_fn(params, rng_key, action, embedding)
  chex.assert_shape([step.reward, step.discount, step.value], (batch_size,))
  chex.assert_shape(step.prior_logits, (batch_size, num_actions))
  mask = getattr(step, 'invalid_actions', None)
  if (mask is None) != (state.invalid_actions is None):
    raise ValueError(
      f'interior_masks={mask is None}: recurrent_fn returns '
      f'{"no" if mask is None else "an"} invalid_actions'
    )
  illegal = state.invalid_actions
  if illegal is not None:
    illegal = _fill(illegal, jnp.asarray(mask) > 0, made)
  edges = _fill(state.edges, _new_edges(step.prior_logits, state), made)
  # A leaf at the depth limit has been here before, but has no children.
  visits = _read(state.nodes, leaf)[:, _COUNT] + 1
  row = jnp.stack(
    [
      x.astype(state.nodes.dtype) for x in (
        step.value, visits, step.reward, step.discount, parent, action,
        step.value,
      )
    ],
    axis=-1,
  )
  return state._replace(
    edges=_write(edges, leaf, parent, _CHILD * num_actions + action),
    nodes=_fill(state.nodes, row, made),
    embeddings=jax.tree.map(
      lambda x, new: _fill(x, new, made), state.embeddings, embedding
    ),
    invalid_actions=illegal,
  )


class _Ascent(NamedTuple):
  """Where each of B backups stands, and what it changes."""

  child: Array  # [B] i32, node whose edge is updated next; 0 at the end.
  row: Array  # [B, 7] of that node.
  value: Array  # [B] return from the child on.
  nodes: Array  # [B, N, 7]
  edges: Array  # [B, N, 5 A]
  low: Array | None  # [B] least q-value seen so far.
  high: Array | None  # [B] largest.


def _backup(state: _State, leaf: Array) -> _State:
  """Returns the trees with the leaves' values averaged into their paths."""
  batch_size, num_nodes, _ = state.nodes.shape
  batch, num_actions = jnp.arange(batch_size)[:, None], _num_actions(state)
  both = jnp.arange(2)

  def step(at: _Ascent) -> _Ascent:
    active = at.child != _ROOT
    # What is over reads of the root, and writes nowhere.
    node = jnp.where(active, at.row[:, _PARENT], _ROOT).astype(jnp.int32)
    target = jnp.where(active, node, num_nodes)[:, None]
    row = _read(at.nodes, node)
    reward, discount = at.row[:, _REWARD], at.row[:, _DISCOUNT]
    value = reward + discount * at.value
    visits = row[:, _COUNT]
    mean = (row[:, _MEAN] * visits + value) / (visits + 1.0)
    quality = reward + discount * at.row[:, _MEAN]
    low, high = at.low, at.high
    if low is not None and high is not None:
      low = jnp.where(active, jnp.minimum(low, quality), low)
      high = jnp.where(active, jnp.maximum(high, quality), high)
    write = lambda x, index, *new: x.at[batch, target, index].set(
      jnp.stack(new, axis=-1), mode='drop', unique_indices=True
    )
    # An edge has been taken as often as the node behind it was visited.
    action = at.row[:, _ACTION].astype(jnp.int32)[:, None]
    return _Ascent(
      child=node,
      row=row.at[:, _MEAN].set(mean).at[:, _COUNT].set(visits + 1),
      value=value,
      nodes=write(at.nodes, both, mean, visits + 1),
      edges=write(
        at.edges, num_actions * both + action, quality, at.row[:, _COUNT]
      ),
      low=low,
      high=high,
    )

  row = _read(state.nodes, leaf)
  end = jax.lax.while_loop(
    lambda at: (at.child != _ROOT).any(),
    step,
    _Ascent(
      leaf, row, row[:, _MEAN], state.nodes, state.edges, state.low,
      state.high,
    ),
  )
  return state._replace(
    nodes=end.nodes, edges=end.edges, low=end.low, high=end.high
  )


def _read(x: Array, *index: Array) -> Array:
  """Returns entries x[b, index[b], ...] that exist, one of each tree."""
  batch = jnp.arange(x.shape[0])
  return x.at[batch, *index].get(mode='promise_in_bounds')


def _write(x: Array, new: Array, *index: Array) -> Array:
  """Returns x with x[b, index[b], ...] = new[b]; they exist."""
  batch = jnp.arange(x.shape[0])
  return x.at[batch, *index].set(
    new.astype(x.dtype), mode='promise_in_bounds', unique_indices=True
  )


def _fill(x: Array, new: Array, node: Array) -> Array:
  """Returns x [B, N, ...] with new rows of one node of each tree.

  Args:
    x: all rows.
    new: [B, ...]
    node: [B], or [] where it is the same in all trees: then it is one slice,
      faster than a scatter.
  """
  if node.ndim:
    return _write(x, new, node)
  return jax.lax.dynamic_update_index_in_dim(x, new.astype(x.dtype), node, 1)


def _num_actions(state: _State) -> int:
  return state.edges.shape[-1] // _FIELDS


def _new_edges(logits: Array, state: _State) -> Array:
  """Returns edges [B, 5 A] that nothing has visited."""
  logits = logits.astype(state.edges.dtype)
  zero = jnp.zeros_like(logits)
  prior = jax.nn.softmax(logits)
  return jnp.concatenate([zero, zero, prior, zero + _NONE, logits], axis=1)


def _init(
  root: mctx.RootFnOutput,
  num_simulations: int,
  interior_masks: bool,
  needs_extremes: bool,
  invalid_actions: Array,
) -> _State:
  """Returns trees that consist of their roots."""
  batch_size, num_actions = root.prior_logits.shape
  nodes = (batch_size, num_simulations + 1)
  # Visits are counted here too, and bfloat16 ends at 256.
  dtype = jnp.promote_types(
    jnp.promote_types(root.value.dtype, root.prior_logits.dtype), jnp.float32
  )
  def start(x: Array, dtype: Any = None) -> Array:
    empty = jnp.zeros((*nodes, *x.shape[1:]), dtype or x.dtype)
    return empty.at[:, _ROOT].set(x)

  illegal = None
  if interior_masks:
    illegal = jnp.zeros((*nodes, num_actions), bool)
    illegal = illegal.at[:, _ROOT].set(jnp.asarray(invalid_actions) > 0)
  extreme = lambda x: (
    jnp.full(batch_size, x, dtype) if needs_extremes else None
  )
  state = _State(
    edges=jnp.zeros((*nodes, _FIELDS * num_actions), dtype),
    nodes=jnp.zeros((*nodes, 7), dtype),
    embeddings=jax.tree.map(start, root.embedding),
    invalid_actions=illegal,
    low=extreme(jnp.inf),
    high=extreme(-jnp.inf),
  )
  value = root.value.astype(dtype)
  none = jnp.full_like(value, mctx.Tree.NO_PARENT)
  zero, one = jnp.zeros_like(value), jnp.ones_like(value)
  row = jnp.stack([value, one, zero, zero, none, none, value], axis=-1)
  return state._replace(
    edges=state.edges.at[:, _ROOT].set(_new_edges(root.prior_logits, state)),
    nodes=state.nodes.at[:, _ROOT].set(row),
  )


def _tree(setting: _Setting, state: _State) -> mctx.Tree:
  """Returns the trees in mctx's layout."""
  edges = jnp.split(state.edges, _FIELDS, axis=-1)
  nodes = [state.nodes[:, :, field] for field in range(state.nodes.shape[-1])]
  # Nodes that were never made have no parents and no edges, but zeros there.
  exists = nodes[_COUNT] > 0
  number = lambda x: jnp.where(exists, x, _NONE).astype(jnp.int32)
  children = jnp.where(exists[:, :, None], edges[_CHILD], _NONE)
  children = children.astype(jnp.int32)

  def of_children(x: Array) -> Array:
    """[B, N] of nodes -> [B, N, A] of the edges that lead to them."""
    found = jax.vmap(lambda row, index: row[index])(
      x, jnp.maximum(children, 0)
    )
    return jnp.where(children == _NONE, 0, found).astype(setting.value_dtype)

  return mctx.Tree(  # type: ignore[call-arg]
    node_visits=nodes[_COUNT].astype(jnp.int32),
    raw_values=nodes[_RAW].astype(setting.value_dtype),
    node_values=nodes[_MEAN].astype(setting.value_dtype),
    parents=number(nodes[_PARENT]),
    action_from_parent=number(nodes[_ACTION]),
    children_index=children,
    children_prior_logits=edges[_LOGITS].astype(setting.logits_dtype),
    children_values=of_children(nodes[_MEAN]),
    children_visits=edges[_VISITS].astype(jnp.int32),
    children_rewards=of_children(nodes[_REWARD]),
    children_discounts=of_children(nodes[_DISCOUNT]),
    embeddings=state.embeddings,
    root_invalid_actions=setting.invalid_actions,
    extra_data=setting.extra_data,
  )
