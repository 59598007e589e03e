"""The policy gradient: actions that turned out better than expected.

A search can only improve the policy as far as the model tells actions apart.
What came of the actions that were played is known without a model, and this
loss trains the policy on it, beside the search's policy. Muesli (Hessel et al.
2021, arXiv 2104.06159, section 4.1) does the same with a model of one step.
"""

import jax
import jax.numpy as jnp

from muzero_jax import losses, targets
from muzero_jax.networks.distributions import Distribution
from muzero_jax.transforms import Transform
from muzero_jax.types import Array, ModelOutput, Target

# Standard deviations at which an advantage is clipped: one rare reward must
# not make all of a gradient.
_LARGEST = 5.0
_LEAST_SCALE = 1e-6
# Of an action that a search gave no probability, and that was played.
_LEAST_PROBABILITY = 1e-3


def advantages(
  value: Array, target: Target, *, axis_name: str | None = None
) -> Array:
  """Compute by how much returns exceed values, in units of their spread.

  A_k = clip((z_k - v_k - mu) / sigma, -5, 5), with mu and sigma the mean and
  the standard deviation of z - v over the batch, so that it has no unit of
  reward. The mean is subtracted because values lag behind returns early in
  training: without that, every action that is played would look too bad.

  Args:
    value: [B, K+1] the network's, for the player to move.
    target: [B, ...] its values are the returns z.
    axis_name: device axis over which mu and sigma are taken.

  Returns:
    [B, K] of the action that each row took; 0 from an episode's end on.
  """
  mask = targets.live_transitions(target)
  num_steps = mask.shape[-1]
  difference = jnp.where(
    mask > 0, target.value[:, :num_steps] - value[:, :num_steps], 0.0)
  total = lambda x: (
    jnp.sum(x) if axis_name is None else jax.lax.psum(jnp.sum(x), axis_name))
  count = jnp.maximum(total(mask), 1.0)
  centred = mask * (difference - total(difference) / count)
  scale = jnp.sqrt(total(centred**2) / count)
  return jnp.clip(
    centred / jnp.maximum(scale, _LEAST_SCALE), -_LARGEST, _LARGEST)


def batch_loss(
  output: ModelOutput,
  target: Target,
  value_transform: Transform,
  *,
  weight: float,
  distribution: Distribution | None = None,
  axis_name: str | None = None,
) -> tuple[Array, dict[str, Array]]:
  """Compute what the policy gradient adds to the loss of each sequence.

  l_k = -rho_k A_k log pi(a_k), where rho_k = min(1, pi(a_k) / mu(a_k)) corrects
  for the policy mu that the search had when a_k was played (V-trace's
  truncated ratio, Espeholt et al. 2018, equation 1). In Sampled MuZero pi and
  mu are over the candidates that the search chose from: the density of pi at
  each, divided by their sum.

  Args:
    output: [B, K+1, ...] of an unroll.
    target: [B, ...] of the same rows.
    value_transform: of the value head.
    weight: of this loss.
    distribution: that policy logits are of, in Sampled MuZero; else None.
    axis_name: as of `advantages`.

  Returns:
    [B] weighted, and metrics by name.
  """
  mask = targets.live_transitions(target)
  num_steps = mask.shape[-1]
  value = jax.lax.stop_gradient(value_transform.invert(output.value_logits))
  advantage = advantages(value, target, axis_name=axis_name)
  logits = output.policy_logits[:, :num_steps]
  played = target.policy[:, :num_steps]
  if target.candidates is None or distribution is None:
    log_probs, index = jax.nn.log_softmax(logits), target.action
  else:
    candidates = target.candidates[:, :num_steps]
    is_action = _is_action(candidates, target.action)
    log_probs = jax.nn.log_softmax(
      distribution.log_prob(logits[:, :, None], candidates))
    index = jnp.argmax(is_action, axis=-1)
    # Candidates that were drawn anew may lack the action.
    mask = mask * jnp.any(is_action, axis=-1)
  log_prob = _of_action(log_probs, index)
  ratio = jnp.exp(log_prob) / jnp.maximum(
    _of_action(played, index), _LEAST_PROBABILITY)
  ratio = jax.lax.stop_gradient(jnp.minimum(1.0, ratio))
  loss = mask * -ratio * advantage * log_prob
  weights = losses.unroll_weights(num_steps)[:num_steps]
  return weight * jnp.sum(weights * loss, axis=1), dict(
    advantage_loss=losses.masked_mean(loss, mask))


def _is_action(candidates: Array, action: Array) -> Array:
  """Compute [B, K, C] which candidates [B, K, C, ...] are the action played."""
  same = candidates == jnp.expand_dims(action, 2)
  return jnp.all(same.reshape(*same.shape[:3], -1), axis=-1)


def _of_action(x: Array, action: Array) -> Array:
  """Take x[..., a] of the actions a."""
  return jnp.take_along_axis(x, action[..., None], axis=-1)[..., 0]
