"""Whether a transition ends the episode: the learned discount.

MuZero has no such prediction: values of states behind the end are trained
towards 0, and a search learns of an end from these values alone. Where ends
are rare and depend on small things (a bullet one square away), values learn
them late: in MinAtar's Space Invaders a model of a million steps put a fatal
action 0.3 below the others where 3.9 was right. With a head of its own (as in
Dreamer, Hafner et al. 2020, section 4) the same network tells ends earlier,
the search multiplies by the predicted discount, and values behind the end need
not be learnt.
"""

import optax

from muzero_jax import losses, targets
from muzero_jax.types import Array, Target


def end_targets(target: Target) -> Array:
  """Compute 1 for transitions that end the episode, else 0.

  An episode that time cuts off does not end: its value goes on.

  Args:
    target: [..., K + 1 or K] of an unroll.

  Returns:
    [..., K] f32; 0 behind the end too.
  """
  after = target.value_mask[..., 1:] * (1 - target.policy_mask[..., 1:])
  return targets.live_transitions(target) * after


def until_the_end(target: Target) -> Target:
  """Return targets that train nothing of the states behind the end.

  The search gives them no weight, so they need not have value 0.
  """
  return target._replace(
    value_mask=target.value_mask * target.policy_mask,
    reward_mask=target.reward_mask * targets.live_transitions(target))


def end_loss(logits: Array, target: Target) -> tuple[Array, Array]:
  """Compute the binary cross-entropy of each transition of the episode.

  Args:
    logits: [..., K] that transition k is the last.
    target: of the same rows.

  Returns:
    [..., K] loss, 0 behind the end, and [..., K] the mask of what counts.
  """
  mask = targets.live_transitions(target)
  loss = optax.sigmoid_binary_cross_entropy(logits, end_targets(target))
  return mask * loss, mask


def batch_loss(
  logits: Array, target: Target, *, weight: float
) -> tuple[Array, dict[str, Array]]:
  """Compute what the ends add to the loss of each sequence.

  Args:
    logits: [B, K] along an unroll.
    target: [B, ...] of the same rows.
    weight: of this loss.

  Returns:
    [B] weighted, and metrics by name.
  """
  loss, mask = end_loss(logits, target)
  weighted = losses.unroll_weights(logits.shape[-1])[1:] * loss
  return weight * weighted.sum(axis=1), dict(
    end_loss=losses.masked_mean(loss, mask))
