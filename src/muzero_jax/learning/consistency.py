"""EfficientZero's consistency loss: imagined states are like observed ones.

The reward alone tells little of where an action led; the next observation
tells all (EfficientZero, arXiv 2111.00210, section 4.1, after SimSiam, Chen
and He 2021). The learner adds this loss where a model can project.
"""

from typing import Any

import jax
import jax.numpy as jnp

from muzero_jax import losses, targets
from muzero_jax.networks import model as model_lib
from muzero_jax.types import Array, Model, Params, Target


def cosine_loss(predicted: Array, target: Array) -> Array:
  """Returns 1 - cos(predicted, target), without a gradient to the target.

  Between 0, for the same direction, and 2.

  Args:
    predicted: [..., P]
    target: [..., P]
  """
  return 1 - jnp.sum(
    _unit(predicted) * _unit(jax.lax.stop_gradient(target)), axis=-1
  )


def consistency_loss(
  model: Model,
  params: Params,
  state: Array,
  observation: Array,
  mask: Array,
) -> Array:
  """Returns the loss of K imagined states of B sequences (equation 3).

  Args:
    model: with projections.
    params: of the model.
    state: [B, K, ...] hidden states of unroll steps 1 to K.
    observation: [B, K, ...] of the same rows.
    mask: [B, K] 1 for rows of the episode.

  Returns:
    [B, K] masked, not weighted.
  """
  assert model.project is not None and model.predict is not None
  flat = lambda x: x.reshape(-1, *x.shape[2:])
  observed = model_lib.hidden_of(model.root(params, flat(observation)).state)
  # The real side is the target: no gradient flows there, or all states would
  # agree on being the same.
  target = model.project(params, jax.lax.stop_gradient(observed))
  predicted = model.predict(params, flat(state))
  return mask * cosine_loss(predicted, target).reshape(mask.shape)


def batch_loss(
  model: Model,
  params: Params,
  state: Any,
  observation: Array,
  target: Target,
  *,
  weight: float,
) -> tuple[Array, dict[str, Array]]:
  """Returns what EfficientZero adds to the loss of each sequence.

  Args:
    model: with projections.
    params: of the model.
    state: [B, K+1, ...] hidden states of an unroll.
    observation: [B, K+1, ...] or more rows.
    target: [B, ...] of the same rows.
    weight: of this loss.

  Returns:
    [B] weighted, and metrics by name.
  """
  num_steps = target.reward.shape[1]
  live = targets.live_transitions(target)
  loss = consistency_loss(
    model, params, model_lib.hidden_of(state)[:, 1:],
    observation[:, 1 : num_steps + 1], live,
  )
  weighted = losses.unroll_weights(num_steps)[1:] * loss
  return weight * weighted.sum(axis=1), dict(
    consistency_loss=losses.masked_mean(loss, live)
  )


def _unit(x: Array) -> Array:
  return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
