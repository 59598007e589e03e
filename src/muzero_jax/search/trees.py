"""How growing trees are stored, and how they become mctx's.

What a rule reads of a node lies together, so that it is fetched as one piece,
with the q-value and the prior's softmax already made.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.errors import UserError
from muzero_jax.types import Array

ROOT = mctx.Tree.ROOT_INDEX
NONE = mctx.Tree.UNVISITED
# What is kept of an edge, in the order in which rules need it. All of a node
# lies together, in one row of 5 A numbers: on a CPU a search waits for memory
# more than it computes, and rows without inner axes are copied fastest.
Q, VISITS, PRIOR, CHILD, LOGITS = range(5)
FIELDS = 5
# What is kept of a node: mean value, visits, reward and discount of the edge
# that leads to it, where that edge comes from, and the model's value.
MEAN, COUNT, REWARD, DISCOUNT, PARENT, ACTION, RAW = range(7)


class State(NamedTuple):
  """B growing trees of N nodes with A edges each."""

  # [B, N, 5 A] q-values, visits, prior probabilities, nodes behind the edges
  # (whole numbers, -1 for none) and prior logits.
  edges: Array
  nodes: Array  # [B, N, 7], whole numbers too.
  embeddings: Any  # [B, N, ...]
  invalid_actions: Array | None  # [B, N, A] bool, if the model tells.
  low: Array | None  # [B] least q-value that any backup has seen.
  high: Array | None  # [B] largest.


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


def edges_of(state: State, node: Array | None, count: int) -> list[Array]:
  """Returns the first `count` numbers, each [B, A], of one node's edges."""
  width = count * num_actions_of(state)
  if node is None:
    rows = state.edges[:, ROOT, :width]
  else:
    first = jnp.zeros_like(node[0])  # Of node's own type, also under x64.
    rows = jax.vmap(
      lambda tree, row: jax.lax.dynamic_slice(
        tree, (row, first), (1, width)
      )[0]
    )(state.edges, node)
  return jnp.split(rows, count, axis=-1)


def read(x: Array, *index: Array) -> Array:
  """Returns entries x[b, index[b], ...] that exist, one of each tree."""
  batch = jnp.arange(x.shape[0])
  return x.at[batch, *index].get(mode='promise_in_bounds')


def write(x: Array, new: Array, *index: Array) -> Array:
  """Returns x with x[b, index[b], ...] = new[b]; they exist."""
  batch = jnp.arange(x.shape[0])
  return x.at[batch, *index].set(
    new.astype(x.dtype), mode='promise_in_bounds', unique_indices=True
  )


def fill(x: Array, new: Array, node: Array) -> Array:
  """Returns x [B, N, ...] with new rows of one node of each tree.

  Args:
    x: all rows.
    new: [B, ...]
    node: [B], or [] where it is the same in all trees: then it is one slice,
      faster than a scatter.
  """
  if node.ndim:
    return write(x, new, node)
  return jax.lax.dynamic_update_index_in_dim(x, new.astype(x.dtype), node, 1)


def num_actions_of(state: State) -> int:
  """Returns A."""
  return state.edges.shape[-1] // FIELDS


def check_outputs(
  step: Any, shape: tuple[int, ...], num_actions: int
) -> None:
  """Checks the shapes of a model's outputs.

  Raises:
    AssertionError: names the output, its shape and the right one.
  """
  for name in ('reward', 'discount', 'value'):
    chex.assert_shape(
      getattr(step, name), shape, custom_message=f"recurrent_fn's {name}")
  chex.assert_shape(
    step.prior_logits, (*shape, num_actions),
    custom_message="recurrent_fn's prior_logits")


def checked_mask(step: Any, state: State) -> Array | None:
  """Returns a model's mask of illegal actions, or None if trees have none.

  Raises:
    UserError: if one of the two has masks and the other has not.
  """
  mask = getattr(step, 'invalid_actions', None)
  if (mask is None) != (state.invalid_actions is None):
    raise UserError(
      f'interior_masks={mask is None}: recurrent_fn returns '
      f'{"no" if mask is None else "an"} invalid_actions'
    )
  return None if mask is None else jnp.asarray(mask) > 0


