"""Values of new leaves into the means of their paths, for a batch of trees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax.search import trees
from muzero_jax.types import Array


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
