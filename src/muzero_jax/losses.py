"""The loss of ONE unrolled sequence.

The `ModelOutput` of an unroll and the `Target` of the same rows go in, a
scalar for the optimiser and its parts for the logs come out; `learner` vmaps
over the batch and applies the importance weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from muzero_jax.errors import UserError
from muzero_jax.transforms import Transform
from muzero_jax.types import Array, ModelOutput, Target


class LossOutput(NamedTuple):
  """The loss of one sequence; the parts are masked but not yet weighted."""

  total: Array  # [] f32, the weighted sum of the parts.
  policy: Array  # [K+1] f32
  value: Array  # [K+1] f32
  reward: Array  # [K] f32


def scale_gradient(x: Array, scale: float) -> Array:
  """Returns `x` unchanged, its gradient multiplied by `scale`.

  With 1/2 on the hidden state where it enters the next dynamics call, the
  gradient that reaches the representation function does not grow with the
  number of unroll steps. MuZero, appendix G.

  Args:
    x: [...] any array of floats.
    scale: factor of the gradient.

  Returns:
    [...] `x`.
  """
  # x - x is exactly 0; scale * x + (1 - scale) * x would round.
  fixed = jax.lax.stop_gradient(x)
  return fixed + scale * (x - fixed)


def unroll_weights(unroll_steps: int) -> Array:
  """Returns the weight of the loss at each unroll step.

  w_0 = 1, w_k = 1/K for k = 1..K, so that the unrolled steps together count
  as much as the root. MuZero, appendix G.

  Args:
    unroll_steps: K.

  Returns:
    [K+1] weights.

  Raises:
    UserError: `unroll_steps` is below 1.
  """
  if unroll_steps < 1:
    raise UserError(
      f'unroll_steps={unroll_steps}: allowed are integers >= 1.')
  weights = jnp.full(unroll_steps + 1, 1.0 / unroll_steps, jnp.float32)
  return weights.at[0].set(1.0)


def masked_mean(
  x: Array, mask: Array, axis: int | None = None
) -> Array:
  """Returns the mean of `x` where `mask` is above 0; 0 if that is nowhere.

  Args:
    x: [...] what is masked may be anything, even NaN.
    mask: [...] of the same shape, of zeros and ones.
    axis: to take the mean over; None for all.
  """
  total = jnp.sum(jnp.where(mask > 0, x * mask, 0.0), axis)
  return total / jnp.maximum(jnp.sum(mask, axis), 1)


def policy_loss(logits: Array, target: Array) -> Array:
  """Returns the cross-entropy from the search policy to the network's.

  l^p = -sum_a pi(a) log softmax(logits)(a), with 0 log 0 = 0: the logits of
  actions of which the target is 0 may be -inf. MuZero, eq. 1.

  Args:
    logits: [..., A] of the network.
    target: [..., A] probabilities; a row of zeros has loss 0.

  Returns:
    [...] float32.
  """
  chex.assert_equal_shape(
    [logits, target], custom_message='logits and target')
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
  # A product would make 0 * -inf, in the value or in the gradient.
  return -jnp.sum(
    target * jnp.where(target == 0, 0.0, log_probs), axis=-1)


def muzero_loss(
  output: ModelOutput,
  target: Target,
  *,
  value_transform: Transform,
  reward_transform: Transform,
  policy_weight: float = 1.0,
  value_weight: float = 0.25,
  reward_weight: float = 1.0,
  policy_loss_fn: Callable[[Array, Target], Array] | None = None,
) -> LossOutput:
  """Returns the loss of one sequence and its parts.

  total = sum_{k=0}^{K} w_k (c_p l^p_k + c_v l^v_k)
          + sum_{k=1}^{K} w_k c_r l^r_k,

  with w from `unroll_weights`. MuZero, eq. 1 and appendix G; the weight 1/4 of
  the value is that of appendix H. Weight decay is the optimiser's.

  Args:
    output: [K+1, ...] of the model; row 0 is the root, row k follows action
      k - 1. `reward_logits[k]` predicts the reward of the transition into row
      k, so that row 0 of it is ignored. `state` is not used.
    target: see `targets.make_targets`; no gradient flows into it.
    value_transform: the one of the value head.
    reward_transform: the one of the reward head.
    policy_weight: c_p.
    value_weight: c_v.
    reward_weight: c_r.
    policy_loss_fn: (logits [K+1, P], target) -> l^p [K+1]; None for
      `policy_loss`.

  Returns:
    A `LossOutput`; a masked entry is 0 and has gradient 0.
  """
  unroll_steps = target.reward.shape[0]
  for name, array in (
    ('target.value', target.value), ('target.policy', target.policy),
    ('output.value_logits', output.value_logits),
    ('output.reward_logits', output.reward_logits),
    ('output.policy_logits', output.policy_logits),
  ):
    chex.assert_axis_dimension(
      array, 0, unroll_steps + 1,
      custom_message=f'{name}: one row more than target.reward')
  target = _without_masked(jax.lax.stop_gradient(target))
  if policy_loss_fn is None:
    policy = policy_loss(output.policy_logits, target.policy)
  else:
    policy = policy_loss_fn(output.policy_logits, target)
  policy = target.policy_mask * policy
  value = target.value_mask * value_transform.loss(
    output.value_logits, value_transform.apply(target.value))
  reward = target.reward_mask * reward_transform.loss(
    output.reward_logits[1:], reward_transform.apply(target.reward))
  weights = unroll_weights(unroll_steps)
  total = (
    jnp.sum(weights * (policy_weight * policy + value_weight * value))
    + jnp.sum(weights[1:] * reward_weight * reward))
  return LossOutput(total=total, policy=policy, value=value, reward=reward)


def _without_masked(target: Target) -> Target:
  """Returns `target` with 0 for whatever is masked."""
  # The gradient of a masked loss is 0 times its own gradient: that must not be
  # NaN, and so the target must not be.
  return target._replace(
    value=jnp.where(target.value_mask == 0, 0.0, target.value),
    reward=jnp.where(target.reward_mask == 0, 0.0, target.reward),
    policy=jnp.where(target.policy_mask[:, None] == 0, 0.0, target.policy),
  )
