"""Networks for square boards that are moved left, up, right and down."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax.errors import UserError
from muzero_jax.networks import chance, heads, projection
from muzero_jax.types import AfterstateOutput, Array, ModelOutput

NUM_DIRECTIONS = 4  # Left, up, right and down.


def turn_each_way(board: Array) -> Array:
  """Returns boards [B, 4, n, n, C] of [B, n, n, C], direction k turned left.

  A quarter turn against the clock brings up to the left, two of them right,
  three of them down.
  """
  return jnp.stack(
    [jnp.rot90(board, k, axes=(1, 2)) for k in range(NUM_DIRECTIONS)], axis=1)


def turn(board: Array, direction: Array) -> Array:
  """Returns boards [B, n, n, C] with one-hot `direction` [B, 4] turned left."""
  return jnp.einsum('bkhwc,bk->bhwc', turn_each_way(board), direction)


def turn_back(board: Array, direction: Array) -> Array:
  """Returns what `turn` was given."""
  backwards = jnp.concatenate(
    [direction[:, :1], direction[:, :0:-1]], axis=-1)
  return turn(board, backwards)


class LineFeatures(nn.Module):
  """An MLP over single rows of boards; its first layer is gated.

  A product of two projections (GLU, arXiv 2002.05202) tells whether two squares
  of a row hold the same, which a layer of ReLUs learns value by value.
  """

  units: int
  num_layers: int
  dtype: Any

  @nn.compact
  def __call__(self, board: Array) -> Array:
    """Returns features [..., n, units] of the rows of [..., n, n, C]."""
    dense = lambda: nn.Dense(self.units, dtype=self.dtype)
    x = board.reshape(*board.shape[:-2], -1)
    x = nn.LayerNorm(dtype=self.dtype)(x)
    x = dense()(x) * nn.silu(dense()(x))
    for _ in range(self.num_layers - 1):
      x = nn.relu(dense()(x))
    return x


class RowBlock(nn.Module):
  """Pre-activation residual block along the rows of boards."""

  units: int
  num_layers: int
  dtype: Any

  @nn.compact
  def __call__(self, board: Array) -> Array:
    """Returns what is to be added to boards [..., n, n, C]."""
    x = LineFeatures(self.units, self.num_layers, self.dtype)(board)
    x = nn.Dense(board.shape[-2] * board.shape[-1], dtype=self.dtype)(x)
    return x.reshape(board.shape)


class LineBlock(nn.Module):
  """Residual block along rows and columns, the same in all directions."""

  units: int
  dtype: Any

  @nn.compact
  def __call__(self, board: Array) -> Array:
    """Returns boards [B, n, n, C] of such boards."""
    x = RowBlock(self.units, 1, self.dtype)(turn_each_way(board))
    back = [
      jnp.rot90(x[:, k], -k, axes=(1, 2)) for k in range(NUM_DIRECTIONS)]
    # Four that have nothing in common add up to twice the spread of one.
    return board + sum(back) / 2


class RotationEquivariantNetwork(projection.Projecting, nn.Module):
  """h, g and f of a square board that four actions move along its lines.

  Actions 0 to 3 are left, up, right and down. Before g applies one, the board
  is turned so that it goes left, and is turned back afterwards: what is learnt
  of one direction and of one line holds for all, as for the board of 2048. The
  networks are equivariant to quarter turns (cf. van der Pol et al., arXiv
  2006.16908).

  Attributes:
    num_actions: 4.
    num_outputs: D of the value and reward heads.
    channels: C of each square of the hidden state.
    line_channels: units of the layers along lines.
    num_blocks: blocks of h, of a move and of g each.
    head_hidden: units of each head's hidden layer.
    projection: P of the consistency loss; 0 for none.
    dtype: of the arithmetic; parameters stay float32.
  """

  num_actions: int
  num_outputs: int
  channels: int = 16
  line_channels: int = 64
  num_blocks: int = 1
  head_hidden: int = 64
  projection: int = 0
  dtype: Any = jnp.float32

  def setup(self) -> None:
    if self.num_actions != NUM_DIRECTIONS:
      raise UserError(
        f'num_actions={self.num_actions}: lines are moved in '
        f'{NUM_DIRECTIONS} directions')
    if self.projection:
      self.projector = projection.Projection(self.projection, self.dtype)
    dense = lambda units: nn.Dense(units, dtype=self.dtype)
    head = lambda n: heads.MLPHead(self.head_hidden, n, self.dtype)
    blocks = lambda: [
      LineBlock(self.line_channels, self.dtype)
      for _ in range(self.num_blocks)
    ]
    self.square = dense(self.channels)
    self.encoder_blocks = blocks()
    self.move_blocks = [
      RowBlock(self.line_channels, 2, self.dtype)
      for _ in range(self.num_blocks)
    ]
    self.square_hidden = dense(2 * self.channels)
    self.square_output = dense(self.channels)
    self.transition_blocks = blocks()
    self.reward_features = dense(self.head_hidden)
    self.reward_head = head(self.num_outputs)
    self.lines = LineFeatures(self.line_channels, 2, self.dtype)
    self.value_head = head(self.num_outputs)
    self.policy_head = head(1)

  def root(self, observation: Array) -> ModelOutput:
    """Returns f(h(o)) for observations [B, n, n, X]."""
    hidden = self.represent(observation)
    no_reward = jnp.zeros((hidden.shape[0], self.num_outputs), jnp.float32)
    return self.read(hidden, no_reward)

  def represent(self, observation: Array) -> Array:
    """Returns h(o) [B, n, n, C]."""
    x = self.square(heads.to_input(observation, self.dtype))
    for block in self.encoder_blocks:
      x = block(x)
    return heads.normalise_state(x)

  def step(self, state: Array, action: Array) -> ModelOutput:
    """Returns f(g(s, a)) for states [B, n, n, C] and actions [B]."""
    moved = self.move(state, action)
    return self.arrive(moved, moved)

  def move(self, state: Array, action: Array) -> Array:
    """Returns states [B, n, n, C] after actions [B], not yet scaled."""
    direction = jax.nn.one_hot(action, NUM_DIRECTIONS, dtype=self.dtype)
    x = turn(state.astype(self.dtype), direction)
    for block in self.move_blocks:
      x = x + block(x)
    return turn_back(x, direction)

  def arrive(self, moved: Array, changed: Array) -> ModelOutput:
    """Returns reward and f of what a move led to.

    Args:
      moved: [B, n, n, C]
      changed: the same with what else acts on it, square by square.
    """
    x = nn.relu(self.square_hidden(changed))
    x = moved + self.square_output(x)
    # What a move is paid for it does to squares: their sum, not their places.
    paid = nn.relu(self.reward_features(x)).sum(axis=(1, 2))
    reward = self.reward_head(paid)
    for block in self.transition_blocks:
      x = block(x)
    return self.read(heads.normalise_state(x), reward)

  def read(self, hidden: Array, reward_logits: Array) -> ModelOutput:
    """Returns f of states [B, n, n, C] beside the reward into them."""
    seen = self.lines(turn_each_way(hidden)).mean(axis=2)
    whole = seen.mean(axis=1)
    along = jnp.concatenate(
      [seen, jnp.broadcast_to(whole[:, None], seen.shape)], axis=-1)
    policy = self.policy_head(along.reshape(-1, along.shape[-1]))
    return ModelOutput(
      state=hidden.astype(jnp.float32),
      reward_logits=reward_logits,
      value_logits=self.value_head(whole),
      policy_logits=policy.reshape(-1, NUM_DIRECTIONS),
    )


class StochasticRotationEquivariantNetwork(
  chance.Chancing, RotationEquivariantNetwork
):
  """h, phi, psi, g, f and e along lines (Stochastic MuZero, section 4).

  What chance does, it does to one square: each square has as many codes as any
  other, and what is learnt of those of one holds for all.

  phi has `num_blocks` blocks along lines behind the move, as g has.

  Attributes:
    num_codes: M, a multiple of the squares.
    num_squares: of the board, n * n, before any board is seen.
  """

  num_codes: int = 32
  num_squares: int = 16

  def setup(self) -> None:
    super().setup()
    if not self.num_codes or self.num_codes % self.num_squares:
      raise UserError(
        f'num_codes={self.num_codes}: each of {self.num_squares} squares has '
        f'as many; allowed are multiples of {self.num_squares}')
    dense = lambda units: nn.Dense(units, dtype=self.dtype)
    head = lambda n: heads.MLPHead(self.head_hidden, n, self.dtype)
    codes_per_square = self.num_codes // self.num_squares
    self.afterstate_blocks = [
      LineBlock(self.line_channels, self.dtype)
      for _ in range(self.num_blocks)
    ]
    self.after_lines = LineFeatures(self.line_channels, 2, self.dtype)
    self.afterstate_value_head = head(self.num_outputs)
    self.chance_head = head(codes_per_square)
    self.code_input = dense(self.channels)
    self.code_hidden = dense(2 * self.channels)
    self.code_output = dense(codes_per_square)

  def change(self, state: Array, action: Array) -> Array:
    """Returns phi(s, a) [B, n, n, C]."""
    squares = state.shape[1] * state.shape[2]
    if squares != self.num_squares:
      raise UserError(
        f'num_squares={self.num_squares}: the board has {squares}')
    x = self.move(state, action)
    for block in self.afterstate_blocks:
      x = block(x)
    return heads.normalise_state(x)

  def afterstate(self, state: Array, action: Array) -> AfterstateOutput:
    """Returns psi(phi(s, a)) for states [B, n, n, C] and actions [B]."""
    after = self.change(state, action)
    lines = self.after_lines(turn_each_way(after)).mean(axis=(1, 2))
    codes = self.chance_head(after.reshape(-1, self.channels))
    return AfterstateOutput(
      state=after.astype(jnp.float32),
      value_logits=self.afterstate_value_head(lines),
      chance_logits=codes.reshape(-1, self.num_codes),
    )

  def chance(self, state: Array, code: Array) -> ModelOutput:
    """Returns f(g(as, c)) for afterstates [B, n, n, C], codes [B, M]."""
    x = state.astype(self.dtype)
    code = code.astype(self.dtype).reshape(*x.shape[:-1], -1)
    return self.arrive(x, x + self.code_input(code))

  def encode(self, previous: Array, action: Array, observation: Array) -> Array:
    """Returns e(o_t, a_t, o_{t+1}) [B, M] of observations [B, n, n, X].

    What chance did is what differs from the afterstate, of which the encoder
    sees what the model makes; ours, where the paper's e sees the history alone.
    """
    after = self.change(self.represent(previous), action)
    # Nothing may be moved elsewhere for the sake of the codes.
    after = jax.lax.stop_gradient(after)
    x = jnp.concatenate(
      [after, heads.to_input(observation, self.dtype)], axis=-1)
    x = self.code_output(nn.relu(self.code_hidden(x)))
    return chance.standardise_codes(x.reshape(-1, self.num_codes))
