"""The policies of mctx, on our search: same arguments, same results.

`muzero_policy` and `gumbel_muzero_policy` take what mctx's functions of these
names take, and options of their own behind. Where actions are equal, the first
chooses as mctx does only with `tie_break='node'`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mctx

from muzero_jax.errors import UserError
from muzero_jax.search import keys, qtransforms, root_noise, selection
from muzero_jax.search.engine import search_with_root
from muzero_jax.search.nodes import Nodes
from muzero_jax.types import Array, Params

TIE_BREAKS = ('search', 'node')


def muzero_policy(
  params: Params,
  rng_key: Array,
  root: mctx.RootFnOutput,
  recurrent_fn: Callable[..., Any],
  num_simulations: int,
  invalid_actions: Array | None = None,
  max_depth: int | None = None,
  loop_fn: Callable[..., Any] = jax.lax.fori_loop,
  *,
  qtransform: Any = mctx.qtransform_by_parent_and_siblings,
  dirichlet_fraction: float = 0.25,
  dirichlet_alpha: float = 0.3,
  pb_c_init: float = 1.25,
  pb_c_base: float = 19_652,
  temperature: Any = 1.0,
  tie_break: str = 'search',
  dirichlet_legal_only: bool = False,
  interior_masks: bool = False,
) -> mctx.PolicyOutput:
  """Returns actions, visit shares and trees of MuZero's search.

  Args:
    params: for `recurrent_fn`.
    rng_key: consumed.
    root: prior logits [B, A], value [B], embedding [B, ...].
    recurrent_fn: as for `search`.
    num_simulations: S.
    invalid_actions: [B, A] true where an action is illegal at the root.
    max_depth: most edges from the root to a leaf; None for no limit.
    loop_fn: `jax.lax.fori_loop` or alike.
    qtransform: mctx's, or `search.qtransform_by_tree` for the paper's scaling
      by the extremes of the whole tree.
    dirichlet_fraction: share of noise in the root's prior.
    dirichlet_alpha: its concentration.
    pb_c_init: c1 of pUCT.
    pb_c_base: c2.
    temperature: of the action, drawn by visits^(1 / temperature).
    tie_break: 'search' draws the noise that decides between equal actions
      once a search; 'node' anew at each node, with the keys of mctx, whose
      trees it then repeats bit for bit, and slower.
    dirichlet_legal_only: noise over the legal actions alone (MuZero, appendix
      B), so that its share does not shrink where few are legal; mctx, and
      False, spreads it over all.
    interior_masks: as for `search`.

  Raises:
    UserError: on an unknown `tie_break`.
  """
  action_key, noise_key, search_key = keys.split(rng_key, 3)
  root = root_noise.noisy_root(
    noise_key, root, invalid_actions, dirichlet_fraction, dirichlet_alpha,
    dirichlet_legal_only,
  )
  search_key, tie_noise = draw_tie_break(
    tie_break, search_key, root.prior_logits.shape)
  select = selection.puct(
    qtransform,
    pb_c_init=pb_c_init,
    pb_c_base=pb_c_base,
    tie_break=tie_noise,
  )
  tree, top = search_with_root(
    params,
    keys.shared(search_key),
    root=root,
    recurrent_fn=recurrent_fn,
    root_action_selection_fn=select,
    interior_action_selection_fn=select,
    num_simulations=num_simulations,
    max_depth=max_depth,
    invalid_actions=invalid_actions,
    loop_fn=loop_fn,
    interior_masks=interior_masks,
  )
  return act_by_visits(action_key, tree, top.visits, temperature)


def gumbel_muzero_policy(
  params: Params,
  rng_key: Array,
  root: mctx.RootFnOutput,
  recurrent_fn: Callable[..., Any],
  num_simulations: int,
  invalid_actions: Array | None = None,
  max_depth: int | None = None,
  loop_fn: Callable[..., Any] = jax.lax.fori_loop,
  *,
  qtransform: Any = mctx.qtransform_completed_by_mix_value,
  max_num_considered_actions: int = 16,
  gumbel_scale: Any = 1.0,
  interior_selection: Any = None,
  interior_masks: bool = False,
) -> mctx.PolicyOutput:
  """Returns actions, improved policies and trees of Gumbel MuZero's search.

  Args:
    params: for `recurrent_fn`.
    rng_key: consumed.
    root: prior logits [B, A], value [B], embedding [B, ...].
    recurrent_fn: as for `search`.
    num_simulations: S.
    invalid_actions: [B, A] true where an action is illegal at the root.
    max_depth: most edges from the root to a leaf; None for no limit.
    loop_fn: `jax.lax.fori_loop` or alike.
    qtransform: completes and scales q-values.
    max_num_considered_actions: m of Sequential Halving.
    gumbel_scale: of the noise, scalar or [B, 1]; 0 for none.
    interior_selection: None for full Gumbel MuZero; else the rule at all
      nodes but the root, for example `selection.puct(...)`, which makes it
      the paper's "Gumbel MuZero with pUCT inside".
    interior_masks: as for `search`.
  """
  root = root.replace(  # type: ignore[attr-defined]
    prior_logits=root_noise.mask_logits(root.prior_logits, invalid_actions)
  )
  search_key, gumbel_key = keys.split(rng_key, 2)
  gumbel = gumbel_scale * root_noise.gumbel_noise(gumbel_key, root.prior_logits)
  if interior_selection is None:
    interior_selection = selection.gumbel_interior(qtransform)
  tree, top = search_with_root(
    params,
    keys.shared(search_key),
    root=root,
    recurrent_fn=recurrent_fn,
    root_action_selection_fn=selection.gumbel_root(
      qtransform,
      num_simulations=num_simulations,
      max_num_considered_actions=max_num_considered_actions,
      all_legal=invalid_actions is None,
    ),
    interior_action_selection_fn=interior_selection,
    num_simulations=num_simulations,
    max_depth=max_depth,
    invalid_actions=invalid_actions,
    extra_data=mctx.GumbelMuZeroExtraData(  # type: ignore[call-arg]
      root_gumbel=gumbel
    ),
    loop_fn=loop_fn,
    interior_masks=interior_masks,
  )
  return act_by_improved(
    tree, top, gumbel, root.prior_logits, invalid_actions, qtransform
  )


def act_by_improved(
  tree: mctx.Tree,
  top: Nodes,
  gumbel: Array,
  logits: Array,
  invalid_actions: Array | None,
  qtransform: Any,
) -> mctx.PolicyOutput:
  """Returns Gumbel MuZero's action and improved policy after a search.

  Args:
    tree: of the search.
    top: its roots.
    gumbel: [B, A] the search's noise.
    logits: [B, A] of the roots.
    invalid_actions: [B, A] or None.
    qtransform: completes and scales q-values.
  """
  completed = qtransforms.batched_qtransform(qtransform).scale(top)
  # The best of those that the last round left.
  score = selection.score_considered(
    top.visits.max(axis=-1, keepdims=True), gumbel, logits, completed,
    top.visits,
  )
  if invalid_actions is not None:
    score = jnp.where(invalid_actions, -jnp.inf, score)
  weights = jax.nn.softmax(
    root_noise.mask_logits(logits + completed, invalid_actions))
  return mctx.PolicyOutput(  # type: ignore[call-arg]
    action=selection.argmax(score),
    action_weights=weights.astype(logits.dtype),
    search_tree=tree,
  )


def draw_tie_break(
  kind: str, search_key: Array, shape: tuple[int, ...]
) -> tuple[Array, Array | None]:
  """Return the key of a search, and its noise [B, A] for equal actions.

  For 'node' the key is as it was, and there is no noise: it is drawn at each
  node, as mctx does.

  Raises:
    UserError: if `kind` is not among `TIE_BREAKS`.
  """
  if kind not in TIE_BREAKS:
    raise UserError(f'tie_break={kind!r}: must be one of {TIE_BREAKS}')
  if kind == 'node':
    return search_key, None
  search_key, tie_key = keys.split(search_key, 2)
  return search_key, 1e-7 * keys.draw(
    lambda key, shape: jax.random.uniform(key, shape, jnp.float32),
    tie_key, shape)


def act_by_visits(
  rng_key: Array, tree: mctx.Tree, visits: Array, temperature: Any
) -> mctx.PolicyOutput:
  """Returns actions drawn by the visits [B, A] of their roots."""
  total = visits.sum(axis=-1, keepdims=True)
  weights = jnp.where(
    total > 0, visits / jnp.maximum(total, 1), 1 / visits.shape[-1]
  ).astype(tree.node_values.dtype)
  logits = root_noise.log_of(weights)
  logits = logits - logits.max(axis=-1, keepdims=True)
  logits = logits / jnp.maximum(jnp.finfo(logits.dtype).tiny, temperature)
  return mctx.PolicyOutput(  # type: ignore[call-arg]
    action=jax.random.categorical(keys.shared(rng_key), logits),
    action_weights=weights,
    search_tree=tree,
  )


