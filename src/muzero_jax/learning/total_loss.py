"""The loss of a batch: MuZero's own and what each variant adds to it.

`learner` differentiates the loss that `make_total_loss` makes. Whoever wants
the loss of one unrolled sequence alone takes `losses`.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax import losses
from muzero_jax.config import settings
from muzero_jax.errors import UserError
from muzero_jax.learning import (
  consistency,
  policy_gradient,
  sampled_policy,
  stochastic,
  turn_prediction,
  value_prefix,
)
from muzero_jax.losses import LossOutput, masked_mean
from muzero_jax.networks import model as model_lib
from muzero_jax.networks.distributions import Distribution, softmax_entropy
from muzero_jax.transforms import Transform
from muzero_jax.types import (
  Array,
  Model,
  ModelOutput,
  Params,
  Sequence,
  Target,
)


class Metrics(NamedTuple):
  """Of one update; means over the batch."""

  loss: Array  # []
  policy_loss: Array  # [] mean over unroll steps that are trained.
  value_loss: Array  # [] likewise.
  reward_loss: Array  # [] likewise.
  value_error: Array  # [] |network - target| at unroll step 0.
  value_target: Array  # [] mean target at unroll step 0.
  value_target_max: Array  # [] largest |target|.
  clip_fraction: Array  # [] share of targets outside the support.
  policy_entropy: Array  # [] of the network's policy at unroll step 0.
  target_entropy: Array  # [] of the search's policy there.
  # [] KL(search's || network's) there; of a density only its changes tell
  # anything.
  policy_divergence: Array
  value_error_at: Array  # [K+1] |network - target| by unroll step.
  reward_error_at: Array  # [K] likewise, of transition k.
  grad_norm: Array  # [] before clipping.
  update_norm: Array  # [] of the optimiser's change, also if it is skipped.
  sample_age: Array  # [] environment steps since the samples were played.
  weight_min: Array  # [] smallest importance weight.
  # Of stochastic models only.
  afterstate_loss: Array | None = None  # [] of the afterstates' values.
  chance_loss: Array | None = None  # [] of the distribution over codes.
  commitment_loss: Array | None = None  # [] of the encoder's outputs.
  codes_in_use: Array | None = None  # [] perplexity of the batch's codes.
  # Where players do not alternate only.
  turn_loss: Array | None = None  # [] of whether the turn passes.
  turn_accuracy: Array | None = None  # [] share of turns told right.
  advantage_loss: Array | None = None  # [] with a policy gradient only.
  # With a consistency loss only: 0 agrees, 1 is unrelated.
  consistency_loss: Array | None = None  # [] 1 - cosine, imagined to observed.
  # [] updates since the reanalysed samples were searched; None unless they are
  # a stream's.
  target_age: Array | None = None
  extra: dict[str, Array] | None = None  # Of extra terms of the loss, by name.


# Metrics of which a mean would say nothing.
EXTREMES = {'value_target_max': 'max', 'weight_min': 'min'}


def over_updates(metrics: Metrics) -> Metrics:
  """Reduce metrics [U, ...] of U updates: means, and extremes of extremes."""
  means = jax.tree.map(lambda x: x.mean(axis=0), metrics)
  return means._replace(**{
    name: getattr(getattr(metrics, name), how)(axis=0)
    for name, how in EXTREMES.items()
  })


# params, sequence [N, L, ...], target [N, ...], weights [N] -> loss, metrics.
# The sequence's observations are [N, 1, ...] at least, or [N, K + 1, ...].
LossFn = Callable[
  [Params, Sequence, Target, Array], tuple[Array, Metrics]
]


class TotalLoss(NamedTuple):
  """What a learner minimises."""

  loss: LossFn
  # Whether the loss reads all K+1 observations of a sequence, not its first
  # alone: the encoder of chance codes and the consistency loss do.
  needs_all_observations: bool


class Unrolled(NamedTuple):
  """What a term of the loss sees of a batch."""

  params: Params
  output: ModelOutput  # [B, K+1, ...] states are None unless a term needs them.
  sequence: Sequence  # [B, L, ...]
  target: Target  # [B, ...]
  chance: Any = None  # stochastic.ChanceOutput [B, ...] of stochastic models.


class Term(NamedTuple):
  """A loss that is added to MuZero's own."""

  # -> [B] weighted loss of each sequence, and metrics by name.
  loss: Callable[[Unrolled], tuple[Array, dict[str, Array]]]
  needs_states: bool = False  # Whether it reads the states of the unroll.
  needs_all_observations: bool = False


