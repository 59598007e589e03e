"""A search that many agents share: their trees as one batch.

`jax.vmap` over a search would turn its loops into loops that select over whole
trees at every turn. Instead, B roots of each of S agents become S B roots, and
only the model is vmapped, over the agents' parameters.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

from muzero_jax.search import keys
from muzero_jax.types import Array

# root_fn, recurrent functions -> search; as `make` binds them.
Build = Callable[..., Callable[..., Any]]


def foldable(
  build: Build,
  root_fn: Callable[..., Any],
  *recurrent_fns: Callable[..., Any],
) -> Callable[..., Any]:
  """Returns build(root_fn, *recurrent_fns), with a `vmap` of its own.

  Args:
    build: makes a function of (params, rng_key, observation [B, ...],
      legal_actions [B, A], temperature [B]) whose outputs have an axis B. An
      observation may be a pytree.
    root_fn: (params, observation) -> root.
    *recurrent_fns: one, or one of decisions and one of chance: (params,
      rng_key, action, embedding) -> output, embedding; under `vmap` all agents
      share the key.

  Returns:
    The function. Under `vmap` each agent's noise is drawn from its own key
    (`keys.draw`), as if it searched alone.
  """
  search = jax.custom_batching.custom_vmap(
    build(root_fn, *recurrent_fns)
  )
  search.def_vmap(functools.partial(_fold, build, root_fn, recurrent_fns))
  return search


def _fold(
  build: Build,
  root_fn: Callable[..., Any],
  recurrent_fns: tuple[Callable[..., Any], ...],
  axis_size: int,
  in_batched: Any,
  *args: Any,
) -> tuple[Any, Any]:
  """Search S agents' trees as one batch; what `def_vmap` takes, once bound."""
  params, rng_key, *arrays = jax.tree.map(
    lambda x, batched: x if batched else jax.numpy.broadcast_to(
      x, (axis_size, *x.shape)
    ),
    args,
    tuple(in_batched),
  )
  flat = lambda x: x.reshape(-1, *x.shape[2:])
  split = lambda x: x.reshape(axis_size, -1, *x.shape[1:])

  def roots(params: Any, observation: Array) -> Any:
    found = jax.vmap(root_fn)(params, jax.tree.map(split, observation))
    return jax.tree.map(flat, found)

  def step(
    recurrent_fn: Callable[..., Any],
    params: Any,
    rng_key: Array,
    action: Array,
    embedding: Any,
  ) -> Any:
    found = jax.vmap(recurrent_fn, in_axes=(0, None, 0, 0))(
      params, rng_key, split(action), jax.tree.map(split, embedding)
    )
    return jax.tree.map(flat, found)

  steps = [functools.partial(step, fn) for fn in recurrent_fns]
  found = build(roots, *steps)(
    params, keys.of_groups(rng_key), *jax.tree.map(flat, arrays)
  )
  return jax.tree.map(split, found), jax.tree.map(lambda _: True, found)
