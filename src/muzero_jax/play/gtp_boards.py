"""What points and moves of a board are called in the Go Text Protocol.

Columns are letters from the left without I, rows are numbers from the bottom,
on every board: A1 is the lower left corner.
"""

import re
from typing import Any, NamedTuple

import numpy as np

from muzero_jax.errors import UserError

_COLUMNS = 'ABCDEFGHJKLMNOPQRSTUVWXYZ'  # GTP has no letter I.
_POINT = re.compile(r'([A-Z])([0-9]{1,2})', re.ASCII)
_NUMBER = re.compile(r'M([0-9]{1,5})', re.ASCII)


class Board(NamedTuple):
  """A board: its size, and how its actions are named."""

  name: str  # For example "go_9x9".
  columns: int  # Also what `boardsize` takes.
  rows: int
  last: str = ''  # The action behind the last point, if there is one.
  is_dropped: bool = False  # Moves are columns, into which discs fall.
  is_numbered: bool = False  # Moves are pgx's numbers of actions.
  white_opens: bool = False

  @property
  def is_go(self) -> bool:
    """Return whether a pass is always a move."""
    return self.name.startswith('go_')


_BOARDS = {board.name: board for board in (
  Board('go_9x9', 9, 9, 'pass'),
  Board('go_19x19', 19, 19, 'pass'),
  Board('tic_tac_toe', 3, 3),
  Board('connect_four', 7, 6, is_dropped=True),
  Board('othello', 8, 8, 'pass'),
  Board('hex', 11, 11, 'swap'),
  Board('chess', 8, 8, is_numbered=True, white_opens=True),
  Board('gardner_chess', 5, 5, is_numbered=True, white_opens=True),
  Board('shogi', 9, 9, is_numbered=True),
  Board('animal_shogi', 3, 4, is_numbered=True),
)}


def make(env_name: str) -> Board:
  """Return the board of an environment, for example of "board/go_9x9".

  Raises:
    UserError: it is no board game of pgx.
  """
  family, _, name = env_name.partition('/')
  if family != 'board' or name not in _BOARDS:
    raise UserError(
      f'env_id = {env_name!r}: GTP is for the family "board", that is for '
      f'{", ".join(sorted(_BOARDS))}')
  return _BOARDS[name]


def to_vertex(board: Board, action: int) -> str:
  """Return what an action is called: "D4", "pass", "D" or "M123"."""
  if board.is_numbered:
    return f'M{action}'
  if board.is_dropped:
    return _COLUMNS[action]
  if action == board.columns * board.rows:
    return board.last
  row, column = divmod(action, board.columns)
  return f'{_COLUMNS[column]}{board.rows - row}'


def to_action(board: Board, vertex: str) -> int | None:
  """Return the action of that name, -1 if it is on no such board.

  Args:
    board: on which it is played.
    vertex: in capitals or not. On a board into which discs fall, the column
      with or without a row.

  Returns:
    None for what is no name of a move on any board of this kind.
  """
  word = vertex.upper()
  if board.is_numbered:
    found = _NUMBER.fullmatch(word)
    return int(found[1]) if found else None
  if word in ('PASS', 'SWAP'):
    return board.columns * board.rows if word.lower() == board.last else -1
  if board.is_dropped and len(word) == 1:
    word += '1'
  found = _POINT.fullmatch(word)
  if not found or found[1] not in _COLUMNS:
    return None
  column, row = _COLUMNS.index(found[1]), board.rows - int(found[2])
  if not (column < board.columns and 0 <= row < board.rows):
    return -1
  return column if board.is_dropped else row * board.columns + column


def stones(board: Board, state: Any) -> np.ndarray | None:
  """Return what lies where, [rows, columns]: 1 of who opened, -1, or 0.

  Args:
    board: of the game.
    state: pgx's, of one game.

  Returns:
    None where there are several kinds of pieces.
  """
  if board.is_numbered:
    return None
  found = np.asarray(state._x.board)
  if board.name in ('tic_tac_toe', 'connect_four'):
    found = np.array([0, 1, -1])[found + 1]  # Of -1, 0 and 1.
  # Othello and hex count from the view of who is to move.
  elif board.name == 'othello' and state._x.turn:
    found = -found
  elif board.name == 'hex' and state._x.step_count % 2:
    found = -found
  return np.sign(found).reshape(board.rows, board.columns).astype(np.int8)


def draw(board: Board, lying: np.ndarray) -> str:
  """Return a board as text: X opened, O is the other, . is empty.

  Args:
    board: of the game.
    lying: [rows, columns] as `stones` returns it.
  """
  letters = '   ' + ' '.join(_COLUMNS[:board.columns])
  rows = [
    f'{board.rows - i:2} {" ".join(".XO"[x] for x in row)} {board.rows - i}'
    for i, row in enumerate(lying)]
  return '\n'.join([letters, *rows, letters])


def area_score(lying: np.ndarray) -> int:
  """Return Black's area minus White's, all stones alive.

  Args:
    lying: [rows, columns] 1 for Black, -1 for White, 0 for empty.
  """
  score = int(lying.sum())
  seen = lying != 0
  for start in zip(*np.nonzero(lying == 0)):
    if seen[start]:
      continue
    region, borders, todo = 0, set(), [start]
    seen[start] = True
    while todo:
      row, column = todo.pop()
      region += 1
      for near in ((row + 1, column), (row - 1, column), (row, column + 1),
                   (row, column - 1)):
        if not (0 <= near[0] < len(lying) and 0 <= near[1] < len(lying[0])):
          continue
        if lying[near]:
          borders.add(int(lying[near]))
        elif not seen[near]:
          seen[near] = True
          todo.append(near)
    if len(borders) == 1:
      score += region * borders.pop()
  return score
