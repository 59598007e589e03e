"""The policies of mctx, on our search: same arguments, same results.

`muzero_policy`, `gumbel_muzero_policy` and `stochastic_muzero_policy` take
what mctx's functions of these names take, and options of their own behind.
Where actions are equal, the first and the last choose as mctx does only with
`tie_break='node'`.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.search import selection
from muzero_jax.search.engine import search_with_root
from muzero_jax.search.selection import Nodes, Selection
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
    ValueError: on an unknown `tie_break`.
  """
  if tie_break not in TIE_BREAKS:
    raise ValueError(f'tie_break={tie_break!r}: must be one of {TIE_BREAKS}')
  action_key, noise_key, search_key = jax.random.split(rng_key, 3)
  root = _noisy_root(
    noise_key, root, invalid_actions, dirichlet_fraction, dirichlet_alpha,
    dirichlet_legal_only,
  )
  select = selection.puct(
    qtransform,
    pb_c_init=pb_c_init,
    pb_c_base=pb_c_base,
    tie_break=_tie_break(tie_break, search_key, root.prior_logits.shape),
  )
  tree, top = search_with_root(
    params,
    search_key,
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
  return _by_visits(action_key, tree, top.visits, temperature)


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
    prior_logits=mask_logits(root.prior_logits, invalid_actions)
  )
  search_key, gumbel_key = jax.random.split(rng_key)
  gumbel = gumbel_scale * jax.random.gumbel(
    gumbel_key, root.prior_logits.shape, root.prior_logits.dtype
  )
  if interior_selection is None:
    interior_selection = selection.gumbel_interior(qtransform)
  tree, top = search_with_root(
    params,
    search_key,
    root=root,
    recurrent_fn=recurrent_fn,
    root_action_selection_fn=selection.gumbel_root(
      qtransform,
      num_simulations=num_simulations,
      max_num_considered_actions=max_num_considered_actions,
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
  completed = selection.batched_qtransform(qtransform).scale(top)
  # The best of those that the last round left.
  score = selection.score_considered(
    top.visits.max(axis=-1, keepdims=True), gumbel, root.prior_logits,
    completed, top.visits,
  )
  improved = root.prior_logits + completed
  if invalid_actions is not None:
    score = jnp.where(invalid_actions, -jnp.inf, score)
  weights = jax.nn.softmax(mask_logits(improved, invalid_actions))
  return mctx.PolicyOutput(  # type: ignore[call-arg]
    action=selection.argmax(score),
    action_weights=weights.astype(root.prior_logits.dtype),
    search_tree=tree,
  )


@chex.dataclass(frozen=True)
class StochasticState:
  """What a node of a stochastic search holds.

  state_embedding: [B, ...] meaningful at decision nodes.
  afterstate_embedding: [B, ...] meaningful at chance nodes.
  is_decision_node: [B] bool.
  """

  state_embedding: Any
  afterstate_embedding: Any
  is_decision_node: Array


def stochastic_muzero_policy(
  params: Params,
  rng_key: Array,
  root: mctx.RootFnOutput,
  decision_recurrent_fn: Callable[..., Any],
  chance_recurrent_fn: Callable[..., Any],
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
) -> mctx.PolicyOutput:
  """Returns actions, visit shares and trees of Stochastic MuZero's search.

  Decision nodes choose actions by pUCT, chance nodes the outcome c of largest
  p(c) / (n(c) + 1) (Antonoglou et al. 2022, section 4). Where all leaves of a
  simulation are of one kind, only that kind's network is evaluated.

  Args:
    params: for both functions.
    rng_key: consumed.
    root: prior logits [B, A], value [B], embedding [B, ...].
    decision_recurrent_fn: (params, rng_key, action, embedding) ->
      (`mctx.DecisionRecurrentFnOutput`, afterstate's embedding).
    chance_recurrent_fn: (params, rng_key, outcome, afterstate's embedding) ->
      (`mctx.ChanceRecurrentFnOutput`, embedding).
    num_simulations: S, of which each makes one node of either kind.
    invalid_actions: as for `muzero_policy`, and so are the others.
    max_depth: likewise.
    loop_fn: likewise.
    qtransform: likewise; of a tree of actions alone.
    dirichlet_fraction: likewise.
    dirichlet_alpha: likewise.
    pb_c_init: likewise.
    pb_c_base: likewise.
    temperature: likewise.
    tie_break: likewise.
    dirichlet_legal_only: likewise.

  Returns:
    As `muzero_policy`; the tree holds the actions, not the outcomes.

  Raises:
    ValueError: on an unknown `tie_break`.
  """
  if tie_break not in TIE_BREAKS:
    raise ValueError(f'tie_break={tie_break!r}: must be one of {TIE_BREAKS}')
  batch_size, num_actions = root.prior_logits.shape
  action_key, noise_key, search_key = jax.random.split(rng_key, 3)
  root = _noisy_root(
    noise_key, root, invalid_actions, dirichlet_fraction, dirichlet_alpha,
    dirichlet_legal_only,
  )
  output, afterstate = jax.eval_shape(
    decision_recurrent_fn, params, rng_key,
    jax.ShapeDtypeStruct((batch_size,), jnp.int32), root.embedding,
  )
  num_outcomes = output.chance_logits.shape[-1]
  root = root.replace(  # type: ignore[attr-defined]
    prior_logits=_with_outcomes(root.prior_logits, num_outcomes),
    embedding=StochasticState(  # type: ignore[call-arg]
      state_embedding=root.embedding,
      afterstate_embedding=jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), afterstate
      ),
      is_decision_node=jnp.ones(batch_size, bool),
    ),
  )
  select = _decision_or_chance(
    selection.puct(
      qtransform,
      pb_c_init=pb_c_init,
      pb_c_base=pb_c_base,
      tie_break=_tie_break(
        tie_break, search_key, (batch_size, num_actions)
      ),
    ),
    num_actions,
  )
  tree, top = search_with_root(
    params,
    search_key,
    root=root,
    recurrent_fn=_stochastic_fn(
      decision_recurrent_fn, chance_recurrent_fn, num_actions, num_outcomes
    ),
    root_action_selection_fn=select,
    interior_action_selection_fn=select,
    num_simulations=num_simulations,
    max_depth=max_depth,
    invalid_actions=None if invalid_actions is None else jnp.concatenate(
      [
        jnp.asarray(invalid_actions),
        jnp.ones(
          (batch_size, num_outcomes), jnp.asarray(invalid_actions).dtype
        ),
      ],
      axis=-1,
    ),
    loop_fn=loop_fn,
    interior_masks=False,
  )
  return _by_visits(
    action_key, _actions_of(tree, num_actions), top.visits[:, :num_actions],
    temperature,
  )


