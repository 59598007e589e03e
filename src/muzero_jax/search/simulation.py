"""One simulation of each of B trees: descend to a leaf, expand it, back it up.

Every loop runs over the whole batch and touches only the nodes that it visits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.search import trees
from muzero_jax.search.qtransforms import Nodes
from muzero_jax.search.selection import Selection
from muzero_jax.types import Array, Params


class Setting(NamedTuple):
  """What stays the same in a search."""

  select_root: Selection
  select_interior: Selection
  limit: int  # Most edges from the root to a leaf.
  invalid_actions: Array  # [B, A] at the root.
  extra_data: Any
  value_dtype: Any
  logits_dtype: Any


def layout(setting: Setting, state: trees.State) -> mctx.Tree:
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


def descend(
  setting: Setting, rng_key: Array, state: trees.State
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
    tree = layout(setting, state)

  def choose(
    rule: Selection, keys: Array | None, node: Array | None, depth: Array
  ) -> tuple[Array | None, Array, Array]:
    now = None
    if keys is not None:
      pair = jax.vmap(jax.random.split)(keys)
      keys, now = pair[:, 0], pair[:, 1]
    edges = trees.edges_of(state, node, trees.LOGITS + rule.needs_logits)
    nodes = nodes_at(setting, state, rule, tree, node, depth, edges)
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


def nodes_at(
  setting: Setting,
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


def expand(
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
  chex.assert_shape([step.reward, step.discount, step.value], (batch_size,))
  chex.assert_shape(step.prior_logits, (batch_size, num_actions))
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


class _Ascent(NamedTuple):
  """Where each of B backups stands, and what it changes."""

  child: Array  # [B] i32, node whose edge is updated next; 0 at the end.
  row: Array  # [B, 7] of that node.
  value: Array  # [B] return from the child on.
  nodes: Array  # [B, N, 7]
  edges: Array  # [B, N, 5 A]
  low: Array | None  # [B] least q-value seen so far.
  high: Array | None  # [B] largest.


def backup(state: trees.State, leaf: Array, row: Array) -> trees.State:
  """Returns the trees with the leaves' values averaged into their paths."""
  batch_size, num_nodes, _ = state.nodes.shape
  batch = jnp.arange(batch_size)[:, None]
  num_actions = trees.num_actions_of(state)
  both = jnp.arange(2)

  def step(at: _Ascent) -> _Ascent:
    active = at.child != trees.ROOT
    # What is over reads of the root, and writes nowhere.
    parent = at.row[:, trees.PARENT].astype(jnp.int32)
    node = jnp.where(active, parent, trees.ROOT)
    target = jnp.where(active, node, num_nodes)[:, None]
    row = trees.read(at.nodes, node)
    reward, discount = at.row[:, trees.REWARD], at.row[:, trees.DISCOUNT]
    value = reward + discount * at.value
    visits = row[:, trees.COUNT]
    mean = (row[:, trees.MEAN] * visits + value) / (visits + 1.0)
    quality = reward + discount * at.row[:, trees.MEAN]
    low, high = at.low, at.high
    if low is not None and high is not None:
      low = jnp.where(active, jnp.minimum(low, quality), low)
      high = jnp.where(active, jnp.maximum(high, quality), high)
    write = lambda x, index, *new: x.at[batch, target, index].set(
      jnp.stack(new, axis=-1), mode='drop', unique_indices=True
    )
    # An edge has been taken as often as the node behind it was visited.
    action = at.row[:, trees.ACTION].astype(jnp.int32)[:, None]
    return _Ascent(
      child=node,
      row=row.at[:, trees.MEAN].set(mean).at[:, trees.COUNT].set(visits + 1),
      value=value,
      nodes=write(at.nodes, both, mean, visits + 1),
      edges=write(
        at.edges, num_actions * both + action, quality, at.row[:, trees.COUNT]
      ),
      low=low,
      high=high,
    )

  end = jax.lax.while_loop(
    lambda at: (at.child != trees.ROOT).any(),
    step,
    _Ascent(
      leaf, row, row[:, trees.MEAN], state.nodes, state.edges, state.low,
      state.high,
    ),
  )
  return state._replace(
    nodes=end.nodes, edges=end.edges, low=end.low, high=end.high
  )
