"""Opponents that know the rules: what they must see, and how they fare."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pgx
import pytest
from opponent_player import Player

from muzero_jax import envs
from muzero_jax.envs import base, pgx_games
from muzero_jax.evaluation import opponents, report
from muzero_jax.evaluation.opponents import mcts


@functools.cache
def _game(name):
  game = pgx.make(name)
  return jax.jit(game.init), jax.jit(game.step)


def _positions(name, games):
  """The environment's state after the moves of each game, such as '3 3 2'.

  Who opens alternates.
  """
  init, step = _game(name)
  keys = {int(init(k).current_player): k
          for k in map(jax.random.key, range(8))}
  states = []
  for i, moves in enumerate(games):
    state = init(keys[i % 2])
    for move in moves.split():
      state = step(state, jnp.int32(int(move)))
    states.append(state)
  state = jax.tree.map(lambda *x: jnp.stack(x), *states)
  none = jnp.zeros(len(games), jnp.int32)
  return base.BatchState(state, none, state.terminated)


@functools.cache
def _act(name, env_name):
  return jax.jit(opponents.make(name, env_name), static_argnums=2)


def _moves(name, env_name, games, count):
  """The moves that are played in each of the positions, `count` times."""
  batch = _positions(env_name.partition('/')[2], games)
  batch = jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), batch)
  moves = _act(name, env_name)(jax.random.key(3), batch, None)
  return np.asarray(moves).reshape(-1, count)


def _match(agent, opponent, game, num_games, seed=0):
  env = pgx_games.make_board(game, num_games)
  make = lambda name: opponents.make(name, f'board/{game}')
  return report.play_match(
    Player(make(agent)), env, make(opponent), num_envs=num_games,
    num_games=num_games, seed=seed)


# Columns 0 to 6, moves of both in turn; what may be played then.
CONNECT_FOUR = [
  ('0 1 0 1 0 1', {0}),  # Win, rather than block.
  ('6 2 6 2 5 2 5', {2}),  # Win, as the second player.
  ('0 1 0 1 0', {0}),  # Block.
  ('0 6 1 6 2', {3}),
  ('3 0 2 0 5', {4}),
  # Theirs are 0, 1 and 2 of the second row: who plays 3 lets them complete it.
  ('0 1 2 0 6 2 6 1', {0, 1, 2, 4, 5, 6}),
  ('3 3 2 2 4', {0, 1, 2, 3, 4, 5, 6}),  # Lost, whatever is played.
  ('0 0 0 0 0 0', {1, 2, 3, 4, 5, 6}),  # A full column.
]
# Squares 0 to 8, row by row.
TIC_TAC_TOE = [
  ('0 3 1 4', {2}),  # Win, rather than block.
  ('0 3 1', {2}),  # Block.
  ('0 4 8', {1, 2, 3, 5, 6, 7}),  # A fork is two plies away.
  ('4 1 0 8 6', {2, 3, 5, 7}),  # Two threats: lost, whatever is played.
  ('0 4 8 1 7 6 2 3', {5}),  # The last square.
]


def test_one_ply_wins_and_blocks_in_connect_four():
  games, expected = zip(*CONNECT_FOUR)
  found = _moves('one_ply', 'board/connect_four', games, 120)
  assert [set(row.tolist()) for row in found] == list(expected)


def test_one_ply_wins_and_blocks_in_tic_tac_toe():
  games, expected = zip(*TIC_TAC_TOE)
  found = _moves('one_ply', 'board/tic_tac_toe', games, 120)
  assert [set(row.tolist()) for row in found] == list(expected)


def test_one_ply_beats_random():
  match = _match('random', 'one_ply', 'connect_four', 100)
  assert match.total[2] >= 90


@pytest.mark.thorough
def test_mcts_finds_what_is_forced_in_connect_four():
  # All but the lost one. And two in an open row: a third makes two threats,
  # unless it is blocked.
  games, expected = zip(
    *CONNECT_FOUR[:6], ('3 3 2 2', {1, 4}), ('3 3 2', {1, 4}))
  found = _moves('mcts:400', 'board/connect_four', games, 20)
  share = [
    np.isin(row, list(best)).mean() for row, best in zip(found, expected)]
  assert share[:6] == [1] * 6
  assert min(share[6:]) >= 0.8


@pytest.mark.thorough
def test_mcts_mostly_draws_with_perfect_play_and_beats_random():
  match = _match('perfect', 'mcts:200', 'tic_tac_toe', 100)
  # Of a corner opening, 200 random games a move do not always see through.
  assert match.second[0] <= 2 and match.first[0] <= 20
  match = _match('random', 'mcts:200', 'tic_tac_toe', 100)
  assert match.total[2] >= 85 and match.total[0] <= 2


def test_games_do_not_depend_on_each_other():
  act = _act('mcts:64', 'board/tic_tac_toe')
  first, last = '0 4', '4 0 8'
  full = '0 1 2 4 3 5 7 6 8'  # Over: nothing to roll out, nothing to find.
  key = jax.random.key(5)
  runs = [
    np.asarray(act(key, _positions('tic_tac_toe', [first, *others, last]),
                   None))
    for others in (['', '0', '1'], ['0 3 1 4', full, '8 7 6'])
  ]
  assert runs[0][0] == runs[1][0] and runs[0][-1] == runs[1][-1]


def test_rollouts_are_random_games_for_the_player_to_move():
  rules = envs.make_rules('board/tic_tac_toe')
  play = jax.jit(functools.partial(mcts.rollout, rules), static_argnums=2)
  one = _positions('tic_tac_toe', [
    '0 1 2 4 3 5 7 6 8',  # Drawn, and over.
    '0 3 1 4 2',  # Won, and over.
    '0 1 2 4 3 5 7 6',  # 8 is left: drawn.
    '0 4 8 1 7 6 2 3',  # 5 is left, and wins.
    '4 1 0 8 6 7 5',  # 2 and 3 are left: the other wins on either.
  ])
  value = play(jax.random.key(0), rules.position(one), 512)
  np.testing.assert_array_equal(value, [0, 0, 0, 1, -1])
  many = jax.tree.map(
    lambda x: jnp.repeat(x, 4000, axis=0), _positions('tic_tac_toe', ['']))
  value = play(jax.random.key(1), rules.position(many), 512)
  # Uniform play: 58.5 % for the first, 28.8 % for the second.
  assert value.mean() == pytest.approx(0.585 - 0.288, abs=0.05)
  assert (value == 0).mean() == pytest.approx(0.127, abs=0.03)
  # A game cut off is a draw; none is won in four moves.
  assert not play(jax.random.key(1), rules.position(many), 4).any()


def test_rules_leave_a_finished_game_alone():
  rules = envs.make_rules('board/tic_tac_toe')
  over = rules.position(_positions('tic_tac_toe', ['0 3 1 4 2']))
  assert rules.is_over(over).all() and not rules.legal_actions(over).any()
  after, reward = rules.step(over, jnp.array([8]))
  assert reward == 0 and rules.is_over(after).all()
  with pytest.raises(ValueError, match='no rules to play by.*board'):
    envs.make_rules('classic/cartpole')
