"""The loss of a batch: MuZero's own and what each variant adds to it.

`learner` differentiates the loss that `make_objective` returns. Whoever wants
the loss of one unrolled sequence alone takes `losses`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax import losses
from muzero_jax.errors import UserError
from muzero_jax.learning import (
  consistency,
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
  # With a consistency loss only: 0 agrees, 1 is unrelated.
  consistency_loss: Array | None = None  # [] 1 - cosine, imagined to observed.
  # [] updates since the reanalysed samples were searched; None unless they are
  # a stream's.
  target_age: Array | None = None


# params, sequence [N, L, ...], target [N, ...], weights [N] -> loss, metrics.
# The sequence's observations are [N, 1, ...] at least, or [N, K + 1, ...].
LossFn = Callable[
  [Params, Sequence, Target, Array], tuple[Array, Metrics]
]


class Objective(NamedTuple):
  """What a learner minimises."""

  loss: LossFn
  # Whether the loss reads all K+1 observations of a sequence, not its first
  # alone: the encoder of chance codes and the consistency loss do.
  observes_unroll: bool


def make_objective(
  model: Model,
  value_transform: Transform,
  reward_transform: Transform,
  *,
  policy_weight: float = 1.0,
  value_weight: float = 0.25,
  reward_weight: float = 1.0,
  chance_weight: float = 1.0,
  commitment_weight: float = 1.0,
  turn_weight: float = 1.0,
  consistency_weight: float = 0.0,
  distribution: Distribution | None = None,
  entropy_weight: float = 0.0,
) -> Objective:
  """Returns the loss of a batch, and which observations it reads.

  A variant adds a loss per sequence and metrics of its own; what is not used
  is not computed.

  Args:
    model: functions h, g and f, and a variant's.
    value_transform: of the value head.
    reward_transform: of the reward head.
    policy_weight: of the policy loss.
    value_weight: of the value loss, and of the afterstates' values.
    reward_weight: of the reward loss.
    chance_weight: of the codes' distribution, in a stochastic model.
    commitment_weight: of the encoder's outputs, in a stochastic model.
    turn_weight: of the turns, in a model that predicts them.
    consistency_weight: of the consistency loss; 0 for none.
    distribution: that policy logits are of, in Sampled MuZero; else None.
    entropy_weight: of the policy's entropy, in Sampled MuZero.

  Raises:
    UserError: a weight is of something that there is none of.
  """
  if consistency_weight and model.project is None:
    raise UserError(
      f'consistency_weight={consistency_weight}: needs a model with a '
      'projection; allowed is 0')
  if entropy_weight and distribution is None:
    raise UserError(
      f'entropy_weight={entropy_weight}: needs a distribution; allowed is 0')
  policy_loss_fn = None
  entropy_fn: Callable[[Array], Array] = softmax_entropy
  if distribution is not None:
    policy_loss_fn = functools.partial(
      sampled_policy.policy_loss, distribution, entropy_weight=entropy_weight
    )
    entropy_fn = distribution.entropy
  sequence_loss = functools.partial(
    losses.muzero_loss,
    value_transform=value_transform,
    reward_transform=reward_transform,
    policy_weight=policy_weight,
    value_weight=value_weight,
    reward_weight=reward_weight,
    policy_loss_fn=policy_loss_fn,
  )
  chance_loss = functools.partial(
    stochastic.chance_loss,
    value_transform=value_transform,
    value_weight=value_weight,
    chance_weight=chance_weight,
    commitment_weight=commitment_weight,
  )

  def loss_fn(
    params: Params, sequence: Sequence, target: Target, weights: Array
  ) -> tuple[Array, Metrics]:
    target = target._replace(
      reward=value_prefix.sums(target.reward, steps=model.prefix_steps)
    )
    added: list[tuple[Array, dict[str, Array]]] = []
    keep_states = consistency_weight > 0
    if model.afterstate is None:
      output = model_lib.unroll(
        model, params, sequence.observation[:, 0], target.action,
        keep_states=keep_states,
      )
    else:
      output, chance = stochastic.unroll(
        model, params, sequence.observation, target.action,
        keep_states=keep_states,
      )
      added.append(stochastic.batch_loss(chance_loss, chance, target))
      if chance.turn_logits is not None:
        added.append(turn_prediction.batch_loss(
          chance.turn_logits, sequence.to_play, target, weight=turn_weight
        ))
    loss = jax.vmap(sequence_loss)(model_lib.without_state(output), target)
    if keep_states:
      added.append(consistency.batch_loss(
        model, params, output.state, sequence.observation, target,
        weight=consistency_weight,
      ))
    per_sequence = loss.total
    for extra_loss, _ in added:
      per_sequence = per_sequence + extra_loss
    # Two-hot targets would clip an infinity and, compiled, lose a NaN.
    is_finite = jnp.stack([
      jnp.isfinite(x).all()
      for x in (target.value, target.reward, target.policy)
    ]).all()
    total = jnp.where(is_finite, jnp.mean(weights * per_sequence), jnp.nan)
    metrics = _metrics(
      output, target, loss, value_transform, reward_transform, entropy_fn
    )
    for _, extra in added:
      metrics = metrics._replace(**extra)
    return total, metrics._replace(loss=total, weight_min=jnp.min(weights))

  return Objective(
    loss_fn,
    observes_unroll=model.afterstate is not None or consistency_weight > 0,
  )


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
  unknown = jnp.zeros(())
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
