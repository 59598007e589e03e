"""Exploration at the root: Dirichlet noise in its prior, Gumbel noise."""

import jax
import jax.numpy as jnp
import mctx

from muzero_jax.search import keys
from muzero_jax.types import Array


def mask_logits(logits: Array, invalid_actions: Array | None) -> Array:
  """Returns logits [B, A] of which illegal actions have the least float.

  Not -inf: where all are illegal, a softmax of them stays finite.
  """
  if invalid_actions is None:
    return logits
  logits = logits - logits.max(axis=-1, keepdims=True)
  lowest = jnp.finfo(logits.dtype).min
  return jnp.where(invalid_actions, lowest, logits)


def gumbel_noise(rng_key: Array, logits: Array) -> Array:
  """Return Gumbel noise [B, A] in the dtype of logits."""
  return keys.draw(
    lambda key, shape: jax.random.gumbel(key, shape, logits.dtype),
    rng_key, logits.shape)


def add_dirichlet_noise(
  rng_key: Array,
  logits: Array,
  legal_actions: Array,
  *,
  alpha: float,
  fraction: float,
) -> Array:
  """Returns logits of (1 - fraction) prior + fraction Dir(alpha).

  Prior and noise are distributions over the legal actions alone, so that the
  share of noise does not depend on how many actions are illegal (MuZero
  appendix B).

  Args:
    rng_key: for the noise.
    logits: [B, A] prior.
    legal_actions: [B, A] True where legal.
    alpha: concentration, above 0.
    fraction: share of noise in [0, 1].

  Returns:
    [B, A] logits; the least float32 on illegal actions.
  """
  lowest = jnp.finfo(jnp.float32).min
  logits = jnp.where(legal_actions, logits.astype(jnp.float32), lowest)
  if fraction == 0:
    return logits
  # Normalised gamma variables are Dirichlet; their logarithms do not
  # underflow at small alpha.
  log_gamma = keys.draw(
    lambda key, shape: jax.random.loggamma(key, alpha, shape, jnp.float32),
    rng_key, logits.shape)
  noise = jax.nn.softmax(jnp.where(legal_actions, log_gamma, lowest))
  mixed = (1 - fraction) * jax.nn.softmax(logits) + fraction * noise
  tiny = jnp.finfo(jnp.float32).tiny
  return jnp.where(
    legal_actions, jnp.log(jnp.maximum(mixed, tiny)), lowest
  )


def noisy_root(
  rng_key: Array,
  root: mctx.RootFnOutput,
  invalid_actions: Array | None,
  fraction: float,
  alpha: float,
  legal_only: bool,
) -> mctx.RootFnOutput:
  """Returns the root with Dirichlet noise in its prior, illegal masked."""
  logits = root.prior_logits
  if legal_only:
    legal = jnp.ones(logits.shape, bool)
    if invalid_actions is not None:
      legal = ~jnp.asarray(invalid_actions).astype(bool)
    logits = add_dirichlet_noise(
      rng_key, logits, legal, alpha=alpha, fraction=fraction
    )
  else:
    concentration = jnp.full(logits.shape[-1], alpha)
    noise = jax.random.dirichlet(
      keys.shared(rng_key), concentration, shape=logits.shape[:1])
    mixed = (1 - fraction) * jax.nn.softmax(logits) + fraction * noise
    logits = log_of(mixed)
  return root.replace(  # type: ignore[attr-defined]
    prior_logits=mask_logits(logits, invalid_actions)
  )


def log_of(probabilities: Array) -> Array:
  tiny = jnp.finfo(probabilities.dtype).tiny
  return jnp.log(jnp.maximum(probabilities, tiny))
