"""Windows of a board: which there are, what is learnt over them."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import networks
from muzero_jax.errors import UserError
from muzero_jax.networks import k_in_a_row


def numbered(height, width):
  """A board [1, H, W] whose squares are numbered row by row."""
  return jnp.arange(float(height * width)).reshape(1, height, width)


def cut(board, length):
  """The squares of all windows of boards [B, H, W], by direction
  [B, N_d, length]."""
  squares = k_in_a_row.gather([
    board[..., None] * place for place in jnp.eye(length)])
  return [x.reshape(len(x), -1, length) for x in squares]


def test_windows_literal():
  rows, columns, falling, rising = cut(numbered(3, 4), 3)
  np.testing.assert_array_equal(
    rows[0], [[y + x, y + x + 1, y + x + 2] for y in (0, 4, 8) for x in (0, 1)])
  np.testing.assert_array_equal(
    columns[0], [[x, x + 4, x + 8] for x in range(4)])
  np.testing.assert_array_equal(falling[0], [[0, 5, 10], [1, 6, 11]])
  np.testing.assert_array_equal(rising[0], [[2, 5, 8], [3, 6, 9]])


@pytest.mark.parametrize('height, width, length, counts', [
  (6, 7, 4, (24, 21, 12, 12)),  # Connect Four: 69 lines.
  (3, 3, 3, (3, 3, 1, 1)),
  (2, 5, 3, (6,)),  # No room for any but rows.
  (5, 2, 3, (6,)),
])
def test_all_lines_of_a_board(height, width, length, counts):
  found = cut(numbered(height, width), length)
  assert tuple(x.shape[1] for x in found) == counts
  lines = np.concatenate([x[0] for x in found])
  assert len(np.unique(np.sort(lines, axis=1), axis=0)) == sum(counts)


def test_lines_that_no_board_has_are_refused():
  with pytest.raises(UserError, match='length=4'):
    cut(numbered(2, 3), 4)


def test_spreading_is_the_transpose_of_gathering():
  rng = np.random.default_rng(0)
  parts = rng.normal(size=(4, 2, 5, 6, 3)).astype(np.float32)
  gathered = k_in_a_row.gather(list(parts))
  assert [x.shape for x in gathered] == [
    (2, 5, 3, 3), (2, 2, 6, 3), (2, 2, 3, 3), (2, 2, 3, 3)]
  other = [rng.normal(size=x.shape).astype(np.float32) for x in gathered]
  spread = k_in_a_row.spread(other, 5, 6, 4)
  np.testing.assert_allclose(
    sum((a * b).sum() for a, b in zip(gathered, other)),
    sum((a * b).sum() for a, b in zip(parts, spread)), rtol=1e-4)


def test_what_is_learnt_of_a_window_holds_wherever_it_lies():
  features = k_in_a_row.WindowFeatures(8, 3, jnp.float32)
  stones = jnp.zeros((2, 6, 6, 4)).at[0, 1, 0:3, 1].set(1.0)
  stones = stones.at[1, 4, 2:5, 1].set(1.0)
  params = features.init(jax.random.key(0), stones)
  seen = features.apply(params, stones)
  rows = seen[0]
  np.testing.assert_allclose(rows[0, 1, 0], rows[1, 4, 2], rtol=1e-5)
  assert np.abs(rows[0, 1, 0] - rows[0, 2, 0]).max() > 0.1
  # Not so across directions, once their biases differ.
  params['params']['direction'] += jnp.arange(4.0)[:, None]
  along, down = features.apply(params, stones * 0)[:2]
  assert np.abs(along[0, 0, 0] - down[0, 0, 0]).max() > 0.1


@pytest.mark.thorough
def test_three_in_a_row_is_learnt_from_few_updates():
  """Whether a stone wins, on boards that were never seen."""

  def draw(key):
    stone_key, action_key = jax.random.split(key)
    stones = jax.random.bernoulli(stone_key, 0.3, (128, 4, 4))
    action = jax.random.randint(action_key, (128,), 0, 16)
    after = stones | (jax.nn.one_hot(action, 16).reshape(-1, 4, 4) > 0)
    full = [
      x.all(-1).any(-1) for x in cut(after, 3)]
    return stones[..., None], action, jnp.stack(full).any(0).astype(float)

  losses = helpers.reward_losses(
    networks.KInARowNetwork(
      16, 1, channels=8, units=16, length=3, head_channels=2, head_hidden=16),
    draw, jnp.zeros((1, 4, 4, 1), bool), num_updates=300)
  assert losses[:10].mean() > 0.8
  assert losses[-10:].mean() < 0.2
