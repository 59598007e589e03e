"""Names of moves on every board, and areas in Go."""

import numpy as np
import pytest

from muzero_jax import errors
from muzero_jax.play.gtp import boards as gtp_boards
from muzero_jax.types import EnvSpec


def board(name, num_actions=1):
  """The board of a game."""
  return gtp_boards.make(EnvSpec(
    f'board/{name}', (1,), np.float32, num_actions, num_players=2))


@pytest.mark.parametrize('name, vertex, action', [
  ('go_9x9', 'A9', 0), ('go_9x9', 'J1', 80), ('go_9x9', 'D4', 48),
  ('go_9x9', 'pass', 81), ('go_19x19', 'T1', 360), ('go_19x19', 'pass', 361),
  ('tic_tac_toe', 'A3', 0), ('tic_tac_toe', 'C1', 8),
  ('othello', 'D6', 19), ('othello', 'H1', 63), ('othello', 'pass', 64),
  ('hex', 'L11', 10), ('hex', 'A1', 110), ('hex', 'swap', 121),
  ('connect_four', 'A', 0), ('connect_four', 'G', 6),
  ('shogi', 'M2186', 2186), ('animal_shogi', 'M3', 3),
])
def test_names_and_back(name, vertex, action):
  found = board(name)
  assert gtp_boards.to_vertex(found, action) == vertex
  assert gtp_boards.to_action(found, vertex.lower()) == action


@pytest.mark.parametrize('mover, vertex', [
  (0, 'e2e4'), (1, 'e7e5'),
])
def test_chess_is_named_by_squares(mover, vertex):
  found = board('chess', 4672)
  named = gtp_boards.to_action(found, vertex, mover)
  assert gtp_boards.to_vertex(found, named, mover) == vertex
  # From square (column e, row 2 of who moves) of 73 kinds of moves each.
  assert named // 73 == 4 * 8 + 1
  assert found.opener == 'white' and board('go_9x9').opener == 'black'


def test_promotions_of_chess():
  found = board('chess', 4672)
  plain = gtp_boards.to_action(found, 'A7A8')
  assert gtp_boards.to_action(found, 'a7a8q') == plain
  assert gtp_boards.to_action(found, 'a7a8n') not in (plain, -1)
  assert gtp_boards.to_action(found, 'a1b8') == -1
  assert gtp_boards.to_action(found, 'd4') is None


@pytest.mark.parametrize('name, vertex, action', [
  ('go_9x9', 'K1', -1), ('go_9x9', 'A0', -1), ('go_9x9', 'A10', -1),
  ('go_9x9', 'swap', -1), ('go_9x9', 'I5', None), ('go_9x9', '5', None),
  ('go_9x9', '', None), ('go_9x9', 'A\u0661', None), ('go_9x9', 'D4x', None),
  ('tic_tac_toe', 'pass', -1), ('connect_four', 'd3', 3),
  ('connect_four', 'D7', -1), ('connect_four', 'H', -1),
  ('connect_four', '4', None), ('shogi', 'D4', None),
])
def test_what_is_no_move(name, vertex, action):
  assert gtp_boards.to_action(board(name), vertex) == action


@pytest.mark.parametrize('name', ['cartpole', 'go_13x13'])
def test_other_games_are_refused(name):
  with pytest.raises(errors.UserError, match='go_19x19, go_9x9, hex'):
    board(name)


def test_areas():
  lying = np.array([
    [0, 1, 0, -1],
    [1, 1, 0, -1],
    [0, 1, -1, -1],
    [0, 1, -1, 0]])
  # Black: 5 stones and 3 points; White: 5 and 1; two points are neither's.
  assert gtp_boards.area_score(lying) == 8 - 6
  assert gtp_boards.area_score(np.zeros((9, 9), int)) == 0
  one = np.zeros((9, 9), int)
  one[4, 4] = -1
  assert gtp_boards.area_score(one) == -81
