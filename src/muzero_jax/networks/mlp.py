"""MLP network for vector observations, and for small images behind a stem."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax.errors import UserError
from muzero_jax.networks import (
  attention_pooling,
  conv,
  heads,
  prefix,
  projection,
)
from muzero_jax.types import Array, ModelOutput


class Block(nn.Module):
  """Pre-activation residual layer."""

  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    y = nn.relu(nn.LayerNorm(dtype=self.dtype)(x))
    return x + nn.Dense(x.shape[-1], dtype=self.dtype)(y)


class MLPNetwork(projection.Projecting, nn.Module):
  """h, g and f as residual MLPs; observations of any shape are flattened.

  Attributes:
    num_actions: A.
    num_outputs: D of the value and reward heads.
    width: units of the hidden state.
    num_blocks: residual layers of h and of g.
    head_hidden: units of each head's hidden layer.
    stem_channels: planes of a 3x3 convolution before h's first layer, for
      images; 0 for none. The hidden state stays a vector, so that a search
      pays for no convolution but the root's.
    attention_heads: of an `AttentionPool` of twice these planes, beside
      them; 0 for none.
    projection: P of the consistency loss; 0 for none.
    prefix_steps: transitions after which value prefixes start anew; 0 for
      single rewards.
    prefix_units: of the value prefix's LSTM.
    policy_outputs: P of the policy head; 0 for A.
    action_low: [A] bounds of continuous actions; () for discrete ones.
    action_high: [A]
    dtype: of the arithmetic; parameters stay float32.
  """

  num_actions: int
  num_outputs: int
  width: int = 128
  num_blocks: int = 1
  head_hidden: int = 64
  stem_channels: int = 0
  attention_heads: int = 0
  projection: int = 0
  prefix_steps: int = 0
  prefix_units: int = 64
  policy_outputs: int = 0
  action_low: tuple[float, ...] = ()
  action_high: tuple[float, ...] = ()
  dtype: Any = jnp.float32

  def setup(self) -> None:
    if self.projection:
      self.projector = projection.Projection(self.projection, self.dtype)
    head = lambda n: heads.MLPHead(self.head_hidden, n, self.dtype)
    self.value_head = head(self.num_outputs)
    if self.prefix_steps:
      self.prefix_head = prefix.PrefixHead(
        self.prefix_steps, self.prefix_units, self.head_hidden,
        self.num_outputs, dtype=self.dtype,
      )
    else:
      self.reward_head = head(self.num_outputs)
    self.policy_head = head(self.policy_outputs or self.num_actions)
    if self.stem_channels:
      self.stem = conv.Conv(self.stem_channels, dtype=self.dtype)
    if self.attention_heads:
      if not self.stem_channels:
        raise UserError(
          f'attention_heads={self.attention_heads}: needs stem_channels of at '
          'least 1')
      self.stem_pool = attention_pooling.AttentionPool(
        self.attention_heads, 2 * self.stem_channels, self.dtype)
    self.encoder = nn.Dense(self.width, dtype=self.dtype)
    self.encoder_blocks = [Block(self.dtype) for _ in range(self.num_blocks)]
    self.transition = nn.Dense(self.width, dtype=self.dtype)
    self.transition_blocks = [
      Block(self.dtype) for _ in range(self.num_blocks)
    ]

  def root(self, observation: Array) -> ModelOutput:
    """Returns f(h(o)) for observations [B, ...]."""
    x = self.encoder(self.embed(observation))
    for block in self.encoder_blocks:
      x = block(x)
    hidden = heads.normalise_state(x)
    no_reward = jnp.zeros((hidden.shape[0], self.num_outputs), jnp.float32)
    state = None
    if self.prefix_steps:
      state = prefix.start(hidden, self.prefix_units)
    return heads.predict(
      self.value_head, self.policy_head, hidden, no_reward, state
    )

  def step(self, state: Any, action: Array) -> ModelOutput:
    """Returns f(g(s, a)) for states [B, width] and actions [B], or [B, A]."""
    if not self.action_low:
      return self.advance(state, jax.nn.one_hot(
        action, self.num_actions, dtype=jnp.float32))
    low, high = (
      jnp.array(bound, jnp.float32)
      for bound in (self.action_low, self.action_high))
    return self.advance(state, 2 * (action - low) / (high - low) - 1)

  def embed(self, observation: Array) -> Array:
    """Returns what the first dense layer sees [B, X] of [B, ...]."""
    x = heads.to_input(observation, self.dtype)
    if self.stem_channels:
      x = nn.relu(self.stem(x))
    flat = x.reshape(x.shape[0], -1)
    if not self.attention_heads:
      return flat
    return jnp.concatenate([flat, self.stem_pool(x)], axis=-1)

  def advance(self, state: Any, cause: Array) -> ModelOutput:
    """Returns f and g of states [B, width] and causes [B, X].

    Causes are one-hot vectors, or continuous actions scaled to [-1, 1].
    """
    hidden = state.hidden if self.prefix_steps else state
    x = jnp.concatenate([hidden, cause], axis=-1, dtype=self.dtype)
    x = hidden + self.transition(x)
    for block in self.transition_blocks:
      x = block(x)
    hidden = heads.normalise_state(x)
    if self.prefix_steps:
      new_state, reward = self.prefix_head(state, hidden)
    else:
      new_state, reward = None, self.reward_head(hidden)
    return heads.predict(
      self.value_head, self.policy_head, hidden, reward, new_state
    )
