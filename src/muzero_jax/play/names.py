"""What actions are called, by which keys they are played, where to click."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from muzero_jax.types import EnvSpec

_LETTERS = 'abcdefghijklmnopqrstuvwxyz'
_GO_LETTERS = 'ABCDEFGHJKLMNOPQRSTUVWXYZ'  # Without I, as in GTP.
_KEYS = {
  'left': 'ArrowLeft', 'right': 'ArrowRight', 'up': 'ArrowUp',
  'down': 'ArrowDown', 'fire': ' ', 'upright': 'e', 'upleft': 'q',
  'downright': 'c', 'downleft': 'y',
}
_FIRE = 'fire'
_ARROWS = (('ArrowDown', 'ArrowUp'), ('ArrowLeft', 'ArrowRight'))
# Of boards whose cells are one action each: columns, rows, and the name of the
# action behind the last cell, if there is one.
_BOARDS = {
  'board/tic_tac_toe': (3, 3, ''),
  'board/othello': (8, 8, 'pass'),
  'board/go_9x9': (9, 9, 'pass'),
  'board/go_19x19': (19, 19, 'pass'),
  'board/hex': (11, 11, 'swap'),
}
_COLUMNS = 7  # Of Connect Four.
# Squares per side of the boards on which pieces move as in chess.
_CHESS = {'board/chess': 8, 'board/gardner_chess': 5}
_BACKGAMMON_NOTHING = 'no move'


def name(spec: EnvSpec, action: Any, mover: int = 0) -> str:
  """Return what an action is called.

  Args:
    spec: of the environment.
    action: a number, or a vector where actions are continuous.
    mover: 0 for who opened the game, 1 for the other player.
  """
  if spec.is_continuous:
    return '(' + ', '.join(f'{float(x):.2f}' for x in action) + ')'
  number = int(action)
  if spec.action_names and number < len(spec.action_names):
    return spec.action_names[number]
  if spec.name == 'board/connect_four':
    return f'column {number + 1}'
  if spec.name == 'stochastic/backgammon':
    return _backgammon(number)
  if spec.name in _CHESS:
    return _chess(number, _CHESS[spec.name], mover)
  if spec.name not in _BOARDS:
    return str(number)
  columns, rows, last = _BOARDS[spec.name]
  if number >= columns * rows:
    return last
  row, column = divmod(number, columns)
  if spec.name.startswith('board/go_'):
    return f'{_GO_LETTERS[column]}{rows - row}'
  return f'{_LETTERS[column]}{row + 1}'


def keys(spec: EnvSpec) -> dict[str, Any]:
  """Return the action of each key of a keyboard, of one player.

  Keys are named as browsers do, with `Shift+` in front where that is held.
  Actions without a name have digits. Of one or two continuous actions the
  arrows give the ends of the range, and the space bar the middle.
  """
  if spec.num_players != 1:
    return {}
  if spec.is_continuous:
    return _keys_of_vectors(spec)
  if spec.action_names:
    return {
      found: number for number, name in enumerate(spec.action_names)
      if (found := _key(name))
    }
  return {str(number): number for number in range(min(spec.num_actions, 10))}


def _key(name: str) -> str:
  """Return the key of an action's name, '' if it has none."""
  if name in _KEYS:
    return _KEYS[name]
  direction = _KEYS.get(name.removesuffix(_FIRE), '')
  return f'Shift+{direction}' if direction and name.endswith(_FIRE) else ''


def _keys_of_vectors(spec: EnvSpec) -> dict[str, list[float]]:
  """Return the keys of continuous actions; none of more than two."""
  low, high = spec.action_low, spec.action_high
  middle = [(x + y) / 2 for x, y in zip(low, high)]
  if len(middle) > len(_ARROWS):
    return {}
  found = {' ': middle}
  # Of two actions the second goes across, as LunarLander has it.
  for index, (least, most) in enumerate(_ARROWS[-len(middle):]):
    found[least] = [*middle[:index], low[index], *middle[index + 1:]]
    found[most] = [*middle[:index], high[index], *middle[index + 1:]]
  return found


