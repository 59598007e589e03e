"""Opponents: random play is uniform, perfect play is perfect."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest
from opponent_player import Player, row_of

from muzero_jax.envs import pgx_games
from muzero_jax.evaluation import opponents, report

NUM_ENVS = 32


def _match(name, against, num_games, seed=0):
  env = pgx_games.make_board('tic_tac_toe', NUM_ENVS)
  make = lambda name: opponents.make(name, 'board/tic_tac_toe')
  return report.play_match(
    Player(make(name)), env, make(against), num_envs=NUM_ENVS,
    num_games=num_games, seed=seed)


def test_perfect_against_perfect_is_always_drawn():
  match = _match('perfect', 'perfect', 320)
  assert match.first == (0, 160, 0) and match.second == (0, 160, 0)
  assert match.total == (0, 320, 0)


def test_perfect_never_loses_to_random_and_mostly_wins():
  match = _match('perfect', 'random', 640)
  assert match.first[2] == match.second[2] == 0
  assert sum(match.first) == sum(match.second) == 320
  # Uniform moves lose most games, more of them when moving second.
  assert match.first[0] > 0.9 * 320 and match.second[0] > 0.6 * 320


def test_random_against_random_favours_the_first():
  match = _match('random', 'random', 640, seed=3)
  # Known shares of uniform play: 58.5 % for the first, 28.8 %, 12.7 % drawn.
  error = 4 * np.sqrt(0.25 / 320)
  assert match.first[0] / 320 == pytest.approx(0.585, abs=error)
  assert match.second[0] / 320 == pytest.approx(0.288, abs=error)
  assert match.first[1] / 320 == pytest.approx(0.127, abs=error)


# Mine 1, theirs 2; the moves that keep the value, by hand.
@pytest.mark.parametrize('board, best', [
  ('000 000 000', '111 111 111'),  # Any opening draws.
  ('200 000 000', '000 010 000'),  # Only the centre answers a corner.
  ('000 020 000', '101 000 101'),  # Only corners answer the centre.
  ('110 220 000', '001 000 000'),  # Win rather than block.
  ('100 220 010', '000 001 000'),  # Block.
  ('200 010 002', '010 101 010'),  # Corners would lose to a fork.
])
def test_moves_of_known_positions(board, best):
  board, best = (
    np.array([int(c) for c in text.replace(' ', '')]) for text in (board, best))
  stones = np.stack([board == 1, board == 2], axis=-1).reshape(3, 3, 2)
  count = 400
  row = row_of(
    jnp.broadcast_to(stones, (count, 3, 3, 2)),
    jnp.broadcast_to(board == 0, (count, 9)))
  moves = opponents.perfect_tic_tac_toe(jax.random.key(0), None, row)
  drawn = np.bincount(moves, minlength=9)
  np.testing.assert_array_equal(drawn > 0, best > 0)
  expected = count / best.sum()
  assert (abs(drawn[best > 0] - expected) <= 5 * np.sqrt(expected)).all()


def test_random_is_uniform_over_legal_moves():
  legal = jnp.broadcast_to(jnp.array([True, False, True, True]), (3000, 4))
  moves = opponents.random(jax.random.key(1), None, row_of(None, legal))
  drawn = np.bincount(moves, minlength=4)
  assert moves.dtype == jnp.int32 and drawn[1] == 0
  assert (abs(drawn[[0, 2, 3]] - 1000) < 130).all()


def test_names():
  assert opponents.names('board/go_9x9') == (
    'random', 'one_ply', 'mcts', 'gnugo')
  assert opponents.names('board/tic_tac_toe') == (
    'random', 'one_ply', 'mcts', 'perfect')
  assert opponents.names('board/othello') == ('random', 'one_ply', 'mcts')
  assert opponents.names('stochastic/backgammon') == ('random', 'pip_count')
  assert opponents.names('mine/game') == ('random',)
  assert opponents.defaults('board/tic_tac_toe') == ('random', 'perfect')
  assert opponents.defaults('board/othello') == ('random',)
  assert opponents.defaults('stochastic/backgammon') == (
    'random', 'pip_count')


@pytest.mark.parametrize('name, env_name, message', [
  ('perfect', 'board/othello',
   "'perfect' is not one of random, one_ply, mcts or mcts:N for board/othello"),
  ('', 'board/tic_tac_toe', "'' is not one of random, one_ply, mcts or"),
  ('one_ply:2', 'board/hex', "'one_ply:2' is not one of random, one_ply"),
  ('mcts', 'mine/game', "'mcts' is not one of random for mine/game"),
  ('mcts', 'stochastic/backgammon',
   "'mcts' is not one of random, pip_count for stochastic/backgammon"),
  ('pip_count', 'board/hex', "'pip_count' is not one of random, one_ply"),
  ('mcts:0', 'board/hex', "'mcts:0': simulations must be a whole number of at"),
  ('mcts:x', 'board/hex', "'mcts:x': simulations must be a whole number"),
  ('mcts:', 'board/hex', "'mcts:': simulations must be a whole number"),
  ('mcts:1e3', 'board/hex', "'mcts:1e3': simulations must be a whole number"),
  ('mcts:-5', 'board/hex', "'mcts:-5': simulations must be a whole number"),
  ('gnugo', 'board/hex', "'gnugo' is not one of random, one_ply, mcts or"),
  ('gnugo:0', 'board/go_9x9',
   "'gnugo:0': its level must be a whole number from 1 to 10, as in gnugo:1"),
  ('gnugo:11', 'board/go_9x9', "'gnugo:11': its level must be a whole number"),
  ('snapshot', 'board/hex', 'nor snapshot:STEP or run:PATH'),
  ('snapshot:3', 'board/hex', "'snapshot:3' needs the run directory"),
  ('run:', 'board/hex', "'run:': the run directory is missing"),
  ('run:none', 'board/hex', 'workdir none is not a run directory'),
])
def test_bad_names_are_one_line(name, env_name, message):
  with pytest.raises(ValueError) as error:
    opponents.make(name, env_name)
  assert message in str(error.value) and '\n' not in str(error.value)
