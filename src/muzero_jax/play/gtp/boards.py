"""What points and moves of a board are called in the Go Text Protocol.

Columns are letters from the left without I, rows are numbers from the bottom,
on every board: A1 is the lower left corner. Moves of chess are two squares,
such as e2e4 or e7e8n, of shogi M and pgx's number of the action.
"""

import functools
import re
from typing import Any, NamedTuple

import numpy as np

from muzero_jax.errors import UserError
from muzero_jax.play import names
from muzero_jax.types import EnvSpec

_COLUMNS = 'ABCDEFGHJKLMNOPQRSTUVWXYZ'  # GTP has no letter I.
_POINT = re.compile(r'([A-Z])([0-9]{1,2})', re.ASCII)
_SQUARES = re.compile(r'([A-H][1-8]){2}[QRBN]?', re.ASCII)
_NUMBER = re.compile(r'M([0-9]{1,5})', re.ASCII)


class Board(NamedTuple):
  """A board: its size, and how its actions are named."""

  name: str  # For example "go_9x9".
  columns: int  # Also what `boardsize` takes.
  rows: int
  kind: str = 'points'  # Or "columns", into which discs fall, "chess", "shogi".
  last: str = ''  # The action behind the last point, if there is one.
  spec: EnvSpec | None = None  # Of the environment.

  @property
  def is_go(self) -> bool:
    """Return whether a pass is always a move."""
    return self.name.startswith('go_')

  @property
  def has_pieces(self) -> bool:
    """Return whether moves go from square to square."""
    return self.kind in ('chess', 'shogi')

  @property
  def opener(self) -> str:
    """Return the colour that moves first."""
    return 'white' if self.kind == 'chess' else 'black'

  def mover(self, colour: str) -> int:
    """Return 0 for the colour that moves first, 1 for the other."""
    return int(colour != self.opener)


_BOARDS = {board.name: board for board in (
  Board('go_9x9', 9, 9, last='pass'),
  Board('go_19x19', 19, 19, last='pass'),
  Board('tic_tac_toe', 3, 3),
  Board('connect_four', 7, 6, 'columns'),
  Board('othello', 8, 8, last='pass'),
  Board('hex', 11, 11, last='swap'),
  Board('chess', 8, 8, 'chess'),
  Board('gardner_chess', 5, 5, 'chess'),
  Board('shogi', 9, 9, 'shogi'),
  Board('animal_shogi', 3, 4, 'shogi'),
)}


def make(spec: EnvSpec) -> Board:
  """Return the board of an environment.

  Raises:
    UserError: it is no board game of pgx.
  """
  family, _, name = spec.name.partition('/')
  if family != 'board' or name not in _BOARDS:
    raise UserError(
      f'env_id = {spec.name!r}: GTP is for the family "board", that is for '
      f'{", ".join(sorted(_BOARDS))}')
  return _BOARDS[name]._replace(spec=spec)


def to_vertex(board: Board, action: int, mover: int = 0) -> str:
  """Return what an action is called: "D4", "pass", "D", "e2e4" or "M123".

  Args:
    board: on which it is played.
    action: pgx's number.
    mover: 0 for who moved first, 1 for the other.
  """
  if board.kind == 'chess':
    assert board.spec is not None
    return names.name(board.spec, action, mover)
  if board.kind == 'shogi':
    return f'M{action}'
  if board.kind == 'columns':
    return _COLUMNS[action]
  if action == board.columns * board.rows:
    return board.last
  row, column = divmod(action, board.columns)
  return f'{_COLUMNS[column]}{board.rows - row}'


def to_action(board: Board, vertex: str, mover: int = 0) -> int | None:
  """Return the action of that name, -1 if it is none on this board.

  Args:
    board: on which it is played.
    vertex: in capitals or not. On a board into which discs fall, the column
      with or without a row.
    mover: 0 for who moved first, 1 for the other.

  Returns:
    None for what is no name of a move on any board of this kind.
  """
  word = vertex.upper()
  if board.kind == 'chess':
    if not _SQUARES.fullmatch(word):
      return None
    return _chess_moves(board, mover).get(word.lower().removesuffix('q'), -1)
  if board.kind == 'shogi':
    found = _NUMBER.fullmatch(word)
    return int(found[1]) if found else None
  if word in ('PASS', 'SWAP'):
    return board.columns * board.rows if word.lower() == board.last else -1
  if board.kind == 'columns' and len(word) == 1:
    word += '1'
  found = _POINT.fullmatch(word)
  if not found or found[1] not in _COLUMNS:
    return None
  column, row = _COLUMNS.index(found[1]), board.rows - int(found[2])
  if not (column < board.columns and 0 <= row < board.rows):
    return -1
  return column if board.kind == 'columns' else row * board.columns + column


@functools.cache
def _chess_moves(board: Board, mover: int) -> dict[str, int]:
  """Return the actions of chess by their names."""
  assert board.spec is not None
  return {
    names.name(board.spec, action, mover): action
    for action in range(board.spec.num_actions)}


def stones(board: Board, state: Any) -> np.ndarray | None:
  """Return what lies where, [rows, columns]: 1 of who opened, -1, or 0.

  Args:
    board: of the game.
    state: pgx's, of one game.

  Returns:
    None where there are several kinds of pieces.
  """
  if board.has_pieces:
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
