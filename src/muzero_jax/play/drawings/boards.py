"""Drawings of pgx's games, one function each, from the state of one game.

Below `pictures`. Boards are drawn from one side: that of whoever moves first
is at the bottom, whoever is to move. A state is pgx's, as NumPy arrays.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from muzero_jax.play.drawings import canvas
from muzero_jax.play.drawings.canvas import BLACK, WHITE, Canvas, Colour

Draw = Callable[[Any], np.ndarray]

_PAPER: Colour = (250, 248, 242)
_INK: Colour = (70, 70, 70)
_RED: Colour = (214, 69, 65)
_YELLOW: Colour = (244, 208, 63)
_BLUE: Colour = (41, 98, 168)
_GREEN: Colour = (39, 119, 78)
_WOOD: Colour = (222, 184, 120)
_LIGHT: Colour = (240, 217, 181)
_DARK: Colour = (181, 136, 99)
_LETTERS = 'ABCDEFGHJKLMNOPQRST'  # Go has no column I.
_STARS = {
  9: ((2, 2), (2, 6), (4, 4), (6, 2), (6, 6)),
  19: tuple((i, j) for i in (3, 9, 15) for j in (3, 9, 15)),
}
_MARGIN = 24


def tic_tac_toe(state: Any) -> np.ndarray:
  """Draw noughts and crosses; X moves first."""
  cell, margin = 80, 12
  size = 3 * cell + 2 * margin
  board = Canvas(size, size, _PAPER)
  for i in (1, 2):
    at = margin + i * cell
    for points in (
      [(at, margin), (at, size - margin)], [(margin, at), (size - margin, at)]
    ):
      board.line(points, fill=_INK, width=3)
  for place, mark in enumerate(state._x.board):
    x, y = (margin + (i + 0.5) * cell for i in (place % 3, place // 3))
    if mark == 0:
      for sign in (-1, 1):
        board.line(
          [(x - 22, y - 22 * sign), (x + 22, y + 22 * sign)], fill=_BLUE,
          width=8)
    elif mark == 1:
      board.circle(x, y, 26, outline=_RED, width=8)
  return board.array()


def connect_four(state: Any) -> np.ndarray:
  """Draw a board that stands; Red moves first."""
  cell, margin = 44, 8
  board = Canvas(7 * cell + 2 * margin, 6 * cell + 2 * margin, _PAPER)
  board.rectangle(
    2, 2, 7 * cell + 2 * margin - 4, 6 * cell + 2 * margin - 4, fill=_BLUE,
    radius=10)
  for place, disc in enumerate(state._x.board):
    x, y = (margin + (i + 0.5) * cell for i in (place % 7, place // 7))
    board.circle(x, y, 18, fill={0: _RED, 1: _YELLOW}.get(int(disc), _PAPER))
  return board.array()


def othello(state: Any) -> np.ndarray:
  """Draw discs on green squares; Black moves first."""
  discs = state._x.board.reshape(8, 8) * (1 if state._x.turn == 0 else -1)
  cell = 36
  board = _squares(8, cell, lambda row, column: _GREEN)
  for row, column in np.argwhere(discs != 0):
    board.circle(
      *_middle(row, column, cell), 15,
      fill=BLACK if discs[row, column] > 0 else WHITE)
  return board.array()


def go(state: Any) -> np.ndarray:
  """Draw stones on the crossings of lines; Black moves first."""
  size = round(len(state._x.board) ** 0.5)
  cell = 36 if size <= 9 else 24
  stones = np.sign(state._x.board).reshape(size, size)
  length = size * cell + 2 * _MARGIN
  board = Canvas(length, length, _WOOD)
  first, last = _middle(0, 0, cell)[0], _middle(0, size - 1, cell)[0]
  for i in range(size):
    at = _middle(i, i, cell)[0]
    board.line([(at, first), (at, last)], fill=_INK)
    board.line([(first, at), (last, at)], fill=_INK)
    for end in (0.45, 1.55):
      edge = _MARGIN * end if end < 1 else length - _MARGIN * (2 - end)
      board.text(at, edge, _LETTERS[i], fill=_INK, size=12)
      board.text(edge, at, str(size - i), fill=_INK, size=12)
  for row, column in _STARS.get(size, ()):
    board.circle(*_middle(row, column, cell), 3, fill=_INK)
  for row, column in np.argwhere(stones != 0):
    board.circle(
      *_middle(row, column, cell), cell * 0.46, outline=BLACK,
      fill=BLACK if stones[row, column] > 0 else WHITE)
  return board.array()


def hex_(state: Any) -> np.ndarray:
  """Draw hexagons; Black moves first and joins top and bottom."""
  size = round(len(state._x.board) ** 0.5)
  stones = state._x.board.reshape(size, size)
  if state._x.step_count % 2:
    stones = -stones
  side = 16
  wide = side * 3 ** 0.5
  corners = [
    (np.sin(np.pi / 3 * i) * side, np.cos(np.pi / 3 * i) * side)
    for i in range(6)]
  board = Canvas(
    round(wide * (1.5 * size + 1)), round(1.5 * side * (size + 1.4)), _PAPER)

  def middle(row: float, column: float) -> canvas.Point:
    return wide * (column + row / 2 + 1), 1.5 * side * (row + 1.2)

  last, out = size - 1, 0.75
  for corner, (one, other) in {
    BLACK: (((-out, 0.2), (-out, last + 0.5)),
            ((last + out, -0.5), (last + out, last - 0.2))),
    _RED: (((0.2, -out), (last + 0.5, -out)),
           ((-0.5, last + out), (last - 0.2, last + out))),
  }.items():
    for ends in (one, other):
      board.line([middle(*end) for end in ends], fill=corner, width=6)
  for row, column in np.ndindex(size, size):
    x, y = middle(row, column)
    stone = np.sign(stones[row, column])
    board.polygon(
      [(x + dx, y + dy) for dx, dy in corners], outline=_INK,
      fill={1: BLACK, -1: _RED}.get(int(stone), WHITE))
  return board.array()


def chess(state: Any) -> np.ndarray:
  """Draw chess with letters as pieces; White moves first."""
  return _chess(state._x.board, state._x.color, 8)


def gardner_chess(state: Any) -> np.ndarray:
  """Draw chess on a board of five by five."""
  return _chess(state._board, state._turn, 5)


def _chess(pieces: np.ndarray, turn: Any, size: int) -> np.ndarray:
  """Draw pieces, which pgx counts from the bottom of column a upwards."""
  pieces = pieces.reshape(size, size)
  if turn:
    pieces = -pieces[:, ::-1]
  cell = 44
  board = _squares(
    size, cell,
    lambda row, column: _DARK if (row + column + size) % 2 else _LIGHT)
  for i in range(size):
    at = _middle(i, i, cell)[0]
    board.text(
      at, size * cell + _MARGIN * 1.5, 'abcdefgh'[i], fill=_INK, size=13)
    board.text(_MARGIN * 0.5, at, str(size - i), fill=_INK, size=13)
  for column, up in np.argwhere(pieces != 0):
    piece = pieces[column, up]
    fill, ink = (WHITE, BLACK) if piece > 0 else (BLACK, WHITE)
    x, y = _middle(size - 1 - up, column, cell)
    board.circle(x, y, 17, fill=fill, outline=_INK)
    board.text(x, y, 'PNBRQK'[abs(piece) - 1], fill=ink, size=22)
  return board.array()


def shogi(state: Any) -> np.ndarray:
  """Draw shogi with letters as pieces, + for promoted ones."""
  names = [*'PLNSBRGK', '+P', '+L', '+N', '+S', '+B', '+R']
  pieces, hands = state._x.board, state._x.hand
  if state._x.color:
    pieces = np.where(pieces < 0, pieces, (pieces + 14) % 28)[::-1]
    hands = hands[::-1]
  return _shogi(pieces.reshape(9, 9), hands, names, list('PLNSBRG'))


def animal_shogi(state: Any) -> np.ndarray:
  """Draw Chick, Elephant, Giraffe, Lion and Hen as letters."""
  pieces, hands = state._board, state._hand
  if state._turn:
    pieces = np.where(pieces < 0, pieces, (pieces + 5) % 10)[::-1]
    hands = hands[::-1]
  return _shogi(pieces.reshape(3, 4), hands, list('CEGLH'), list('CEG'))


def _shogi(
  pieces: np.ndarray, hands: np.ndarray, names: list[str], in_hand: list[str]
) -> np.ndarray:
  """Draw wedges that point away from their owner, and what each has in hand.

  Args:
    pieces: [columns from the right, rows]; of the second player, those from
      the number of `names` on.
    hands: [2, N] of the first and the second player.
    names: of the pieces.
    in_hand: of those that `hands` counts.
  """
  columns, rows = pieces.shape
  cell, top = (40, 36) if columns > 4 else (64, 36)
  width = max(columns * cell + 2 * _MARGIN, 260)
  left = (width - columns * cell) / 2
  board = Canvas(width, rows * cell + 2 * top, _WOOD)
  for column, row in np.ndindex(columns, rows):
    x, y = left + (columns - 1 - column) * cell, top + row * cell
    board.rectangle(x, y, cell + 0.5, cell + 0.5, outline=_INK)
    piece = int(pieces[column, row])
    if piece < 0:
      continue
    sign = 1 if piece < len(names) else -1
    x, y, r = x + cell / 2, y + cell / 2, cell * 0.42
    board.polygon([
      (x + dx * r, y + sign * dy * r) for dx, dy in
      ((0, -1), (0.7, -0.6), (0.9, 1), (-0.9, 1), (-0.7, -0.6))],
      fill=WHITE if sign > 0 else _INK, outline=BLACK)
    board.text(
      x, y + sign * 2, names[piece % len(names)], size=cell * 0.45,
      fill=BLACK if sign > 0 else WHITE)
  for hand, y in zip(hands, (top * 1.5 + rows * cell, top * 0.5)):
    words = ' '.join(
      f'{name}{"" if n == 1 else n}' for name, n in zip(in_hand, hand) if n)
    board.text(
      width / 2, y, f'in hand: {words or "none"}', fill=BLACK, size=15)
  return board.array()


def play_2048(state: Any) -> np.ndarray:
  """Draw the tiles of 2048."""
  cell, gap = 64, 8
  size = 4 * cell + 5 * gap
  board = Canvas(size, size, (187, 173, 160))
  for place, power in enumerate(state._board):
    x, y = (gap + i * (cell + gap) for i in (place % 4, place // 4))
    board.rectangle(
      x, y, cell, cell, radius=5, fill=_TILES[min(power, len(_TILES) - 1)])
    if power:
      number = str(2 ** int(power))
      board.text(
        x + cell / 2, y + cell / 2, number,
        fill=(119, 110, 101) if power < 3 else WHITE,
        size=(0, 32, 32, 27, 21, 17, 15)[len(number)])
  return board.array()


_TILES: tuple[Colour, ...] = (
  (205, 193, 180), (238, 228, 218), (237, 224, 200), (242, 177, 121),
  (245, 149, 99), (246, 124, 95), (246, 94, 59), (237, 207, 114),
  (237, 204, 97), (237, 200, 80), (237, 197, 63), (237, 194, 46),
  (60, 58, 50))


def backgammon(state: Any) -> np.ndarray:
  """Draw the points, the bar, checkers that are off, and the dice to play."""
  points = state._board
  if state._turn:
    points = -np.concatenate([points[:24][::-1], points[[25, 24, 27, 26]]])
  cell, height = 30, 330
  board = Canvas(15 * cell + 16, height + 16, (92, 64, 40))
  board.rectangle(8, 8, 6 * cell, height, fill=_LIGHT)
  board.rectangle(8 + 7 * cell, 8, 6 * cell, height, fill=_LIGHT)
  for point in range(24):
    x, bottom = _point(point, cell)
    base, tip = (8 + height, 205) if bottom else (8, height - 189)
    board.polygon(
      [(x - cell / 2, base), (x + cell / 2, base), (x, tip)],
      fill=_DARK if point % 2 else _RED)
    _checkers(board, x, base, bottom, int(points[point]))
  middle, side = 8 + 6.5 * cell, 8 + 13.8 * cell
  for x, near, (black, white) in (
    (middle, height / 2 + 8, points[24:26]), (side, 8, points[26:28])
  ):
    at_bottom = x == side
    _checkers(board, x, height + 8 if at_bottom else near, True, int(black))
    _checkers(board, x, near, False, int(white))
  dice = [int(die) + 1 for die in state._playable_dice if die >= 0]
  for i, die in enumerate(dice):
    x, y = side - 20 + 22 * (i % 2), height / 2 - 12 + 22 * (i // 2)
    board.rectangle(
      x, y, 19, 19, radius=3, fill=WHITE if state._turn else BLACK)
    board.text(
      x + 9.5, y + 9.5, str(die), size=15,
      fill=BLACK if state._turn else WHITE)
  return board.array()


def _point(point: int, cell: int) -> tuple[float, bool]:
  """Return where the middle of a point is, and whether it is at the bottom."""
  bottom = point < 12
  column = 11 - point if bottom else point - 12
  return 8 + (column + (column >= 6) + 0.5) * cell, bottom


def _checkers(
  board: Canvas, x: float, base: float, upwards: bool, count: int
) -> None:
  """Draw checkers in a row; positive ones are black. Five, and a number."""
  fill, ink = (BLACK, WHITE) if count > 0 else (WHITE, BLACK)
  step = -27 if upwards else 27
  for i in range(min(abs(count), 5)):
    y = base + step * (i + 0.5)
    board.circle(x, y, 13, fill=fill, outline=_INK)
    if i == 4 and abs(count) > 5:
      board.text(x, y, str(abs(count)), fill=ink, size=15)


def _squares(
  size: int, cell: int, colour: Callable[[int, int], Colour]
) -> Canvas:
  """Return a board of squares with a margin around them."""
  length = size * cell + 2 * _MARGIN
  board = Canvas(length, length, _PAPER)
  for row, column in np.ndindex(size, size):
    board.rectangle(
      _MARGIN + column * cell, _MARGIN + row * cell, cell + 0.5, cell + 0.5,
      fill=colour(row, column), outline=_INK)
  return board


def _middle(row: int, column: int, cell: int) -> canvas.Point:
  """Return the middle of a square."""
  return _MARGIN + (column + 0.5) * cell, _MARGIN + (row + 0.5) * cell


DRAWINGS: dict[str, Draw] = {
  'board/animal_shogi': animal_shogi,
  'board/chess': chess,
  'board/connect_four': connect_four,
  'board/gardner_chess': gardner_chess,
  'board/go_19x19': go,
  'board/go_9x9': go,
  'board/hex': hex_,
  'board/othello': othello,
  'board/shogi': shogi,
  'board/tic_tac_toe': tic_tac_toe,
  'stochastic/2048': play_2048,
  'stochastic/backgammon': backgammon,
}