def make_total_loss(
  model: Model,
  value_transform: Transform,
  reward_transform: Transform,
  weights: settings.LossWeights,
  *,
  distribution: Distribution | None = None,
  extra_terms: tuple[Term, ...] = (),
  axis_name: str | None = None,
) -> TotalLoss:
  """Make the loss of a batch.

  A variant adds a loss per sequence and metrics of its own; what is not used
  is not computed.

  Args:
    model: functions h, g and f, and a variant's.
    value_transform: of the value head.
    reward_transform: of the reward head.
    weights: of the parts.
    distribution: that policy logits are of, in Sampled MuZero; else None.
    extra_terms: losses of one's own; their metrics are recorded by name.
    axis_name: device axis over which the batch is divided, or None.

  Raises:
    UserError: a weight is of something that there is none of.
  """
  _check_weights(model, weights, distribution)
  entropy_fn: Callable[[Array], Array] = softmax_entropy
  if distribution is not None:
    entropy_fn = distribution.entropy
  sequence_loss = _sequence_loss(
    value_transform, reward_transform, weights, distribution)
  variants = _variant_terms(model, value_transform, weights)
  if weights.policy_gradient_weight:
    variants.append(_policy_gradient_term(
      value_transform, weights, distribution, axis_name))
  terms = (*variants, *extra_terms)
  unroll = functools.partial(
    _unroll, model, any(term.needs_states for term in terms))

  def loss_fn(
    params: Params, sequence: Sequence, target: Target, weights: Array
  ) -> tuple[Array, Metrics]:
    target = target._replace(
      reward=value_prefix.sums(target.reward, steps=model.prefix_steps)
    )
    unrolled = unroll(params, sequence, target)
    loss = jax.vmap(sequence_loss)(
      model_lib.without_state(unrolled.output), target)
    metrics = _metrics(
      unrolled.output, target, loss, value_transform, reward_transform,
      entropy_fn)
    per_sequence, named = _add(loss.total, variants, unrolled)
    per_sequence, extra = _add(per_sequence, extra_terms, unrolled)
    _check_names(extra)
    total = _guarded(jnp.mean(weights * per_sequence), target)
    return total, metrics._replace(
      loss=total, weight_min=jnp.min(weights), extra=extra or None, **named)

  return TotalLoss(
    loss_fn,
    needs_all_observations=model.afterstate is not None
    or any(term.needs_all_observations for term in terms),
  )


def _add(
  loss: Array, terms: Iterable[Term], unrolled: Unrolled
) -> tuple[Array, dict[str, Array]]:
  """Return the loss [B] with terms added, and their metrics by name."""
  metrics: dict[str, Array] = {}
  for term in terms:
    added, found = term.loss(unrolled)
    loss = loss + added
    metrics |= found
  return loss, metrics


def _check_names(extra: dict[str, Array]) -> None:
  """Check that no metric of a user's term hides one of ours."""
  for name in extra:
    if name in Metrics._fields:
      raise UserError(
        f'extra_terms: a metric is called {name!r}, as one of `Metrics` is; '
        'give it another name')


def _check_weights(
  model: Model,
  weights: settings.LossWeights,
  distribution: Distribution | None,
) -> None:
  """Check that what has a weight is there."""
  if weights.consistency_weight and model.project is None:
    raise UserError(
      f'consistency_weight={weights.consistency_weight}: needs a model with a '
      'projection; allowed is 0')
  if weights.entropy_weight and distribution is None:
    raise UserError(
      f'entropy_weight={weights.entropy_weight}: needs a distribution; allowed '
      'is 0')


def _sequence_loss(
  value_transform: Transform,
  reward_transform: Transform,
  weights: settings.LossWeights,
  distribution: Distribution | None,
) -> Callable[[ModelOutput, Target], LossOutput]:
  """Return MuZero's loss of one sequence."""
  policy_loss_fn = None
  if distribution is not None:
    policy_loss_fn = functools.partial(
      sampled_policy.policy_loss, distribution,
      entropy_weight=weights.entropy_weight)
  return functools.partial(
    losses.muzero_loss,
    value_transform=value_transform,
    reward_transform=reward_transform,
    policy_weight=weights.policy_weight,
    value_weight=weights.value_weight,
    reward_weight=weights.reward_weight,
    policy_loss_fn=policy_loss_fn,
  )


