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
import numpy as np

from muzero_jax.search import qtransforms
from muzero_jax.search.nodes import Nodes
from muzero_jax.types import Array


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
  quality = qtransforms.batched_qtransform(qtransform)

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
  quality = qtransforms.batched_qtransform(qtransform)

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
  quality = qtransforms.batched_qtransform(qtransform)

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
