"""Sampled MuZero's policy loss: over the candidates that a search was over."""

import jax.numpy as jnp

from muzero_jax.networks.distributions import Distribution
from muzero_jax.types import Array, Target


def policy_loss(
  distribution: Distribution,
  logits: Array,
  target: Target,
  *,
  entropy_weight: float = 0.0,
) -> Array:
  """Returns the cross-entropy from the search's policy to pi.

  l^p = -sum_i p(a_i) log pi(a_i) - c_e H(pi), over the candidates that the
  search was over (Sampled MuZero, section 5: the sampled policy is projected
  to pi). Without the entropy a density narrows without end on its best
  candidates.

  Args:
    distribution: pi.
    logits: [K+1, P]
    target: with candidates.
    entropy_weight: c_e.

  Returns:
    [K+1] losses; below 0 where a density is above 1.
  """
  assert target.candidates is not None
  log_probs = distribution.log_prob(logits[:, None], target.candidates)
  loss = -jnp.sum(target.policy * log_probs, axis=-1)
  if entropy_weight:
    loss = loss - entropy_weight * distribution.entropy(logits)
  return loss
