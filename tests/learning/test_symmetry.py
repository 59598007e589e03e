"""Symmetries: a game played with turned moves is the turned game."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pgx
import pytest
from pgx.minatar import asterix, breakout, freeway

from muzero_jax import config, envs
from muzero_jax.errors import UserError
from muzero_jax.learning import symmetry
from muzero_jax.types import EnvSpec, Sequence

GAMES = ('tic_tac_toe', 'connect_four', 'othello', 'go_9x9')
MOVES = 7


@functools.cache
def played(game):
  """One random game in each of its turned forms: rows [T, G, ...], moves."""
  settings = config.from_fields(
    dict(family='board', env_id=game, network='mlp')
  )
  spec = envs.spec(settings)
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


def asterix_states(rng):
  """A position with what is drawn, its mirror images from left to right, top to
  bottom, and both."""
  entities = np.stack([
    rng.integers(0, 10, 8), np.arange(1, 9), rng.integers(0, 2, 8),
    rng.integers(0, 2, 8)], axis=1)
  entities[rng.random(8) < 0.3] = asterix.INF
  here = entities[:, 0] != asterix.INF
  x, y = rng.integers(0, 10), rng.integers(1, 9)
  move_timer = rng.integers(0, 2)
  for across, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
    turned = entities.copy()
    if across:
      turned[here, 0] = 9 - turned[here, 0]
      turned[here, 2] = 1 - turned[here, 2]
    if down:
      turned[here, 1] = 9 - turned[here, 1]
    yield asterix.State(
      _player_x=jnp.int32(9 - x if across else x),
      _player_y=jnp.int32(9 - y if down else y),
      _entities=jnp.asarray(turned, asterix.State()._entities.dtype),
      _move_timer=jnp.int32(move_timer), _spawn_timer=jnp.int32(5),
    ), dict(lr=True, is_gold=True, slot=0)  # Not used: nothing appears yet.


def breakout_states(rng):
  bricks = np.zeros((10, 10), bool)
  bricks[1:4] = rng.random((3, 10)) < rng.choice([0.0, 0.5])
  x, pos = rng.integers(0, 10, 2)
  y, towards = rng.integers(0, 9), rng.integers(0, 4)
  for mirrored in (False, True):
    def column(at, mirrored=mirrored):
      return jnp.int32(9 - at if mirrored else at)
    yield breakout.State(
      _ball_x=column(x), _ball_y=jnp.int32(y), _last_x=column(x),
      _last_y=jnp.int32(max(0, y - 1)), _pos=column(pos),
      _ball_dir=jnp.int32([1, 0, 3, 2][towards] if mirrored else towards),
      _brick_map=jnp.asarray(bricks[:, ::-1] if mirrored else bricks),
    ), {}


def freeway_states(rng):
  speed = rng.integers(1, 6, 8) * rng.choice([-1, 1], 8)
  x, timer = rng.integers(0, 10, 8), rng.integers(0, 2, 8)
  pos = jnp.int32(rng.integers(1, 4))
  drawn = rng.choice([-1, 1], 8).astype(np.int32)
  for mirrored in (False, True):
    cars = np.stack([
      (8 - x) % 10 if mirrored else x, np.arange(1, 9), timer,
      -speed if mirrored else speed], axis=1)
    yield freeway.State(
      _cars=jnp.asarray(cars, jnp.int32), _pos=pos, _move_timer=jnp.int32(0),
    ), dict(speeds=np.full(8, 3), directions=-drawn if mirrored else drawn)


MINATAR = {
  'asterix': (asterix, asterix_states),
  'breakout': (breakout, breakout_states),
  'freeway': (freeway, freeway_states),
}


@pytest.mark.parametrize('game', MINATAR)
def test_a_mirrored_minatar_game_goes_on_as_the_mirrored_one(game):
  rules, states = MINATAR[game]
  spec = envs.spec(config.from_fields(
    dict(family='minatar', env_id=game, network='mlp')))
  turned = symmetry.make(spec)
  rng = np.random.default_rng(0)
  pairs = [list(states(rng)) for _ in range(128)]
  stacked, drawn = jax.tree.map(lambda *x: jnp.stack(x), *sum(pairs, []))
  count = turned.squares.shape[0]
  assert count == len(pairs[0])
  action = rng.integers(0, spec.num_actions, len(pairs))
  # MinAtar numbers actions as its full set does.
  number = np.array([
    ('noop', 'left', 'up', 'right', 'down').index(name)
    for name in spec.action_names])
  turned_action = number[turned.inverse_actions[:, action].T.reshape(-1)]
  after = jax.jit(jax.vmap(
    lambda state, action, drawn: rules._step_det(state, action, **drawn)
  ))(stacked, jnp.asarray(turned_action), drawn)
  observe = jax.jit(jax.vmap(rules._observe))
  for which in (stacked, after):
    seen = np.asarray(observe(which)).reshape(len(pairs), count, 100, -1)
    for g in range(count):
      np.testing.assert_array_equal(
        seen[:, g], seen[:, 0][:, turned.squares[g]])
  reward = np.asarray(after.rewards).reshape(len(pairs), count)
  ended = np.asarray(after.terminated).reshape(len(pairs), count)
  np.testing.assert_array_equal(reward, reward[:, :1].repeat(count, 1))
  np.testing.assert_array_equal(ended, ended[:, :1].repeat(count, 1))
  assert len(set(reward[:, 0])) > 1
  # Time alone ends Freeway.
  assert ended.any() == (game != 'freeway')


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
  with pytest.raises(UserError, match=r'augment_symmetry.*board/chess'):
    symmetry.make(EnvSpec('board/chess', (8, 8, 119), np.float32, 4672, 2))


@pytest.mark.parametrize('num, names', [
  (3, ('NOOP', 'LEFT', 'RIGHT')), (3, ('left', 'noop', 'right')), (6, ()),
])
def test_actions_of_another_kind_are_refused(num, names):
  spec = EnvSpec(
    'minatar/breakout', (10, 10, 4), np.bool_, num, action_names=names)
  with pytest.raises(UserError, match="allowed are .'noop', 'left', 'right'"):
    symmetry.make(spec)


def test_every_known_game_has_its_table():
  spec = EnvSpec('board/go_19x19', (19, 19, 17), np.float32, 362, 2)
  assert symmetry.make(spec).actions.shape == (8, 362)
  assert set(symmetry.names()) == {
    'stochastic/2048', *(f'board/{game}' for game in (*GAMES, 'go_19x19')),
    *(f'minatar/{game}' for game in MINATAR)
  }
