"""The head that tells whether a transition ended the episode."""

import flax.linen as nn

from muzero_jax.types import Array

# Few transitions end an episode: 0.7 % before anything is learnt.
_AT_START = -5.0


class Ending:
  """The method of a network with an `end_head`."""

  end_head: nn.Module

  def end(self, state: Array) -> Array:
    """Compute logits [B] that the transition into states [B, ...] was the last.

    The search gives the value of a state the weight 1 - sigmoid(logit).
    """
    return self.end_head(state)[:, 0] + _AT_START
