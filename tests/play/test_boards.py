"""Drawings of games: known pixels, and who is drawn where."""

import importlib
import types

import jax
import numpy as np
import pytest

from muzero_jax import envs
from muzero_jax.play.drawings import boards

pytest.importorskip('PIL')
BLACK, WHITE = (24, 24, 24), (246, 246, 246)
RED, YELLOW, BLUE = (214, 69, 65), (244, 208, 63), (41, 98, 168)


def first_state(name):
  """pgx's state before anything is dealt or moved."""
  module = name.removesuffix('_9x9').removesuffix('_19x19')
  module = 'play2048' if module == '2048' else module
  state = module_of(module).State()
  return jax.tree.map(np.asarray, state)


def module_of(name):
  return importlib.import_module(f'pgx.{name}')


def position(**fields):
  """A state with nothing but its position."""
  return types.SimpleNamespace(_x=types.SimpleNamespace(
    **{name: np.asarray(value) for name, value in fields.items()}))


def at(picture, x, y):
  return tuple(int(part) for part in picture[y, x])


@pytest.mark.thorough  # Some of pgx's games take long to import.
@pytest.mark.parametrize('name', sorted(boards.DRAWINGS))
def test_every_game_is_drawn(name):
  picture = boards.DRAWINGS[name](first_state(name.partition('/')[2]))
  height, width, colours = picture.shape
  assert picture.dtype == np.uint8 and colours == 3
  assert 240 <= min(height, width) and max(height, width) <= 520
  assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2


def test_every_game_that_is_trained_has_a_drawing():
  pytest.importorskip('pgx')
  named = {f'{family}/{name}' for family in ('board', 'stochastic')
           for name in envs.names(family)}
  assert named == set(boards.DRAWINGS)


def test_tic_tac_toe():
  board = np.full(9, -1)
  board[4], board[0] = 0, 1
  picture = boards.tic_tac_toe(position(board=board))
  assert picture.shape == (264, 264, 3)
  assert at(picture, 132, 132) == BLUE  # X in the middle.
  assert at(picture, 52 - 22, 52) == RED  # O around the upper left.
  assert at(picture, 52, 52) != RED


def test_connect_four():
  board = np.full(42, -1)
  board[35], board[41] = 0, 1  # The ends of the lowest row.
  picture = boards.connect_four(position(board=board))
  assert at(picture, 30, 250) == RED
  assert at(picture, 294, 250) == YELLOW
  assert at(picture, 30, 206) not in (RED, YELLOW, BLUE)


@pytest.mark.parametrize('turn', [0, 1])
def test_othello_has_one_colour_for_each_player_whoever_moves(turn):
  board = np.zeros(64, int)
  board[0] = 1 if turn == 0 else -1  # Black's.
  picture = boards.othello(position(board=board, turn=turn))
  assert at(picture, 24 + 18, 24 + 18) == BLACK


def test_go():
  board = np.zeros(81, int)
  board[0], board[80] = 3, -80  # pgx numbers groups of stones.
  picture = boards.go(position(board=board))
  assert at(picture, 42, 42) == BLACK
  assert at(picture, 24 + 8 * 36 + 18, 24 + 8 * 36 + 18) == WHITE


@pytest.mark.parametrize('count', [0, 1])
def test_hex(count):
  board = np.zeros(121, int)
  board[0] = 1 if count == 0 else -1  # Black's.
  picture = boards.hex_(position(board=board, step_count=count))
  wide = 16 * 3 ** 0.5
  assert at(picture, round(wide), round(1.5 * 16 * 1.2)) == BLACK


@pytest.mark.parametrize('color', [0, 1])
def test_chess_is_seen_from_whites_side(color):
  board = np.zeros((8, 8), int)
  if color == 0:
    board[4, 0] = 6  # White's king on e1,
  else:
    board[4, 7] = -6  # and as Black sees it.
  picture = boards.chess(position(board=board.ravel(), color=color))
  x, y = 24 + round(4.5 * 44), 24 + round(7.5 * 44)
  assert at(picture, x - 13, y) == WHITE
  assert at(picture, x - 13, 24 + 22) != BLACK


