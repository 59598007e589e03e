"""Who moves next, where players do not take turns one by one.

In backgammon a player moves a checker for each die, and only then the other
rolls. A value belongs to whoever is to move, so the search must know the sign
of what follows: a stochastic model tells from an afterstate whether the turn
passes with it. Whether it does is settled by what was played, never by the
dice that are rolled then. In a game in which players alternate there is
nothing to predict, and none of this is compiled.
"""

import optax

from muzero_jax import losses, targets
from muzero_jax.types import Array, Target


def turn_loss(
  logits: Array, to_play: Array, mask: Array
) -> tuple[Array, Array]:
  """Returns the loss of each transition, and where the decision is right.

  Binary cross-entropy to [to_play_k != to_play_{k+1}], masked.

  Args:
    logits: [..., K] that the turn passes with transition k.
    to_play: [..., K + 1] or more rows, player to move.
    mask: [..., K] 1 for transitions that count.

  Returns:
    [..., K] loss and [..., K] 1 where right, both 0 where masked.
  """
  num_steps = logits.shape[-1]
  before, after = to_play[..., :num_steps], to_play[..., 1 : num_steps + 1]
  passes = before != after
  loss = optax.sigmoid_binary_cross_entropy(logits, passes)
  return mask * loss, mask * ((logits > 0) == passes)


def batch_loss(
  logits: Array, to_play: Array, target: Target, *, weight: float
) -> tuple[Array, dict[str, Array]]:
  """Returns what the turns add to the loss of each sequence.

  Args:
    logits: [B, K] along an unroll.
    to_play: [B, L] of the sequences.
    target: [B, ...] of the same rows.
    weight: of this loss.

  Returns:
    [B] weighted, and metrics by name.
  """
  # Nobody moves after the end: the last transition has no turn to pass.
  goes_on = target.policy_mask[:, 1:]
  mask = targets.live_transitions(target) * goes_on
  loss, is_right = turn_loss(logits, to_play, mask)
  weighted = losses.unroll_weights(logits.shape[-1])[1:] * loss
  return weight * weighted.sum(axis=1), dict(
    turn_loss=losses.masked_mean(loss, mask),
    turn_accuracy=losses.masked_mean(is_right, mask),
  )
