"""MuZero's and Gumbel MuZero's search over a learned model, and Stochastic's.

Derives the inputs of `policies` from a `Model`, and returns a `SearchOutput`
for the actor, for Reanalyse and for evaluation alike.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.config.settings import PUCT, Gumbel
from muzero_jax.errors import UserError
from muzero_jax.search import (
  batch_agents,
  keys,
  model_functions,
  policies,
  qtransforms,
  root_noise,
  stochastic,
)
from muzero_jax.transforms import Transform
from muzero_jax.types import (
  Array,
  Model,
  Params,
  ScaledParams,
  SearchOutput,
)


class _Ran(NamedTuple):
  """What a policy leaves; under jit a tree that nobody reads is not made."""

  action: Array  # [B] i32
  policy: Array  # [B, A]
  value: Array  # [B]
  qvalues: Array  # [B, A] of the roots.
  tree: mctx.Tree  # With chance nodes, of A + M edges.


class Search(Protocol):
  """A search from B roots."""

  def __call__(
    self,
    params: Params,
    rng_key: Array,
    observation: Array,
    legal_actions: Array,
    temperature: Array | float = 1.0,
  ) -> SearchOutput: ...


def make_search(
  model: Model,
  value_transform: Transform,
  reward_transform: Transform,
  settings: Gumbel | PUCT,
  *,
  discount: float = 0.997,
  num_players: int = 1,
  noise: bool = True,
  keeps_tree: bool = False,
) -> Search:
  """Make a search function from a model.

  Args:
    model: functions h, g and f; with afterstates, trees have chance nodes.
    value_transform: turns the value head's outputs into scalars.
    reward_transform: turns the reward head's outputs into scalars.
    settings: `Gumbel` (sequential halving at the root and the improved policy,
      Gumbel MuZero) or `PUCT` (pUCT and visit counts, MuZero appendix B), with
      their sizes.
    discount: gamma of one step.
    num_players: with 2, a value is worth its negative before the turn passed:
      with each action, or where the model says so, if it predicts turns.
    noise: False for evaluation and Reanalyse: no Dirichlet and no Gumbel
      noise, whatever the temperature.
    keeps_tree: True returns the trees too, for those who want to look at them;
      with afterstates they have A actions and M outcomes at each node.

  Returns:
    A function of (params, rng_key, observation [B, ...], legal_actions
    [B, A], temperature scalar or [B]). pUCT draws its action in proportion to
    visits^(1/temperature), Gumbel scales its noise by the temperature, which
    draws from the improved policy at 1; both are greedy at 0. Both policies
    returned are training targets. Gumbel's search alone also accepts
    `ScaledParams`, whose error is then the least range of q-values.

  Raises:
    UserError: if there are not 1 or 2 players.
  """
  if num_players not in (1, 2):
    raise UserError(f'num_players={num_players!r}: must be 1 or 2')
  sign = -1.0 if num_players == 2 and model.turn is None else 1.0
  root_fn = functools.partial(model_functions.root, model, value_transform)
  steps = model_functions.recurrent_fns(
    model, value_transform, reward_transform, sign * discount
  )
  is_stochastic = model.afterstate is not None
  if isinstance(settings, Gumbel):
    run = _make_gumbel(settings, is_stochastic, noise)
  else:
    run = _make_puct(settings, is_stochastic, noise)
  bind = lambda root_fn, *fns: functools.partial(
    _search, model, root_fn, functools.partial(run, **dict(zip(steps, fns))),
    keeps_tree,
  )
  return functools.partial(
    _checked, batch_agents.foldable(bind, root_fn, *steps.values())
  )


def _make_gumbel(
  settings: Gumbel, is_stochastic: bool, noise: bool
) -> Callable[..., Any]:
  """Return Gumbel MuZero's policy with its settings bound.

  Besides mctx's settings there are two of our own. A node's q-values are
  divided by their range or by `gumbel_min_range`, whichever is larger, so that
  differences that are mere noise are not stretched to a decision
  (EfficientZero's code has such a floor, of 0.01). The policy target is
  softmax(w logits + sigma(completed q)) with w = `gumbel_prior_weight`; 1 is
  the paper's. Trained towards it again and again, logits grow without end at
  1, so that any lasting difference of q-values ends in a certain policy; below
  1 they settle at sigma(q) / (1 - w), and what differs little stays open.
  """
  run = functools.partial(
    _gumbel_policy,
    functools.partial(
      stochastic.gumbel_stochastic_muzero_policy, keeps_outcomes=True)
    if is_stochastic
    else policies.gumbel_muzero_policy,
    noise=noise,
    prior_weight=settings.gumbel_prior_weight,
    max_num_considered_actions=settings.max_considered_actions,
    num_simulations=settings.num_simulations,
    max_depth=settings.max_depth or None,
  )
  return functools.partial(_above_noise, run, functools.partial(
    qtransforms.qtransform_above_noise,
    value_scale=settings.gumbel_value_scale,
    # 0 stands for what `ScaledParams` say; without them for mctx's own.
    epsilon=settings.gumbel_min_range or 1e-8))


def _above_noise(
  run: Callable[..., Any],
  qtransform: Callable[..., Any],
  *given: Any,
  search_error: Array | None = None,
  **steps: Any,
) -> Any:
  """Run a search whose least range of q-values is an error [B], if given."""
  if search_error is not None:
    qtransform = functools.partial(qtransform, epsilon=search_error[:, None])
  return run(*given, qtransform=qtransform, **steps)


def _make_puct(
  settings: PUCT, is_stochastic: bool, noise: bool
) -> Callable[..., Any]:
  """Return MuZero's policy with its settings bound.

  q-values are scaled over a node and its children ('siblings') or, as in the
  paper, over the whole tree ('tree').
  """
  return functools.partial(
    _muzero_policy,
    functools.partial(
      stochastic.stochastic_muzero_policy, keeps_outcomes=True)
    if is_stochastic
    else policies.muzero_policy,
    alpha=settings.dirichlet_alpha,
    fraction=settings.dirichlet_fraction if noise else 0.0,
    noise=noise,
    pb_c_init=settings.pb_c_init,
    pb_c_base=settings.pb_c_base,
    qtransform=(
      qtransforms.qtransform_by_tree
      if settings.q_normalisation == 'tree'
      else mctx.qtransform_by_parent_and_siblings
    ),
    num_simulations=settings.num_simulations,
    max_depth=settings.max_depth or None,
  )


def _checked(
  search: Callable[..., SearchOutput],
  params: Params,
  rng_key: Array,
  observation: Array,
  legal_actions: Array,
  temperature: Array | float = 1.0,
) -> SearchOutput:
  """The function that `make_search` binds and returns."""
  # Masks of numbers too, whose ~ would be no mask.
  legal_actions = jnp.asarray(legal_actions) > 0
  chex.assert_rank(legal_actions, 2)
  chex.assert_equal_shape_prefix(
    [*jax.tree.leaves(observation), legal_actions], 1
  )
  temperature = jnp.broadcast_to(
    jnp.asarray(temperature, jnp.float32), legal_actions.shape[:1]
  )
  given = rng_key, observation, legal_actions, temperature
  if not isinstance(params, ScaledParams):
    return search(params, *given)
  error = jnp.broadcast_to(params.search_error, legal_actions.shape[:1])
  return search(params.params, *given, error)


def _search(
  model: Model,
  root_fn: Callable[..., mctx.RootFnOutput],
  run: Callable[..., '_Ran'],
  keeps_tree: bool,
  params: Params,
  rng_key: Array,
  observation: Array,
  legal_actions: Array,
  temperature: Array,
  search_error: Array | None = None,
) -> SearchOutput:
  """Returns what a search finds."""
  root = root_fn(params, observation)
  # Masked here, since mctx subtracts the largest logit, legal or not.
  lowest = jnp.finfo(root.prior_logits.dtype).min
  if model.candidates is not None:
    legal_actions = root.prior_logits > lowest  # Each candidate once.
  root = root.replace(  # type: ignore[attr-defined]
    prior_logits=jnp.where(legal_actions, root.prior_logits, lowest)
  )
  scaled = {} if search_error is None else dict(search_error=search_error)
  ran = run(params, rng_key, root, legal_actions, temperature, **scaled)
  found = SearchOutput(
    action=ran.action, policy=ran.policy, value=ran.value,
    network_value=root.value,
    action_value=ran.qvalues[jnp.arange(len(ran.action)), ran.action],
    tree=ran.tree if keeps_tree else None,
  )
  if model.candidates is None:
    return found
  state = root.embedding.state if model.prefix_steps else root.embedding
  return found._replace(candidates=model.candidates(state))


def _gumbel_policy(
  policy_fn: Callable[..., mctx.PolicyOutput],
  params: Params,
  rng_key: Array,
  root: mctx.RootFnOutput,
  legal_actions: Array,
  temperature: Array,
  *,
  noise: bool,
  prior_weight: float,
  max_num_considered_actions: int,
  **kwargs: Any,
) -> _Ran:
  # argmax(g * t + x) is a draw from softmax(x / t): the scale of the Gumbel
  # noise is the temperature of the improved policy.
  scale = temperature[:, None] if noise else 0.0
  output = policy_fn(
    params,
    rng_key,
    root,
    invalid_actions=~legal_actions,
    gumbel_scale=scale,
    max_num_considered_actions=min(
      max_num_considered_actions, legal_actions.shape[-1]
    ),
    **kwargs,
  )
  tree = output.search_tree
  summary = stochastic.actions_of(tree, legal_actions.shape[-1]).summary()
  value = qtransforms.mixed_value(
    root.value, jax.nn.softmax(root.prior_logits), summary.qvalues,
    summary.visit_counts,
  )
  policy = output.action_weights
  if prior_weight != 1:
    # The improved policy's logits are logits + sigma(q). Both have the same
    # floor, or the less likely action of two could become the likelier one;
    # and illegal actions, masked below, are not the largest number here.
    tiny = jnp.finfo(policy.dtype).tiny
    improved = jnp.log(jnp.maximum(policy, tiny))
    prior = jnp.maximum(
      jax.nn.log_softmax(root.prior_logits), jnp.log(tiny)
    )
    policy = jax.nn.softmax(root_noise.mask_logits(
      improved - (1 - prior_weight) * prior, ~legal_actions
    ))
  return _Ran(output.action, policy, value, summary.qvalues, tree)


def _muzero_policy(
  policy_fn: Callable[..., mctx.PolicyOutput],
  params: Params,
  rng_key: Array,
  root: mctx.RootFnOutput,
  legal_actions: Array,
  temperature: Array,
  *,
  noise: bool,
  alpha: float,
  fraction: float,
  **kwargs: Any,
) -> _Ran:
  search_key, action_key = keys.split(rng_key, 2)
  output = policy_fn(
    params,
    search_key,
    root,
    invalid_actions=~legal_actions,
    dirichlet_fraction=fraction,
    dirichlet_alpha=alpha,
    dirichlet_legal_only=True,
    **kwargs,
  )
  weights = output.action_weights
  tree = output.search_tree
  summary = stochastic.actions_of(tree, legal_actions.shape[-1]).summary()
  found = weights, summary.value, summary.qvalues, tree
  if noise:
    return _Ran(sample_action(action_key, weights, temperature), *found)
  # Greedy; between equal visits the prior decides, not chance.
  best = weights >= weights.max(axis=-1, keepdims=True)
  action = jnp.argmax(jnp.where(best, root.prior_logits, -jnp.inf), axis=-1)
  return _Ran(action.astype(jnp.int32), *found)


def sample_action(rng_key: Array, weights: Array, temperature: Array) -> Array:
  """Returns actions drawn in proportion to weights^(1/temperature).

  Args:
    rng_key: for the draw.
    weights: [B, A] non-negative, for example visit shares; an action of
      weight 0 is never drawn.
    temperature: [B] non-negative; at 0 the action of largest weight, ties
      broken at random.

  Returns:
    [B] int32 actions.
  """
  gumbel = keys.draw(
    lambda key, shape: jax.random.gumbel(key, shape, jnp.float32),
    rng_key, weights.shape)
  logits = jnp.log(weights)
  # Perturb-and-max: dividing the noise's side by t keeps t = 0 finite.
  best = jnp.max(weights, axis=-1, keepdims=True)
  greedy = jnp.where(weights >= best, gumbel, -jnp.inf)
  sampled = logits + temperature[:, None] * gumbel
  scores = jnp.where(temperature[:, None] > 0, sampled, greedy)
  return jnp.argmax(scores, axis=-1).astype(jnp.int32)
