"""Attention over the positions of a small image."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax.networks import conv
from muzero_jax.types import Array


class AttentionPool(nn.Module):
  """What a convolution sees at the places where its heads look.

  A dense layer over all positions learns what stands beside a player for each
  place where that may happen. Here it is learnt once: every head has a weight
  for each position, of what is seen there (softmax over positions, as in Levine
  et al., arXiv 1504.00702), and the mean of what is seen under these weights.

  Attributes:
    num_heads: N.
    features: F, planes of the convolution.
    dtype: of the arithmetic; parameters stay float32.
  """

  num_heads: int
  features: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Returns [B, N * F] of images [B, H, W, C]."""
    x = nn.relu(conv.Conv(self.features, dtype=self.dtype)(x))
    x = x.reshape(x.shape[0], -1, self.features)
    logits = nn.Dense(self.num_heads, dtype=self.dtype)(x)
    weights = jax.nn.softmax(logits.astype(jnp.float32), axis=1)
    seen = jnp.einsum('bpn,bpf->bnf', weights.astype(self.dtype), x)
    return seen.reshape(x.shape[0], -1)
