"""Who wins a Connect Four position: exact, for tests and for judging moves.

Alpha-beta on bitboards with a transposition table. Of a game's value only the
sign is asked, so a search has a window of nothing and answers yes or no: does
the mover win, or else does it at least not lose. Host code, pure Python.

A board is an integer with 7 bits to a column, the lowest row first; the
seventh bit of each column stays empty and keeps the columns apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from muzero_jax.errors import UserError

COLUMNS, ROWS = 7, 6
_HEIGHT = ROWS + 1
_COLUMN = [((1 << ROWS) - 1) << (_HEIGHT * c) for c in range(COLUMNS)]
_BOARD = sum(_COLUMN)
_BOTTOM = sum(1 << (_HEIGHT * c) for c in range(COLUMNS))
_ODD_ROWS = sum(_BOTTOM << r for r in range(0, ROWS, 2))  # 1, 3, 5.
# Columns of the middle are part of more lines.
_CENTRE_FIRST = [_COLUMN[c] for c in (3, 2, 4, 1, 5, 0, 6)]


class Position(NamedTuple):
  """Stones of a game that is not over, or of one just ended."""

  mine: int  # Of the player to move.
  mask: int  # Of both.


class OutOfNodesError(RuntimeError):
  """A search was given too few nodes to find its answer."""


def from_moves(columns: Sequence[int]) -> Position:
  """Returns the position after moves of both players in turn.

  Args:
    columns: each from 0 to 6.

  Raises:
    ValueError: on a move that is illegal or follows the end of the game.
  """
  position = Position(0, 0)
  for i, column in enumerate(columns):
    if _has_won(position.mine ^ position.mask):
      raise UserError(f'move {i}: the game is over before it')
    if not (0 <= column < COLUMNS and position.mask & _COLUMN[column]
            != _COLUMN[column]):
      raise UserError(f'move {i}: column {column} is full or does not exist')
    position = play(position, column)
  return position


def from_observation(observation: np.ndarray) -> Position:
  """Returns the position that `board/connect_four` observes.

  Args:
    observation: [6, 7, 2] bool, the top row first, the mover's stones first.

  Raises:
    ValueError: on another shape, or stones that cannot lie so.
  """
  stones = np.asarray(observation, bool)
  if stones.shape != (ROWS, COLUMNS, 2):
    raise UserError(
      f'observation has shape {stones.shape}: must be (6, 7, 2)'
    )
  mine, theirs = (
    sum(
      1 << (_HEIGHT * int(c) + ROWS - 1 - int(r))
      for r, c in np.argwhere(stones[..., player])
    )
    for player in range(2)
  )
  mask = mine | theirs
  # In a column without gaps, one more than its stones is a power of two.
  floating = (mask + _BOTTOM) & mask
  if mine & theirs or floating or (
    theirs.bit_count() - mine.bit_count() not in (0, 1)
  ):
    raise UserError('observation: stones float, overlap or are too many')
  return Position(mine, mask)


def play(position: Position, column: int) -> Position:
  """Returns the position after a legal move, for the other player."""
  mine, mask = position
  move = (mask + (1 << (_HEIGHT * column))) & _COLUMN[column]
  return Position(mine ^ mask, mask | move)


def is_over(position: Position) -> bool:
  """Returns whether the last move won or filled the board."""
  return position.mask == _BOARD or _has_won(position.mine ^ position.mask)


def _has_won(stones: int) -> bool:
  """Returns whether four stones lie in a row."""
  for shift in (1, _HEIGHT - 1, _HEIGHT, _HEIGHT + 1):
    pairs = stones & (stones >> shift)
    if pairs & (pairs >> (2 * shift)):
      return True
  return False


def _completes(p: int, mask: int) -> int:
  """Returns the empty squares that would give stones p four in a row."""
  found = (p << 1) & (p << 2) & (p << 3)
  for s in (_HEIGHT - 1, _HEIGHT, _HEIGHT + 1):
    up, down = p << s, p >> s
    pair = up & (p << (2 * s))
    found |= pair & ((p << (3 * s)) | down)
    pair = down & (p >> (2 * s))
    found |= pair & ((p >> (3 * s)) | up)
  return found & (_BOARD ^ mask)


class Solver:
  """Answers about positions, remembering what it has found.

  Attributes:
    num_nodes: positions searched so far.
  """

  def __init__(
    self, *, max_entries: int = 2_000_000, max_nodes: int | None = None
  ) -> None:
    """Makes a solver that knows nothing yet.

    Args:
      max_entries: remembered positions, about 150 bytes each; all are
        forgotten when there are more.
      max_nodes: positions that one call may search; None for any number.

    Raises:
      ValueError: on numbers below 1.
    """
    for name, number in (
      ('max_entries', max_entries), ('max_nodes', max_nodes)
    ):
      if number is not None and number < 1:
        raise UserError(f'{name} = {number}: must be at least 1')
    self.num_nodes = 0
    self._max_entries = max_entries
    self._max_nodes = max_nodes
    self._limit = float('inf')
    self._table: dict[int, bool] = {}

  def move_values(self, position: Position) -> list[int | None]:
    """Returns what each column [7] leads to for the player to move.

    1 won, 0 drawn, -1 lost, with perfect play of both; None where the column
    is full, and everywhere once the game is over.

    Raises:
      OutOfNodesError: after `max_nodes`.
    """
    self._start()
    if is_over(position):
      return [None] * COLUMNS
    full = [position.mask & column == column for column in _COLUMN]
    return [
      None if full[c] else -self._value(play(position, c))
      for c in range(COLUMNS)
    ]

  def value(self, position: Position) -> int:
    """Returns 1, 0 or -1: won, drawn or lost for the player to move.

    Raises:
      OutOfNodesError: after `max_nodes`.
    """
    self._start()
    return self._value(position)

  def _start(self) -> None:
    if self._max_nodes is not None:
      self._limit = self.num_nodes + self._max_nodes

  def _value(self, position: Position) -> int:
    mine, mask = position
    if _has_won(mine ^ mask):
      return -1
    if _completes(mine, mask) & (mask + _BOTTOM):
      return 1
    if self._reaches(mine, mask, True):
      return 1
    return 0 if self._reaches(mine, mask, False) else -1

  def _reaches(self, mine: int, mask: int, wins: bool) -> bool:
    """Returns whether the player to move wins, or else does not lose.

    Args:
      mine: stones of a player who cannot win at once.
      mask: all stones.
      wins: whether a win is asked for; a draw will do if not.
    """
    if mask == _BOARD:
      return not wins
    moves = _sensible_moves(mine, mask)
    if not moves:
      return False
    if _is_hopeless(mine, mask, wins):
      return not wins
    key = (mine + mask + _BOTTOM) << 1 | wins
    known = self._table.get(key)
    if known is not None:
      return known
    self.num_nodes += 1
    if self.num_nodes > self._limit:
      raise OutOfNodesError(f'no answer after {self._max_nodes} nodes')
    theirs = mine ^ mask
    # Of the other's two questions, the one that denies this.
    found = any(
      not self._reaches(theirs, mask | move, not wins)
      for move in _ordered(mine, mask, moves)
    )
    if len(self._table) >= self._max_entries:
      self._table.clear()
    self._table[key] = found
    return found


def _sensible_moves(mine: int, mask: int) -> int:
  """Returns the moves after which the other cannot win at once."""
  moves = (mask + _BOTTOM) & _BOARD
  threats = _completes(mine ^ mask, mask)
  forced = moves & threats
  if forced:
    if forced & (forced - 1):
      return 0  # Two at once cannot be blocked.
    moves = forced
  return moves & ~(threats >> 1)  # Nor a stone for the other to stand on.


def _is_hopeless(mine: int, mask: int, wins: bool) -> bool:
  """Returns whether one side, surely, never completes four.

  The mover, if `wins`, else the other one. Without a line that is free of the
  opponent; or, for a mover who finds an even number of empty squares in each
  column, since the opponent can always play on top of it: what it gets of
  them are the odd rows at most (the rule "claimeven", Allis 1988).
  """
  side = mine if wins else mine ^ mask
  empty = _BOARD ^ mask
  if not _has_won(side | empty):
    return True
  # The lowest empty squares are all in odd rows where columns are even.
  even = not ((mask + _BOTTOM) & _BOARD & ~_ODD_ROWS)
  return wins and even and not _has_won(side | (empty & _ODD_ROWS))


def _ordered(mine: int, mask: int, moves: int) -> list[int]:
  """Returns moves, those with most squares to complete four at first."""
  if not moves & (moves - 1):
    return [moves]
  found = [move for c in _CENTRE_FIRST if (move := moves & c)]
  found.sort(
    key=lambda move: _completes(mine | move, mask).bit_count(), reverse=True
  )
  return found


def move_values(position: Position) -> list[int | None]:
  """Returns what each column leads to; see `Solver.move_values`.

  On one core of 2026 about 0.03 s after 20 plies, 0.2 s after 16, 4 s after
  12, at worst several times as long, and hopelessly long at the opening.
  Whoever has many positions keeps one `Solver`, and gives it `max_nodes`.
  """
  return Solver().move_values(position)
