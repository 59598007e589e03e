"""How q-values are scaled before they are compared with anything.

mctx's transforms of one tree become `QTransform`s of a batch of nodes.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx

from muzero_jax.search.nodes import Nodes
from muzero_jax.types import Array


class QTransform(NamedTuple):
  """A scaling of q-values for a batch of nodes."""

  scale: Callable[[Nodes], Array]  # -> [B, A]
  # Whether a node's unvisited actions all get the same number, of the size of
  # the scale at most.
  completes_alike: bool = False
  needs_extremes: bool = False
  needs_tree: bool = False


def batched_qtransform(qtransform: Any) -> QTransform:
  """Returns a transform for a batch of nodes from one for one tree.

  mctx's own, also with some of their keywords bound, and `qtransform_by_tree`
  become what reads only the nodes; any other is vmapped over whole trees.
  """
  function: Any = qtransform
  keywords: dict[str, Any] = {}
  if isinstance(qtransform, functools.partial) and not qtransform.args:
    function, keywords = qtransform.func, qtransform.keywords
  if function is qtransform_by_tree:
    return QTransform(_by_extremes, needs_extremes=True)
  known: dict[Any, Callable[..., Array]] = {
    mctx.qtransform_by_min_max: _by_min_max,
    mctx.qtransform_by_parent_and_siblings: _by_parent_and_siblings,
    mctx.qtransform_completed_by_mix_value: _completed_by_mix_value,
    qtransform_above_noise: _completed_by_mix_value,
  }
  if function in known:
    return QTransform(
      functools.partial(known[function], **keywords),
      completes_alike=known[function] is _completed_by_mix_value
      and keywords.get('rescale_values', True) is True,
    )
  return QTransform(
    lambda nodes: jax.vmap(qtransform)(nodes.tree, nodes.node),
    needs_tree=True,
  )


def qtransform_by_tree(tree: mctx.Tree, node_index: Array) -> Array:
  """Returns a node's q-values scaled by the extremes of the whole tree.

  (q - min) / (max - min) over q = r + gamma v of every visited edge (MuZero,
  equation 5; Unplugged normalises q, not v); 0 for unvisited actions. In our
  search it stands for the extremes of all q-values that any backup has seen,
  as in the paper's pseudocode; called by itself, for one tree of mctx, it
  scales by those that the tree holds now.

  Args:
    tree: unbatched.
    node_index: of the node whose q-values are wanted.

  Returns:
    [A] values in [0, 1].
  """
  qvalues = tree.children_rewards + (
    tree.children_discounts * tree.children_values
  )
  visited = tree.children_visits > 0
  low = jnp.min(qvalues, where=visited, initial=jnp.inf)
  high = jnp.max(qvalues, where=visited, initial=-jnp.inf)
  scaled = (qvalues[node_index] - low) / jnp.maximum(high - low, 1e-8)
  return jnp.where(visited[node_index], scaled, 0.0)


def qtransform_above_noise(
  tree: mctx.Tree,
  node_index: Array,
  *,
  value_scale: float = 0.1,
  maxvisit_init: float = 50.0,
  epsilon: float = 1e-8,
) -> Array:
  """Returns mctx's completed q-values, scaled with regard to their noise.

  As `mctx.qtransform_completed_by_mix_value`, but a node's q-values are
  divided by their range only if that is larger than `epsilon`, else by
  `epsilon`: what differs by less is noise, and must not decide.

  Args:
    tree: unbatched.
    node_index: of the node whose q-values are wanted.
    value_scale: c_scale of sigma(q).
    maxvisit_init: c_visit of sigma(q).
    epsilon: least range.

  Returns:
    [A] sigma(completed q).
  """
  row = lambda x: x[node_index][None]
  none: Any = (None,) * len(Nodes._fields)
  return _completed_by_mix_value(
    Nodes(*none)._replace(
      qvalues=tree.qvalues(node_index)[None],
      visits=row(tree.children_visits),
      prior=jax.nn.softmax(row(tree.children_prior_logits)),
      raw_values=row(tree.raw_values),
    ),
    value_scale=value_scale,
    maxvisit_init=maxvisit_init,
    epsilon=epsilon,
  )[0]


def _by_extremes(nodes: Nodes) -> Array:
  """Returns q-values [B, A] scaled by the extremes seen; 0 if unvisited."""
  assert nodes.low is not None and nodes.high is not None
  low = nodes.low[:, None]
  scale = jnp.maximum(nodes.high[:, None] - low, 1e-8)
  return jnp.where(nodes.visits > 0, (nodes.qvalues - low) / scale, 0.0)


def _by_min_max(nodes: Nodes, *, min_value: Any, max_value: Any) -> Array:
  """Returns q-values [B, A] scaled by given extremes; 0 if unvisited."""
  quality = jnp.where(nodes.visits > 0, nodes.qvalues, min_value)
  return (quality - min_value) / (max_value - min_value)


def _by_parent_and_siblings(nodes: Nodes, *, epsilon: Any = 1e-8) -> Array:
  """Returns q-values [B, A] scaled over a node and its children."""
  visited = nodes.visits > 0
  value = nodes.values[:, None]
  safe = jnp.where(visited, nodes.qvalues, value)
  low = jnp.minimum(value, safe.min(axis=-1, keepdims=True))
  high = jnp.maximum(value, safe.max(axis=-1, keepdims=True))
  scaled = (nodes.qvalues - low) / jnp.maximum(high - low, epsilon)
  return jnp.where(visited, scaled, 0.0)


def _completed_by_mix_value(
  nodes: Nodes,
  *,
  value_scale: Any = 0.1,
  maxvisit_init: Any = 50.0,
  rescale_values: bool = True,
  use_mixed_value: bool = True,
  epsilon: Any = 1e-8,
) -> Array:
  """Returns sigma(completed q) [B, A] (Gumbel MuZero, equations 8 and 10)."""
  value = nodes.raw_values
  if use_mixed_value:
    value = mixed_value(value, nodes.prior, nodes.qvalues, nodes.visits)
  completed = jnp.where(nodes.visits > 0, nodes.qvalues, value[:, None])
  if rescale_values:
    low = completed.min(axis=-1, keepdims=True)
    high = completed.max(axis=-1, keepdims=True)
    completed = (completed - low) / jnp.maximum(high - low, epsilon)
  scale = (maxvisit_init + nodes.visits.max(axis=-1)) * value_scale
  return scale[:, None] * completed


def mixed_value(
  value: Array, prior: Array, qvalues: Array, visits: Array
) -> Array:
  """Returns v_mix, the root value that Gumbel MuZero's search arrives at.

  (v + N sum_a pi(a) q(a) / sum_a pi(a)) / (1 + N) over the visited actions a,
  N visits in all (Gumbel MuZero, appendix D). The mean of the tree would not
  do: sequential halving visits bad actions as often as good ones.

  Args:
    value: [B] the network's value of the node, which counts as one visit.
    prior: [B, A] the network's policy.
    qvalues: [B, A] searched, any number where not visited.
    visits: [B, A]
  """
  visited = visits > 0
  # However unlikely, a visited action has a say.
  prior = jnp.maximum(prior, jnp.finfo(prior.dtype).tiny)
  prior = jnp.where(visited, prior, 0.0)
  total = prior.sum(axis=-1, keepdims=True)
  weighted = prior * qvalues / jnp.where(visited, total, 1.0)
  searched = jnp.sum(jnp.where(visited, weighted, 0.0), axis=-1)
  count = visits.sum(axis=-1)
  return (value + count * searched) / (count + 1)