def mask_logits(logits: Array, invalid_actions: Array | None) -> Array:
  """Returns logits [B, A] of which illegal actions have the least float.

  Not -inf: where all are illegal, a softmax of them stays finite.
  """
  if invalid_actions is None:
    return logits
  logits = logits - logits.max(axis=-1, keepdims=True)
  lowest = jnp.finfo(logits.dtype).min
  return jnp.where(invalid_actions, lowest, logits)


def add_dirichlet_noise(
  rng_key: Array,
  logits: Array,
  legal_actions: Array,
  *,
  alpha: float,
  fraction: float,
) -> Array:
  """Returns logits of (1 - fraction) prior + fraction Dir(alpha).

  Prior and noise are distributions over the legal actions alone, so that the
  share of noise does not depend on how many actions are illegal (MuZero
  appendix B).

  Args:
    rng_key: for the noise.
    logits: [B, A] prior.
    legal_actions: [B, A] True where legal.
    alpha: concentration, above 0.
    fraction: share of noise in [0, 1].

  Returns:
    [B, A] logits; the least float32 on illegal actions.
  """
  lowest = jnp.finfo(jnp.float32).min
  logits = jnp.where(legal_actions, logits.astype(jnp.float32), lowest)
  if fraction == 0:
    return logits
  # Normalised gamma variables are Dirichlet; their logarithms do not
  # underflow at small alpha.
  log_gamma = jax.random.loggamma(rng_key, alpha, logits.shape)
  noise = jax.nn.softmax(jnp.where(legal_actions, log_gamma, lowest))
  mixed = (1 - fraction) * jax.nn.softmax(logits) + fraction * noise
  tiny = jnp.finfo(jnp.float32).tiny
  return jnp.where(
    legal_actions, jnp.log(jnp.maximum(mixed, tiny)), lowest
  )


def _noisy_root(
  rng_key: Array,
  root: mctx.RootFnOutput,
  invalid_actions: Array | None,
  fraction: float,
  alpha: float,
  legal_only: bool,
) -> mctx.RootFnOutput:
  """Returns the root with Dirichlet noise in its prior, illegal masked."""
  logits = root.prior_logits
  if legal_only:
    legal = jnp.ones(logits.shape, bool)
    if invalid_actions is not None:
      legal = ~jnp.asarray(invalid_actions).astype(bool)
    logits = add_dirichlet_noise(
      rng_key, logits, legal, alpha=alpha, fraction=fraction
    )
  else:
    noise = jax.random.dirichlet(
      rng_key,
      jnp.full(logits.shape[-1], alpha),
      shape=logits.shape[:1],
    )
    mixed = (1 - fraction) * jax.nn.softmax(logits) + fraction * noise
    logits = _log(mixed)
  return root.replace(  # type: ignore[attr-defined]
    prior_logits=mask_logits(logits, invalid_actions)
  )


def _tie_break(
  kind: str, rng_key: Array, shape: tuple[int, ...]
) -> Array | None:
  if kind == 'node':
    return None
  # Of the search's key, which is split, never folded, for everything else.
  return 1e-7 * jax.random.uniform(jax.random.fold_in(rng_key, 0), shape)


