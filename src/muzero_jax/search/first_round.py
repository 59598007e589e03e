"""The first simulations of a search, in one call of the model where that pays.

Some rules take the same first actions at the root whatever they lead to:
Sequential Halving visits each of its candidates once before it looks at any
result. Then the simulations do not depend on each other, and neither the trees
nor the use of `rng_key` differ from what one after the other would make.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from muzero_jax.search import trees
from muzero_jax.types import Array, Params


def play(
  params: Params,
  rng_key: Array,
  state: trees.State,
  recurrent_fn: Callable[..., Any],
  actions: Array,
) -> tuple[Array, trees.State]:
  """Returns the key and the trees after k simulations.

  Args:
    params: for `recurrent_fn`.
    rng_key: of the search.
    state: trees that consist of their roots.
    recurrent_fn: as for `search`.
    actions: [B, k] of the roots, all different, in the order of simulations.
  """
  num = actions.shape[1]
  size = _per_call(num)
  rng_key, keys = jax.lax.scan(_split, rng_key, length=num)
  roots = jax.tree.map(lambda x: x[:, trees.ROOT], state.embeddings)

  def model(keys: Array, actions: Array) -> tuple[Any, Any]:
    if size > 1:
      together = jax.vmap(
        recurrent_fn, in_axes=(None, 0, 0, None), out_axes=1
      )
      return together(params, keys, actions, roots)
    # Models that cannot be vmapped are welcome.
    found = recurrent_fn(params, keys[0], actions[0], roots)
    return jax.tree.map(lambda x: x[:, None], found)

  def expand(state: trees.State, chunk: tuple[Array, ...]) -> Any:
    first, keys, actions = chunk
    step, embeddings = model(keys, actions)
    shape = actions.T.shape
    trees.check_outputs(step, shape, trees.num_actions_of(state))
    mask = trees.checked_mask(step, state)
    taken = actions.T
    rows = trees.new_rows(
      step, jnp.ones_like(step.value), jnp.full_like(taken, trees.ROOT),
      taken, state,
    )
    fill = lambda x, new: jax.lax.dynamic_update_slice_in_dim(
      x, new.astype(x.dtype), trees.ROOT + 1 + first, axis=1
    )
    return state._replace(
      edges=fill(state.edges, trees.new_edges(step.prior_logits, state)),
      nodes=fill(state.nodes, rows),
      embeddings=jax.tree.map(fill, state.embeddings, embeddings),
      invalid_actions=(
        None if mask is None else fill(state.invalid_actions, mask)
      ),
    ), None

  chunks = (jnp.arange(0, num, size), *(
    x.reshape(-1, size, *x.shape[1:]) for x in (keys, actions.T)
  ))
  state, _ = jax.lax.scan(expand, state, chunks)
  return rng_key, _backup(state, actions)


def _per_call(num: int) -> int:
  """Returns how many of k simulations a call of the model makes.

  One on a CPU: more rows than keep it busy gain nothing there, and convolutions
  of many rows leave its cache (Go 9x9, B 64, k 16: 21 % slower all at once).
  """
  return 1 if jax.default_backend() == 'cpu' else num


def _split(rng_key: Array, _: None) -> tuple[Array, Array]:
  """Returns the search's next key and that of its model."""
  rng_key, _, expand_key = jax.random.split(rng_key, 3)
  return rng_key, expand_key


def _backup(state: trees.State, actions: Array) -> trees.State:
  """Returns the trees with the first k nodes' values in their roots."""
  batch_size, num = actions.shape
  rows = state.nodes[:, trees.ROOT + 1:trees.ROOT + 1 + num]
  qualities = rows[:, :, trees.REWARD] + (
    rows[:, :, trees.DISCOUNT] * rows[:, :, trees.MEAN]
  )

  def average(root: tuple[Array, Array], quality: Array) -> Any:
    mean, visits = root
    return ((mean * visits + quality) / (visits + 1), visits + 1), None

  root = state.nodes[:, trees.ROOT]
  # One by one, so that sums round as in a backup of each.
  (mean, visits), _ = jax.lax.scan(
    average, (root[:, trees.MEAN], root[:, trees.COUNT]), qualities.T
  )
  root = root.at[:, trees.MEAN].set(mean).at[:, trees.COUNT].set(visits)
  num_actions = trees.num_actions_of(state)
  batch = jnp.arange(batch_size)[:, None]
  children = trees.ROOT + 1 + jnp.arange(num)
  edges = state.edges[:, trees.ROOT]
  for field, new in (
    (trees.Q, qualities), (trees.VISITS, 1), (trees.CHILD, children)
  ):
    edges = edges.at[batch, field * num_actions + actions].set(
      jnp.asarray(new, edges.dtype), mode='promise_in_bounds',
      unique_indices=True,
    )
  low, high = state.low, state.high
  if low is not None and high is not None:
    low = jnp.minimum(low, qualities.min(axis=1))
    high = jnp.maximum(high, qualities.max(axis=1))
  return state._replace(
    edges=state.edges.at[:, trees.ROOT].set(edges),
    nodes=state.nodes.at[:, trees.ROOT].set(root),
    low=low,
    high=high,
  )
