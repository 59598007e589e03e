"""Which action a simulation takes: rules for a batch of nodes at once.

pUCT (MuZero, appendix B) and Gumbel MuZero's root and interior rules. Each is
a `Selection`, which `engine.search` takes in place of mctx's functions of one
tree; those work too, vmapped.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from muzero_jax.types import Array


class Nodes(NamedTuple):
  """What a rule sees: one node of each of B trees."""

  qvalues: Array  # [B, A] r + discount v of each edge; 0 if not visited.
  visits: Array  # [B, A] of each edge, a float.
  prior: Array  # [B, A] softmax of the logits.
  logits: Array | None  # [B, A] for rules with `needs_logits`.
  node_visits: Array  # [B] i32
  values: Array  # [B] means.
  raw_values: Array  # [B] the model's.
  invalid_actions: Array | None  # [B, A] bool, if the model tells.
  low: Array | None  # [B] for rules with `needs_extremes`.
  high: Array | None  # [B]
  root_invalid_actions: Array  # [B, A] of the roots.
  extra_data: Any  # [B, ...] of the search.
  depth: Array  # [] of the nodes; 0 is the root.
  node: Array  # [B] i32, their numbers.
  tree: mctx.Tree | None  # All of them, for rules with `needs_tree`.


class Selection(NamedTuple):
  """How actions are chosen at B nodes."""

  # rng_keys [B] or None, nodes -> action [B] i32.
  select: Callable[[Array | None, Nodes], Array]
  # Of rules for roots whose first k actions differ and do not depend on what
  # they lead to: fresh roots -> those actions [B, k], in order, and where that
  # is so [B]; None for everywhere.
  opening: Callable[[Nodes], tuple[Array, Array | None]] | None = None
  draws: bool = False  # Whether it needs keys.
  needs_logits: bool = False
  needs_extremes: bool = False
  needs_tree: bool = False


class QTransform(NamedTuple):
  """A scaling of q-values for a batch of nodes."""

  scale: Callable[[Nodes], Array]  # -> [B, A]
  # Whether a node's unvisited actions all get the same number, of the size of
  # the scale at most.
  completes_alike: bool = False
  needs_extremes: bool = False
  needs_tree: bool = False


def batched(function: Any, *, is_root: bool = False) -> Selection:
  """Returns a selection as it is, and mctx's function of one tree vmapped.

  Args:
    function: (rng_key, tree, node_index, depth) -> action; without depth for
      a root.
    is_root: whether it is for roots.
  """
  if isinstance(function, Selection):
    return function

  def select(keys: Array | None, nodes: Nodes) -> Array:
    tree = nodes.tree
    assert tree is not None
    # mctx counts depth in the type of the logits.
    depth = nodes.depth.astype(tree.children_prior_logits.dtype)
    one = function if is_root else lambda *x: function(*x, depth)
    return jax.vmap(one)(keys, tree, nodes.node).astype(jnp.int32)

  return Selection(select, draws=True, needs_tree=True)


def puct(
  qtransform: Any,
  *,
  pb_c_init: float = 1.25,
  pb_c_base: float = 19_652.0,
  tie_break: Array | None = None,
) -> Selection:
  """Returns the rule of MuZero's search.

  argmax_a q(a) + p(a) sqrt(N) / (1 + n(a)) (c1 + log((N + c2 + 1) / c2))
  (MuZero, appendix B, equation 2).

  Args:
    qtransform: of one tree as in mctx, or `qtransform_by_tree`.
    pb_c_init: c1.
    pb_c_base: c2.
    tie_break: [B, A] noise that decides between equals, the same for all of a
      search; None draws it anew at each node, as mctx does.
  """
  quality = batched_qtransform(qtransform)

  def select(keys: Array | None, nodes: Nodes) -> Array:
    total = nodes.node_visits
    factor = jnp.sqrt(total) * (
      pb_c_init + jnp.log((total + pb_c_base + 1.0) / pb_c_base)
    )
    score = quality.scale(nodes) + (
      factor[:, None] * nodes.prior / (nodes.visits + 1)
    )
    if tie_break is None:
      assert keys is not None
      draw = functools.partial(jax.random.uniform, shape=score.shape[1:])
      score += 1e-7 * jax.vmap(draw)(keys)
    else:
      score += tie_break
    at_root = (nodes.depth == 0) & (nodes.root_invalid_actions > 0)
    return argmax(_mask(jnp.where(at_root, -jnp.inf, score), nodes))

  return Selection(
    select,
    draws=tie_break is None,
    needs_extremes=quality.needs_extremes,
    needs_tree=quality.needs_tree,
  )


def gumbel_root(
  qtransform: Any,
  *,
  num_simulations: int,
  max_num_considered_actions: int,
  all_legal: bool = False,
) -> Selection:
  """Returns the rule at Gumbel MuZero's root: Sequential Halving.

  `extra_data.root_gumbel` [B, A] holds the noise (Gumbel MuZero, section
  3.4).

  Args:
    qtransform: of completed q-values; of one tree, as in mctx.
    num_simulations: S.
    max_num_considered_actions: m.
    all_legal: True where no action of any root is illegal.
  """
  table = considered_visits(max_num_considered_actions, num_simulations)
  quality = batched_qtransform(qtransform)

  def num_considered(nodes: Nodes) -> Array:
    num_valid = jnp.sum(1 - nodes.root_invalid_actions, axis=-1)
    return jnp.minimum(
      max_num_considered_actions, num_valid.astype(jnp.int32)
    )

  def score(nodes: Nodes, wanted: Array, qvalues: Array) -> Array:
    assert nodes.logits is not None
    scores = score_considered(
      wanted, nodes.extra_data.root_gumbel, nodes.logits, qvalues, nodes.visits
    )
    return jnp.where(nodes.root_invalid_actions, -jnp.inf, scores)

  def select(keys: Array | None, nodes: Nodes) -> Array:
    del keys
    simulation = nodes.visits.sum(axis=-1).astype(jnp.int32)
    wanted = jnp.asarray(table)[num_considered(nodes), simulation][:, None]
    return argmax(score(nodes, wanted, quality.scale(nodes)))

  def opening(nodes: Nodes) -> tuple[Array, Array | None]:
    # The first round visits each candidate once. The sigma(q) of those that
    # still wait is one and the same number, which changes their order only
    # where adding it rounds two scores to the same.
    first = min(
      max_num_considered_actions, num_simulations, nodes.visits.shape[-1]
    )
    none = jnp.zeros_like(nodes.visits)
    _, actions = jax.lax.top_k(score(nodes, none[:, :1], none), first)
    is_known = None if all_legal else num_considered(nodes) >= first
    return actions, is_known

  return Selection(
    select,
    opening=opening if quality.completes_alike else None,
    needs_logits=True,
    needs_extremes=quality.needs_extremes,
    needs_tree=quality.needs_tree,
  )


def gumbel_interior(qtransform: Any) -> Selection:
  """Returns the rule at Gumbel MuZero's other nodes.

  argmax_a pi'(a) - n(a) / (1 + sum_b n(b)), with the improved policy pi' =
  softmax(logits + sigma(completed q)) (Gumbel MuZero, section 5).

  Args:
    qtransform: of completed q-values; of one tree, as in mctx.
  """
  quality = batched_qtransform(qtransform)

  def select(keys: Array | None, nodes: Nodes) -> Array:
    del keys
    assert nodes.logits is not None
    logits = nodes.logits + quality.scale(nodes)
    improved = jax.nn.softmax(_mask(logits, nodes))
    total = nodes.visits.sum(axis=-1, keepdims=True)
    return argmax(_mask(improved - nodes.visits / (1 + total), nodes))

  return Selection(
    select,
    needs_logits=True,
    needs_extremes=quality.needs_extremes,
    needs_tree=quality.needs_tree,
  )


def considered_visits(
  max_num_considered_actions: int, num_simulations: int
) -> np.ndarray:
  """Returns how often an action must have been visited to be a candidate.

  Sequential Halving (Karnin et al. 2013) as a table [m + 1, S]: with k
  candidates at first, simulation i goes to one of those visited table[k, i]
  times. Each round visits all candidates equally and keeps the better half.

  Args:
    max_num_considered_actions: m.
    num_simulations: S.
  """
  table = np.zeros((max_num_considered_actions + 1, num_simulations), np.int32)
  table[:2] = np.arange(num_simulations)
  for first in range(2, max_num_considered_actions + 1):
    rounds = math.ceil(math.log2(first))
    visits = np.zeros(first, np.int32)
    left = first
    sequence: list[int] = []
    while len(sequence) < num_simulations:
      for _ in range(max(1, num_simulations // (rounds * left))):
        sequence.extend(visits[:left])
        visits[:left] += 1
      left = max(2, left // 2)
    table[first] = sequence[:num_simulations]
  return table


def score_considered(
  wanted: Array, gumbel: Array, logits: Array, qvalues: Array, visits: Array
) -> Array:
  """Returns g + logits + sigma(q) of the candidates, -inf of the others.

  Args:
    wanted: [B, 1] visits of a candidate.
    gumbel: [B, A]
    logits: [B, A]
    qvalues: [B, A] completed and scaled.
    visits: [B, A]
  """
  logits = logits - logits.max(axis=-1, keepdims=True)
  # However bad, the only candidate can be taken.
  score = jnp.maximum(-1e9, gumbel + logits + qvalues)
  return jnp.where(visits == wanted, score, -jnp.inf)


def argmax(score: Array) -> Array:
  """Returns the first largest of each row [B, A]; 0 if all are -inf.

  The first NaN where there is one, as `jnp.argmax`.
  """
  # Maxima and comparisons are vector instructions on a CPU, an argmax is not.
  best = score.max(axis=-1, keepdims=True)
  num_actions = score.shape[-1]
  found = (score == best) | jnp.isnan(score)
  index = jnp.where(found, jnp.arange(num_actions), num_actions - 1)
  return index.min(axis=-1).astype(jnp.int32)


def _mask(score: Array, nodes: Nodes) -> Array:
  """Returns scores [B, A] with -inf for what the model calls illegal."""
  if nodes.invalid_actions is None:
    return score
  return jnp.where(nodes.invalid_actions, -jnp.inf, score)


# --- Scaling q-values ---

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
