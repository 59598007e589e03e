"""Convolutional residual networks for boards and for Atari frames."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax.networks import conv, heads, prefix, projection
from muzero_jax.types import Array, ModelOutput

# Atari frames are halved until the hidden state is at most this wide (MuZero
# appendix F: 96 -> 48 -> 24 -> 12 -> 6).
_HIDDEN_SIZE = 6


class ResBlock(nn.Module):
  """Two 3x3 convolutions around a skip connection, pre-activation."""

  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    y = x
    for _ in range(2):
      y = nn.relu(heads.GroupNorm(self.dtype)(y))
      y = conv.Conv(x.shape[-1], dtype=self.dtype)(y)
    return x + y


class Tower(nn.Module):
  """A 3x3 convolution, then residual blocks."""

  channels: int
  num_blocks: int
  dtype: Any
  strides: int = 1

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = conv.Conv(
      self.channels, stride=self.strides, dtype=self.dtype
    )(x)
    for _ in range(self.num_blocks):
      x = ResBlock(self.dtype)(x)
    return x


class AtariEncoder(nn.Module):
  """h for images: halves them to 6x6 by two convolutions, then by pooling."""

  channels: int
  num_blocks: int
  stage_blocks: tuple[int, int, int]
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    first, second, third = self.stage_blocks
    x = Tower(self.channels // 2, first, self.dtype, strides=2)(x)
    x = nn.relu(heads.GroupNorm(self.dtype)(x))
    x = Tower(self.channels, second, self.dtype, strides=2)(x)
    for blocks in (third, self.num_blocks):
      if max(x.shape[1:3]) > _HIDDEN_SIZE:
        x = nn.avg_pool(x, (3, 3), strides=(2, 2), padding='SAME')
      for _ in range(blocks):
        x = ResBlock(self.dtype)(x)
    while max(x.shape[1:3]) > _HIDDEN_SIZE:  # Frames larger than 96 pixels.
      x = nn.avg_pool(x, (3, 3), strides=(2, 2), padding='SAME')
    return x


def action_planes(
  action: Array, num_actions: int, height: int, width: int, dtype: Any
) -> Array:
  """Returns actions as one-hot planes [B, height, width, P].

  On a board with one action per square, or per square plus a few more, the
  squares share one plane with a 1 at the square; with one action per column,
  a plane has 1 in the column; any other action has a plane of its own.

  Args:
    action: [B] integers in [0, num_actions).
    num_actions: A.
    height: of the hidden state.
    width: of the hidden state.
    dtype: of the result.
  """
  one_hot = jax.nn.one_hot(action, num_actions, dtype=dtype)
  squares = height * width
  if num_actions >= squares:
    board = one_hot[:, :squares].reshape(-1, height, width, 1)
    rest = one_hot[:, squares:]
  elif num_actions == width:
    board = jnp.broadcast_to(
      one_hot[:, None, :, None], (action.shape[0], height, width, 1)
    )
    rest = one_hot[:, :0]
  else:
    board = jnp.zeros((action.shape[0], height, width, 0), dtype)
    rest = one_hot
  rest = jnp.broadcast_to(
    rest[:, None, None, :], (action.shape[0], height, width, rest.shape[-1])
  )
  return jnp.concatenate([board, rest], axis=-1)


class _ResNet(projection.Projecting, nn.Module):
  """g and f, common to boards and Atari; subclasses define `encode`.

  Attributes:
    num_actions: A.
    num_outputs: D of the value and reward heads.
    channels: planes of the hidden state.
    num_blocks: residual blocks of h and of g.
    head_channels: planes of each head's 1x1 convolution.
    head_hidden: units of each head's hidden layer.
    projection: P of the consistency loss; 0 for none.
    prefix_steps: transitions after which value prefixes start anew; 0 for
      single rewards.
    prefix_units: of the value prefix's LSTM.
    dtype: of the arithmetic; parameters stay float32.
  """

  num_actions: int
  num_outputs: int
  channels: int = 64
  num_blocks: int = 1
  head_channels: int = 16
  head_hidden: int = 32
  projection: int = 0
  prefix_steps: int = 0
  prefix_units: int = 64
  dtype: Any = jnp.float32

  spatial_actions = False  # True if an action may name a square of the state.

  def setup(self) -> None:
    if self.projection:
      self.projector = projection.Projection(self.projection, self.dtype)
    head = lambda n: heads.ConvHead(
      self.head_channels, self.head_hidden, n, self.dtype
    )
    self.value_head = head(self.num_outputs)
    if self.prefix_steps:
      self.prefix_head = prefix.PrefixHead(
        self.prefix_steps, self.prefix_units, self.head_hidden,
        self.num_outputs, self.head_channels, self.dtype,
      )
    else:
      self.reward_head = head(self.num_outputs)
    self.policy_head = head(self.num_actions)
    self.encoder = self.make_encoder()
    self.transition = conv.Conv(self.channels, dtype=self.dtype)
    self.transition_blocks = [
      ResBlock(self.dtype) for _ in range(self.num_blocks)
    ]

  def make_encoder(self) -> nn.Module:
    raise NotImplementedError

  def root(self, observation: Array) -> ModelOutput:
    """Returns f(h(o)) for observations [B, H, W, C]."""
    x = self.encoder(heads.to_input(observation, self.dtype))
    hidden = heads.normalise_state(x)
    no_reward = jnp.zeros((hidden.shape[0], self.num_outputs), jnp.float32)
    state = None
    if self.prefix_steps:
      state = prefix.start(hidden, self.prefix_units)
    return heads.predict(
      self.value_head, self.policy_head, hidden, no_reward, state
    )

  def step(self, state: Any, action: Array) -> ModelOutput:
    """Returns f(g(s, a)) for states [B, h, w, channels], actions [B]."""
    hidden = state.hidden if self.prefix_steps else state
    if self.spatial_actions:
      planes = action_planes(
        action,
        self.num_actions,
        hidden.shape[1],
        hidden.shape[2],
        self.dtype,
      )
    else:
      planes = jnp.broadcast_to(
        jax.nn.one_hot(action, self.num_actions, dtype=self.dtype)[
          :, None, None, :
        ],
        (*hidden.shape[:3], self.num_actions),
      )
    x = jnp.concatenate([hidden.astype(self.dtype), planes], axis=-1)
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


class BoardResNet(_ResNet):
  """Keeps the board's size; actions that name squares become one plane."""

  spatial_actions = True

  def make_encoder(self) -> nn.Module:
    return Tower(self.channels, self.num_blocks, self.dtype)


class AtariResNet(_ResNet):
  """Downsamples frames to 6x6 (MuZero appendix F, EfficientZero A.1).

  Attributes:
    stage_blocks: residual blocks after each of the first three halvings; the
      paper has (2, 3, 3), EfficientZero (1, 1, 1).
  """

  stage_blocks: tuple[int, int, int] = (1, 1, 1)

  def make_encoder(self) -> nn.Module:
    return AtariEncoder(
      self.channels, self.num_blocks, self.stage_blocks, self.dtype
    )
