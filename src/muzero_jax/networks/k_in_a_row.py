"""Networks for boards on which so many in a row count, in any direction."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from muzero_jax.errors import UserError
from muzero_jax.networks import heads, projection, resnet
from muzero_jax.types import Array, ModelOutput

# Rows and columns by which a window goes on: along rows, columns, diagonals.
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def _corners(
  height: int, width: int, length: int
) -> list[tuple[tuple[int, int], list[tuple[int, int]]]]:
  """Returns, by direction that the board has room for, how many windows there
  are (down, across) and where the block of their k-th squares begins."""
  found = []
  for down, across in DIRECTIONS:
    reach = length - 1
    size = height - reach * down, width - reach * abs(across)
    if min(size) > 0:
      first = reach if across < 0 else 0
      found.append((size, [
        (k * down, first + k * across) for k in range(length)]))
  return found


def gather(parts: Sequence[Array]) -> tuple[Array, ...]:
  """Returns of each window the sum of what its squares give to it.

  Args:
    parts: for each place in a window, [B, H, W, C] of what a square gives to
      the window of which it is that place.

  Returns:
    [B, down, across, C] for each direction of `DIRECTIONS` for which the board
    has room: so many windows go down and across it.

  Raises:
    UserError: it has room for none.
  """
  height, width = parts[0].shape[1:3]
  windows: list[Any] = []
  for (down, across), begins in _corners(height, width, len(parts)):
    windows.append(sum(
      part[:, y:y + down, x:x + across]
      for part, (y, x) in zip(parts, begins, strict=True)))
  if not windows:
    raise UserError(
      f'length={len(parts)}: a board of {height} by {width} has no such line; '
      f'allowed are 1 to {max(height, width)}')
  return tuple(windows)


def spread(
  windows: Sequence[Array], height: int, width: int, length: int
) -> list[Array]:
  """Returns of each square the sum of the windows it lies in; of `gather` the
  transpose.

  Args:
    windows: as `gather` returns them.
    height: of the board.
    width: of the board.
    length: of a window.

  Returns:
    For each place in a window, [B, H, W, C]: the sum of the windows of which
    the square is that place.
  """
  parts: list[Any] = [0] * length
  for (size, begins), seen in zip(
      _corners(height, width, length), windows, strict=True):
    for k, (y, x) in enumerate(begins):
      parts[k] += jnp.pad(seen, (
        (0, 0), (y, height - size[0] - y), (x, width - size[1] - x), (0, 0)))
  return parts


class WindowFeatures(nn.Module):
  """One layer over windows, the same for all but for a bias by direction.

  Each square is multiplied once for each place in a window, and a window adds
  up what its squares give. Squares are not copied into each of their windows,
  which costs a CPU more than the products.
  """

  units: int
  length: int
  dtype: Any

  @nn.compact
  def __call__(self, board: Array) -> tuple[Array, ...]:
    """Returns features [B, down, across, units] of boards [B, H, W, C], by
    direction."""
    squares = heads.GroupNorm(self.dtype)(board)
    windows = gather([
      _place(self.units, self.length, self.dtype)(squares)
      for _ in range(self.length)])
    bias = self.param(
      'direction', nn.initializers.zeros, (len(windows), self.units))
    return tuple(
      nn.relu(x + bias[k].astype(self.dtype)) for k, x in enumerate(windows))


class WindowBlock(nn.Module):
  """Residual block: what windows hold is added to their squares."""

  units: int
  length: int
  dtype: Any

  @nn.compact
  def __call__(self, board: Array) -> Array:
    """Returns boards [B, H, W, C] of such boards."""
    _, height, width, planes = board.shape
    seen = WindowFeatures(self.units, self.length, self.dtype)(board)
    told = sum(
      _place(planes, 1, self.dtype)(part)
      for part in spread(seen, height, width, self.length))
    # As many windows lie on a square as directions times length, at most.
    return board + told / (len(seen) * self.length) ** 0.5


def _place(units: int, num_summed: int, dtype: Any) -> nn.Dense:
  """Returns the layer of one place in a window, scaled so that `num_summed`
  such add up to the variance of one input."""
  return nn.Dense(
    units, use_bias=False, dtype=dtype,
    kernel_init=nn.initializers.variance_scaling(
      1 / num_summed, 'fan_in', 'truncated_normal'))


class KInARowNetwork(projection.Projecting, nn.Module):
  """h, g and f of a board on which `length` in a row count.

  A layer sees all squares of a window at once, and what it learns of one
  window holds for all, where convolutions of 3x3 need two layers to see four
  squares, and learn each direction by itself.

  Attributes:
    num_actions: A.
    num_outputs: D of the value and reward heads.
    channels: C of each square of the hidden state.
    units: of the layers over windows.
    length: squares of a window.
    num_blocks: blocks of h and of g each; f has one of its own.
    head_channels: planes of each head's 1x1 convolution.
    head_hidden: units of each head's hidden layer.
    projection: P of the consistency loss; 0 for none.
    dtype: of the arithmetic; parameters stay float32.
  """

  num_actions: int
  num_outputs: int
  channels: int = 16
  units: int = 32
  length: int = 4
  num_blocks: int = 1
  head_channels: int = 8
  head_hidden: int = 64
  projection: int = 0
  dtype: Any = jnp.float32

  def setup(self) -> None:
    if self.projection:
      self.projector = projection.Projection(self.projection, self.dtype)
    dense = lambda: nn.Dense(self.channels, dtype=self.dtype)
    block = lambda: WindowBlock(self.units, self.length, self.dtype)
    head = lambda n: heads.ConvHead(
      self.head_channels, self.head_hidden, n, self.dtype)
    self.square = dense()
    self.encoder_blocks = [block() for _ in range(self.num_blocks)]
    self.action = dense()
    self.transition_blocks = [block() for _ in range(self.num_blocks)]
    self.reward_features = WindowFeatures(
      self.units, self.length, self.dtype)
    self.reward_head = heads.MLPHead(
      self.head_hidden, self.num_outputs, self.dtype)
    self.prediction_block = block()
    self.value_head = head(self.num_outputs)
    self.policy_head = head(self.num_actions)

  def root(self, observation: Array) -> ModelOutput:
    """Returns f(h(o)) for observations [B, H, W, X]."""
    x = self.square(self.place(heads.to_input(observation, self.dtype)))
    for block in self.encoder_blocks:
      x = block(x)
    no_reward = jnp.zeros((x.shape[0], self.num_outputs), jnp.float32)
    return self.read(heads.normalise_state(x), no_reward)

  def step(self, state: Array, action: Array) -> ModelOutput:
    """Returns f(g(s, a)) for states [B, H, W, C], actions [B]."""
    planes = resnet.action_planes(
      action, self.num_actions, state.shape[1], state.shape[2], self.dtype)
    x = jnp.concatenate([state.astype(self.dtype), planes], axis=-1)
    x = state + self.action(self.place(x))
    for block in self.transition_blocks:
      x = block(x)
    # What is won by one window is won, wherever it lies.
    seen = self.reward_features(x)
    most = jnp.stack([part.max(axis=(1, 2)) for part in seen]).max(axis=0)
    # Each direction counts alike, however many windows it has.
    mean = jnp.stack([part.mean(axis=(1, 2)) for part in seen]).mean(axis=0)
    reward = self.reward_head(jnp.concatenate([most, mean], axis=-1))
    return self.read(heads.normalise_state(x), reward)

  def place(self, x: Array) -> Array:
    """Returns boards [B, H, W, X + 2] that also hold how near each square is to
    the lower edge and to the middle column."""
    height, width = x.shape[1:3]
    low = jnp.linspace(0.0, 1.0, height, dtype=self.dtype)
    middle = 1 - jnp.abs(jnp.linspace(-1.0, 1.0, width, dtype=self.dtype))
    planes = jnp.stack(jnp.broadcast_arrays(low[:, None], middle), axis=-1)
    return jnp.concatenate(
      [x, jnp.broadcast_to(planes, (*x.shape[:3], 2))], axis=-1)

  def read(self, hidden: Array, reward_logits: Array) -> ModelOutput:
    """Returns f of states [B, H, W, C] beside the reward into them."""
    x = self.prediction_block(hidden.astype(self.dtype))
    return ModelOutput(
      state=hidden.astype(jnp.float32),
      reward_logits=reward_logits,
      value_logits=self.value_head(x),
      policy_logits=self.policy_head(x),
    )