def cells(env_name: str) -> list[dict[str, float]] | None:
  """Return where on the picture of a board each action is clicked.

  As shares of its width and height. None where actions are no cells.
  """
  if env_name == 'board/connect_four':
    share = 1 / (_COLUMNS + 1)
    return [
      dict(action=column, x=(column + 0.5) * share, y=0.5 * share, w=share,
           h=(_COLUMNS - 1) * share)
      for column in range(_COLUMNS)]
  if env_name == 'board/hex':
    return _hexagons(11)
  if env_name not in _BOARDS:
    return None
  columns, rows, _ = _BOARDS[env_name]
  width, height = 1 / (columns + 1), 1 / (rows + 1)
  return [
    dict(action=row * columns + column, x=(column + 0.5) * width,
         y=(row + 0.5) * height, w=width, h=height)
    for row in range(rows) for column in range(columns)]


def _hexagons(size: int) -> list[dict[str, float]]:
  # pgx draws hexagons of side 1/2, their rows shifted by half a hexagon each.
  width, height = 1.5 * size + 1, size * math.sqrt(3) / 2 + 1
  cell_w, cell_h = math.sqrt(3) / 2, 0.75
  return [
    dict(action=row * size + column,
         x=((column + row / 2) * cell_w + 2 - cell_w / 2) / width,
         y=(row * 0.75 + 1.5 - cell_h / 2) / height,
         w=cell_w / width, h=cell_h / height)
    for row in range(size) for column in range(size)]


def _backgammon(number: int) -> str:
  """Return a checker's move: where from, and by how many points."""
  source, die = divmod(number, 6)
  if source == 0:
    return _BACKGAMMON_NOTHING
  start = 'bar' if source == 1 else str(source - 1)
  return f'{start} by {die + 1}'


def _chess(number: int, size: int, mover: int) -> str:
  """Return a move as its two squares, such as e2e4, or e7e8n.

  pgx numbers moves from the viewpoint of who moves; columns are not turned.
  """
  source, plane = divmod(number, 8 * (size - 1) + 17)
  column, row = divmod(source, size)
  across, ahead, promoted = _chess_planes(size)[plane]
  rows = (row, row + ahead)
  if mover:
    rows = (size - 1 - row, size - 1 - row - ahead)
  if not (0 <= column + across < size and 0 <= row + ahead < size):
    return str(number)
  return (
    f'{_LETTERS[column]}{rows[0] + 1}{_LETTERS[column + across]}{rows[1] + 1}'
    f'{promoted}')


@functools.cache
def _chess_planes(size: int) -> list[tuple[int, int, str]]:
  """Return how far each kind of move leads, and to what it promotes."""
  planes = [
    (across, 1, piece) for piece in 'rbn' for across in (0, 1, -1)]
  back, on = list(range(1 - size, 0)), list(range(1, size))
  still = [0] * (size - 1)
  ahead = back + on + still * 2 + back + on + on[::-1] + back[::-1]
  across = still * 2 + (back + on) * 3
  planes += [(x, y, '') for x, y in zip(across, ahead)]
  knight = ((-2, -1), (-2, 1), (-1, -2), (-1, 2), (2, -1), (2, 1), (1, -2),
            (1, 2))
  return [*planes, *((x, y, '') for x, y in knight)]


def of_all(
  spec: EnvSpec, actions: Sequence[int], mover: int = 0
) -> dict[str, str]:
  """Return the names of actions by their numbers, as JSON wants keys."""
  return {
    str(int(action)): name(spec, action, mover) for action in actions}


def every(spec: EnvSpec) -> list[str]:
  """Return the names of all actions; none where they are vectors."""
  if spec.is_continuous:
    return []
  return [name(spec, action) for action in range(spec.num_actions)]
