"""EfficientZero's consistency loss: imagined states are like observed ones.

The reward alone tells little of where an action led; the next observation
tells all (EfficientZero, arXiv 2111.00210, section 4.1, after SimSiam, Chen
and He 2021). The learner adds this loss where a model can project.
"""

import jax
import jax.numpy as jnp

from muzero_jax import model as model_lib
from muzero_jax.types import Array, Model, Params


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


def _unit(x: Array) -> Array:
  return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