def _variant_terms(
  model: Model, value_transform: Transform, weights: settings.LossWeights
) -> list[Term]:
  """Return what the variants that a model has add to the loss."""
  terms = []
  if model.afterstate is not None:
    chance_loss = functools.partial(
      stochastic.chance_loss,
      value_transform=value_transform,
      value_weight=weights.value_weight,
      chance_weight=weights.chance_weight,
      commitment_weight=weights.commitment_weight,
    )
    terms.append(Term(
      lambda x: stochastic.batch_loss(chance_loss, x.chance, x.target)))
  if model.afterstate is not None and model.turn is not None:
    terms.append(Term(lambda x: turn_prediction.batch_loss(
      x.chance.turn_logits, x.sequence.to_play, x.target,
      weight=weights.turn_weight)))
  if weights.consistency_weight:
    terms.append(Term(
      lambda x: consistency.batch_loss(
        model, x.params, x.output.state, x.sequence.observation, x.target,
        weight=weights.consistency_weight),
      needs_states=True,
      needs_all_observations=True,
    ))
  return terms


def _policy_gradient_term(
  value_transform: Transform,
  weights: settings.LossWeights,
  distribution: Distribution | None,
  axis_name: str | None,
) -> Term:
  """Make the term that learns from what was played."""
  return Term(lambda x: policy_gradient.batch_loss(
    x.output, x.target, value_transform,
    weight=weights.policy_gradient_weight, distribution=distribution,
    axis_name=axis_name))


def _unroll(
  model: Model,
  keep_states: bool,
  params: Params,
  sequence: Sequence,
  target: Target,
) -> Unrolled:
  """Unroll a model along the target's actions, through chance if it has any."""
  if model.afterstate is None:
    output = model_lib.unroll(
      model, params, sequence.observation[:, 0], target.action,
      keep_states=keep_states)
    return Unrolled(params, output, sequence, target)
  output, chance = stochastic.unroll(
    model, params, sequence.observation, target.action,
    keep_states=keep_states)
  return Unrolled(params, output, sequence, target, chance)


def _guarded(loss: Array, target: Target) -> Array:
  """Return the loss, or NaN where a target is not finite.

  Two-hot targets would clip an infinity and, compiled, lose a NaN.
  """
  is_finite = jnp.stack([
    jnp.isfinite(x).all()
    for x in (target.value, target.reward, target.policy)
  ]).all()
  return jnp.where(is_finite, loss, jnp.nan)


def _metrics(
  output: ModelOutput,
  target: Target,
  loss: LossOutput,
  value_transform: Transform,
  reward_transform: Transform,
  entropy_fn: Callable[[Array], Array],
) -> Metrics:
  """Returns what MuZero's unroll tells; 0 for what only the update knows."""
  value_error = jnp.abs(
    value_transform.invert(output.value_logits) - target.value
  )
  reward_error = jnp.abs(
    reward_transform.invert(output.reward_logits[:, 1:]) - target.reward
  )
  of_network = entropy_fn(output.policy_logits[:, 0])
  of_search = jnp.sum(jax.scipy.special.entr(target.policy[:, 0]), axis=-1)
  unknown = jnp.zeros((), jnp.float32)
  return Metrics(
    loss=unknown,
    policy_loss=masked_mean(loss.policy, target.policy_mask),
    value_loss=masked_mean(loss.value, target.value_mask),
    reward_loss=masked_mean(loss.reward, target.reward_mask),
    value_error=masked_mean(value_error[:, 0], target.value_mask[:, 0]),
    value_target=masked_mean(target.value[:, 0], target.value_mask[:, 0]),
    value_target_max=jnp.max(
      jnp.abs(target.value), where=target.value_mask > 0, initial=0.0
    ),
    clip_fraction=masked_mean(
      value_transform.is_clipped(target.value), target.value_mask
    ),
    policy_entropy=masked_mean(of_network, target.policy_mask[:, 0]),
    target_entropy=masked_mean(of_search, target.policy_mask[:, 0]),
    policy_divergence=masked_mean(
      loss.policy[:, 0] - of_search, target.policy_mask[:, 0]
    ),
    value_error_at=masked_mean(value_error, target.value_mask, 0),
    reward_error_at=masked_mean(reward_error, target.reward_mask, 0),
    grad_norm=unknown,
    update_norm=unknown,
    sample_age=unknown,
    weight_min=unknown,
  )
