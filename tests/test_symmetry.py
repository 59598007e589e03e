"""Symmetries: a game played with turned moves is the turned game."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pgx
import pytest

from muzero_jax import config, envs, symmetry
from muzero_jax.types import EnvSpec, Sequence

GAMES = ('tic_tac_toe', 'connect_four', 'othello', 'go_9x9')
MOVES = 7


@functools.cache
def played(game):
  """One random game in each of its turned forms: rows [T, G, ...], moves."""
  settings = config.from_fields(
    dict(family='board', env_id=game, network='mlp')
  )
  spec = envs.make(settings, num_envs=1).spec
  turned = symmetry.make(spec)
  count = turned.squares.shape[0]
  env = envs.make(settings, num_envs=count)
  state, row = jax.jit(env.init)(jax.random.key(0))
  step = jax.jit(env.step)
  rng = np.random.default_rng(3)
  rows, moves = [row], []
  for t in range(MOVES):
    move = rng.choice(np.flatnonzero(row.legal_actions[0]))
    state, row = step(
      state, jnp.asarray(turned.inverse_actions[:, move]), jax.random.key(t)
    )
    rows.append(row)
    moves.append(move)
  rows = jax.tree.map(lambda *x: np.stack(x), *rows)
  return turned, rows, np.array(moves)


@pytest.mark.parametrize('game', GAMES)
def test_turned_moves_make_the_turned_game(game):
  turned, rows, _ = played(game)
  seen = rows.observation.reshape(*rows.observation.shape[:2], -1,
                                  rows.observation.shape[-1])
  for g in range(1, turned.squares.shape[0]):
    np.testing.assert_array_equal(seen[:, g], seen[:, 0][:, turned.squares[g]])
    np.testing.assert_array_equal(
      rows.legal_actions[:, g], rows.legal_actions[:, 0][:, turned.actions[g]]
    )
    np.testing.assert_array_equal(rows.is_last[:, g], rows.is_last[:, 0])
    np.testing.assert_array_equal(rows.reward[:, g], rows.reward[:, 0])
    # And it really is another game.
    assert (seen[1:, g] != seen[1:, 0]).any()


@pytest.mark.parametrize('game', GAMES)
def test_the_first_symmetry_changes_nothing(game):
  turned = played(game)[0]
  assert (turned.squares[0] == np.arange(turned.squares.shape[1])).all()
  assert (turned.actions[0] == np.arange(turned.actions.shape[1])).all()
  count = {'connect_four': 2, 'othello': 4}.get(game, 8)
  assert len({tuple(x) for x in turned.squares}) == count


def test_a_turned_board_of_2048_pays_for_turned_moves():
  spec = EnvSpec('stochastic/2048', (4, 4, 31), np.bool_, 4, 1)
  turned = symmetry.make(spec)
  game = pgx.make('2048')
  boards = np.random.default_rng(0).integers(0, 4, (16, 16))
  states = jax.vmap(game.init)(jax.random.split(jax.random.key(0), 16))

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None))
  def play(board, action):  # [16 boards], [16] -> rewards.
    keys = jax.random.split(jax.random.key(1), 16)
    before = states.replace(
      _board=board, legal_action_mask=jnp.ones((16, 4), bool)
    )
    new = jax.vmap(game.step)(before, action, keys)
    return new.rewards[:, 0]

  assert len({tuple(x) for x in turned.squares}) == 8
  for action in range(4):
    paid = [
      play(boards[None][:, :, squares], jnp.full(16, goes_to[action]))[0]
      for squares, goes_to in zip(turned.squares, turned.inverse_actions)
    ]
    for other in paid[1:]:
      np.testing.assert_array_equal(other, paid[0])
    assert len(set(paid[0].tolist())) > 3


@pytest.mark.parametrize('game', ('tic_tac_toe', 'connect_four'))
def test_augment_turns_all_of_a_sequence_alike(game):
  turned, rows, moves = played(game)
  num_actions = rows.legal_actions.shape[-1]
  count = 64
  pad = np.append(moves, 0)
  one = Sequence(
    observation=rows.observation[:, 0],
    reward=rows.reward[:, 0],
    discount=rows.discount[:, 0],
    is_last=rows.is_last[:, 0],
    legal_actions=rows.legal_actions[:, 0],
    to_play=rows.to_play[:, 0],
    action=pad,
    policy=np.eye(num_actions, dtype=np.float32)[pad],
    value=np.arange(MOVES + 1, dtype=np.float32),
  )
  batch = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * count), one)
  result = jax.jit(functools.partial(symmetry.augment, turned))(
    jax.random.key(0), batch
  )
  drawn = []
  for i in range(count):
    g = next(
      g for g in range(turned.squares.shape[0])
      if np.array_equal(result.observation[i], rows.observation[:, g])
    )
    drawn.append(g)
    np.testing.assert_array_equal(
      result.legal_actions[i], rows.legal_actions[:, g]
    )
    np.testing.assert_array_equal(
      result.action[i], turned.inverse_actions[g][pad]
    )
    np.testing.assert_array_equal(
      np.argmax(result.policy[i], axis=-1), result.action[i]
    )
    for name in ('reward', 'discount', 'is_last', 'to_play', 'value'):
      np.testing.assert_array_equal(
        getattr(result, name)[i], getattr(one, name)
      )
  assert set(drawn) == set(range(turned.squares.shape[0]))


def test_a_game_without_known_symmetries_is_refused():
  with pytest.raises(ValueError, match=r'augment_symmetry.*board/chess'):
    symmetry.make(EnvSpec('board/chess', (8, 8, 119), np.float32, 4672, 2))


def test_every_known_game_has_its_table():
  spec = EnvSpec('board/go_19x19', (19, 19, 17), np.float32, 362, 2)
  assert symmetry.make(spec).actions.shape == (8, 362)
  assert set(symmetry.names()) == {
    'stochastic/2048', *(f'board/{game}' for game in (*GAMES, 'go_19x19'))
  }