def new_rows(
  step: Any, visits: Array, parent: Array, action: Array, state: State
) -> Array:
  """Returns rows [..., 7] of new nodes, from a model's outputs [...]."""
  return jnp.stack(
    [
      x.astype(state.nodes.dtype) for x in (
        step.value, visits, step.reward, step.discount, parent, action,
        step.value,
      )
    ],
    axis=-1,
  )


def new_edges(logits: Array, state: State) -> Array:
  """Returns edges [..., 5 A] that nothing has visited."""
  logits = logits.astype(state.edges.dtype)
  zero = jnp.zeros_like(logits)
  prior = jax.nn.softmax(logits)
  return jnp.concatenate([zero, zero, prior, zero + NONE, logits], axis=-1)


def init(
  root: mctx.RootFnOutput,
  num_simulations: int,
  interior_masks: bool,
  needs_extremes: bool,
  invalid_actions: Array,
) -> State:
  """Returns trees that consist of their roots."""
  batch_size, num_actions = root.prior_logits.shape
  nodes = (batch_size, num_simulations + 1)
  # Visits are counted here too, and bfloat16 ends at 256.
  dtype = jnp.promote_types(
    jnp.promote_types(root.value.dtype, root.prior_logits.dtype), jnp.float32
  )
  def start(x: Array, dtype: Any = None) -> Array:
    empty = jnp.zeros((*nodes, *x.shape[1:]), dtype or x.dtype)
    return empty.at[:, ROOT].set(x)

  illegal = None
  if interior_masks:
    illegal = jnp.zeros((*nodes, num_actions), bool)
    illegal = illegal.at[:, ROOT].set(jnp.asarray(invalid_actions) > 0)
  extreme = lambda x: (
    jnp.full(batch_size, x, dtype) if needs_extremes else None
  )
  state = State(
    edges=jnp.zeros((*nodes, FIELDS * num_actions), dtype),
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
    edges=state.edges.at[:, ROOT].set(new_edges(root.prior_logits, state)),
    nodes=state.nodes.at[:, ROOT].set(row),
  )


def layout(
  state: State,
  *,
  invalid_actions: Array,
  extra_data: Any,
  value_dtype: Any,
  logits_dtype: Any,
) -> mctx.Tree:
  """Returns the trees in mctx's layout."""
  edges = jnp.split(state.edges, FIELDS, axis=-1)
  nodes = [state.nodes[:, :, field] for field in range(state.nodes.shape[-1])]
  # Nodes that were never made have no parents and no edges, but zeros there.
  exists = nodes[COUNT] > 0
  number = lambda x: jnp.where(exists, x, NONE).astype(jnp.int32)
  children = jnp.where(exists[:, :, None], edges[CHILD], NONE)
  children = children.astype(jnp.int32)

  def of_children(x: Array) -> Array:
    """[B, N] of nodes -> [B, N, A] of the edges that lead to them."""
    found = jax.vmap(lambda row, index: row[index])(
      x, jnp.maximum(children, 0)
    )
    return jnp.where(children == NONE, 0, found).astype(value_dtype)

  return mctx.Tree(  # type: ignore[call-arg]
    node_visits=nodes[COUNT].astype(jnp.int32),
    raw_values=nodes[RAW].astype(value_dtype),
    node_values=nodes[MEAN].astype(value_dtype),
    parents=number(nodes[PARENT]),
    action_from_parent=number(nodes[ACTION]),
    children_index=children,
    children_prior_logits=edges[LOGITS].astype(logits_dtype),
    children_values=of_children(nodes[MEAN]),
    children_visits=edges[VISITS].astype(jnp.int32),
    children_rewards=of_children(nodes[REWARD]),
    children_discounts=of_children(nodes[DISCOUNT]),
    embeddings=state.embeddings,
    root_invalid_actions=invalid_actions,
    extra_data=extra_data,
  )