@pytest.mark.parametrize('game, columns, rows, half, hand', [
  ('shogi', 9, 9, 14, 7), ('animal_shogi', 3, 4, 5, 3)])
def test_shogi_turns_around_when_white_moves(game, columns, rows, half, hand):
  board = np.full(columns * rows, -1)
  board[0], board[-1], board[5] = 0, half + 1, half - 1
  hands = np.zeros((2, hand), int)
  hands[0, 0] = 2
  turned = np.where(board < 0, -1, (board + half) % (2 * half))[::-1]
  drawn = []
  for one, held, turn in ((board, hands, 0), (turned, hands[::-1], 1)):
    state = position(board=one, hand=held, color=turn)
    state._board, state._hand, state._turn = one, held, turn
    drawn.append(getattr(boards, game)(state))
  np.testing.assert_array_equal(*drawn)
  # Black's are white wedges; the first is at the upper right.
  cell, width = (40, 408) if game == 'shogi' else (64, 260)
  right = round(width / 2 + columns * cell / 2)
  assert at(drawn[0], right - cell // 2, 36 + cell - 7) == WHITE


@pytest.mark.thorough
@pytest.mark.parametrize('game', ['shogi', 'backgammon'])
def test_pgx_turns_them_around_likewise(game):
  module = module_of(game)
  state = jax.tree.map(jax.numpy.asarray, module.State())
  if game == 'shogi':
    games = importlib.import_module('pgx._src.games.shogi')
    board = state._x.board.at[60].set(-1)
    one = state.replace(_x=state._x._replace(board=board))
    flipped = games._flip(one._x)._replace(color=1)
    other = one.replace(_x=flipped)
  else:
    board = np.zeros(28, int)
    board[[0, 5, 23, 24, 25]] = 2, 7, -3, 1, -2
    board, empty = jax.numpy.asarray(board), jax.numpy.full(4, -1)
    one = state.replace(_board=board, _turn=0, _playable_dice=empty)
    other = one.replace(_board=module._flip_board(board), _turn=1)
  np.testing.assert_array_equal(*(
    getattr(boards, game)(jax.tree.map(np.asarray, x)) for x in (one, other)))


def test_backgammon_turns_around_when_white_moves():
  board = np.zeros(28, int)
  board[[0, 5, 23, 24, 25, 26, 27]] = 2, 7, -3, 1, -2, 4, -1
  turned = np.zeros(28, int)
  turned[[23, 18, 0, 25, 24, 27, 26]] = -2, -7, 3, -1, 2, -4, 1
  dice = np.array([2, 5, -1, -1])
  drawn = [
    boards.backgammon(types.SimpleNamespace(
      _board=one, _turn=turn, _playable_dice=dice))
    for one, turn in ((board, 0), (turned, 1))]
  # All but the dice, which have the colour of who rolled them.
  differs = np.argwhere((drawn[0] != drawn[1]).any(-1))
  assert differs[:, 1].min() > 390 and len(differs) < 1500
  # Two of Black's are on the first point, at the lower right.
  assert at(drawn[0], 8 + round(12.5 * 30) - 9, 338 - 27 - 13) == BLACK


def test_2048():
  board = np.zeros(16, int)
  board[15] = 11
  picture = boards.play_2048(types.SimpleNamespace(_board=board))
  assert at(picture, 230, 230) == (237, 194, 46)  # 2048 in gold,
  assert at(picture, 15, 15) == (205, 193, 180)  # beside nothing.
  board[15] = 17  # 131072 is the largest that there can be.
  assert boards.play_2048(types.SimpleNamespace(_board=board)).shape == (
    296, 296, 3)