def _by_visits(
  rng_key: Array, tree: mctx.Tree, visits: Array, temperature: Any
) -> mctx.PolicyOutput:
  """Returns actions drawn by the visits [B, A] of their roots."""
  total = visits.sum(axis=-1, keepdims=True)
  weights = jnp.where(
    total > 0, visits / jnp.maximum(total, 1), 1 / visits.shape[-1]
  ).astype(tree.node_values.dtype)
  logits = _log(weights)
  logits = logits - logits.max(axis=-1, keepdims=True)
  logits = logits / jnp.maximum(jnp.finfo(logits.dtype).tiny, temperature)
  return mctx.PolicyOutput(  # type: ignore[call-arg]
    action=jax.random.categorical(rng_key, logits),
    action_weights=weights,
    search_tree=tree,
  )


def _log(probabilities: Array) -> Array:
  tiny = jnp.finfo(probabilities.dtype).tiny
  return jnp.log(jnp.maximum(probabilities, tiny))


def _with_outcomes(action_logits: Array, num_outcomes: int) -> Array:
  """Returns logits over A actions and C outcomes, none for the outcomes."""
  shape = (action_logits.shape[0], num_outcomes)
  return jnp.concatenate([action_logits, jnp.full(shape, -jnp.inf)], axis=-1)


def _actions_of(tree: mctx.Tree, num_actions: int) -> mctx.Tree:
  """Returns a tree without the edges of chance outcomes."""
  names = (
    'children_index', 'children_prior_logits', 'children_visits',
    'children_rewards', 'children_discounts', 'children_values',
    'root_invalid_actions',
  )
  return tree.replace(  # type: ignore[attr-defined]
    **{name: getattr(tree, name)[..., :num_actions] for name in names}
  )


def _decision_or_chance(decide: Selection, num_actions: int) -> Selection:
  """Returns a rule for trees whose edges are A actions and C outcomes.

  Decisions and chance alternate, so that the depth tells which it is.
  """

  def choose(keys: Array | None, nodes: Nodes) -> Array:
    edges = ('qvalues', 'visits', 'prior', 'logits', 'root_invalid_actions')
    of_actions: dict[str, Any] = {
      name: None if (x := getattr(nodes, name)) is None else x[:, :num_actions]
      for name in edges
    }
    tree = nodes.tree
    return decide.select(keys, nodes._replace(
      tree=None if tree is None else _actions_of(tree, num_actions),
      **of_actions,
    ))

  def happen(keys: Array | None, nodes: Nodes) -> Array:
    del keys
    likely = nodes.prior / (nodes.visits + 1)
    return num_actions + selection.argmax(likely[:, num_actions:])

  def select(keys: Array | None, nodes: Nodes) -> Array:
    is_decision = nodes.depth % 2 == 0
    return jax.lax.cond(is_decision, choose, happen, keys, nodes)

  return decide._replace(select=select)


def _stochastic_fn(
  decision_fn: Callable[..., Any],
  chance_fn: Callable[..., Any],
  num_actions: int,
  num_outcomes: int,
) -> Callable[..., Any]:
  """Returns one recurrent function over actions and outcomes."""

  def recurrent_fn(
    params: Params, rng_key: Array, edge: Array, state: StochasticState
  ) -> tuple[mctx.RecurrentFnOutput, StochasticState]:
    count = edge.shape[0]

    def decide() -> Any:
      output, after = decision_fn(params, rng_key, edge, state.state_embedding)
      logits = jnp.concatenate(
        [jnp.full((count, num_actions), -jnp.inf), output.chance_logits],
        axis=-1,
      )
      value = output.afterstate_value
      return mctx.RecurrentFnOutput(  # type: ignore[call-arg]
        prior_logits=logits, value=value, reward=jnp.zeros_like(value),
        discount=jnp.ones_like(value),
      ), after

    def happen() -> Any:
      output, after = chance_fn(
        params, rng_key, edge - num_actions, state.afterstate_embedding
      )
      return mctx.RecurrentFnOutput(  # type: ignore[call-arg]
        prior_logits=_with_outcomes(output.action_logits, num_outcomes),
        value=output.value, reward=output.reward, discount=output.discount,
      ), after

    is_decision = state.is_decision_node

    def merge() -> Any:
      made, afterstate = decide()
      happened, new_state = happen()
      choose = lambda a, b: jnp.where(
        is_decision.reshape(-1, *[1] * (a.ndim - 1)), a, b
      )
      return jax.tree.map(choose, made, happened), afterstate, new_state

    # The two functions may differ in types; every branch returns the wider.
    wanted = jax.eval_shape(merge)

    def cast(branch: Callable[[], Any]) -> Callable[[], Any]:
      return lambda: jax.tree.map(
        lambda x, like: x.astype(like.dtype), branch(), wanted
      )

    def only_decide() -> Any:
      made, afterstate = decide()
      return made, afterstate, state.state_embedding

    def only_happen() -> Any:
      happened, new_state = happen()
      return happened, state.afterstate_embedding, new_state

    kind = jnp.where(
      is_decision.all(), 0, jnp.where(is_decision.any(), 2, 1)
    )
    output, afterstate, new_state = jax.lax.switch(
      kind, [cast(branch) for branch in (only_decide, only_happen, merge)]
    )
    return output, StochasticState(  # type: ignore[call-arg]
      state_embedding=new_state,
      afterstate_embedding=afterstate,
      is_decision_node=~is_decision,
    )

  return recurrent_fn
