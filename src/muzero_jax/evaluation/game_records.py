"""Games as they were played: JSON lines for all games, SGF for Go.

One object to a line, all fields always there, but `reason` for broken games
alone:

  version      1
  game         the environment's name, for example "board/go_9x9"
  first        who moved first, "agent" or an opponent's name
  second       who moved second
  seed         of the match
  step         environment steps that the agent was trained for
  opening_moves  how many of the moves were drawn at random
  moves        actions as numbers, in order; who made each follows from the
               rules, and what fell by chance, as dice, is not recorded
  result       1, 0 or -1 for who moved first, or "broken": it did not end
  reason       why it is broken
"""

import json
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from muzero_jax import files
from muzero_jax.errors import UserError

VERSION = 1
BROKEN = 'broken'
# Reasons of games that were not broken.
UNFINISHED, RESIGNED = 'not played to its end', 'resigned'
_SGF_COLUMNS = 'abcdefghijklmnopqrstuvwxyz'


class GameRecord(NamedTuple):
  """One game of two players."""

  game: str
  first: str
  second: str
  seed: int
  step: int
  opening_moves: int
  moves: tuple[int, ...]
  result: int | str  # Of who moved first: 1, 0, -1, or BROKEN.
  reason: str = ''  # Of a broken game.


def file_name(opponent: str) -> str:
  """Returns a file's name, without its ending, for an opponent's."""
  return re.sub(r'[^A-Za-z0-9._-]+', '-', opponent)


def write(path: str | os.PathLike, games: Sequence[GameRecord]) -> None:
  """Writes games as JSON lines.

  Raises:
    UserError: the file is there already, or cannot be written.
  """
  _write(path, ''.join(to_json(game) + '\n' for game in games))


def read(path: str | os.PathLike) -> list[GameRecord]:
  """Returns the games of a file that `write` wrote.

  Raises:
    UserError: the file cannot be read, or a line is no game: names the file,
      the line and the field.
  """
  try:
    lines = pathlib.Path(path).read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f'{path} cannot be read: {error}') from None
  games = []
  for number, line in enumerate(lines, 1):
    try:
      fields = json.loads(line)
    except ValueError:
      raise UserError(f'{path}, line {number}: is not JSON') from None
    games.append(_game(fields, f'{path}, line {number}'))
  return games


def write_sgf(
  path: str | os.PathLike, games: Sequence[GameRecord], *, size: int,
  komi: float,
) -> None:
  """Writes games of Go as a collection in SGF, FF[4].

  Args:
    path: of the file.
    games: who moves first is Black.
    size: of the board, at most 26.
    komi: of White.

  Raises:
    UserError: the file is there already, or cannot be written.
  """
  _write(path, ''.join(to_sgf(game, size, komi) + '\n' for game in games))


def to_sgf(game: GameRecord, size: int, komi: float) -> str:
  """Returns a game of Go in SGF."""
  result = {1: 'B+', 0: '0', -1: 'W+'}.get(game.result, 'Void')  # type: ignore
  if game.reason == UNFINISHED:
    result = '?'
  elif game.reason.endswith(RESIGNED):
    result += 'R'
  comment = (
    f'step {game.step}, seed {game.seed}, {game.opening_moves} opening moves '
    'at random')
  if game.reason:
    is_broken = game.result == BROKEN and game.reason != UNFINISHED
    comment += f'; {"broken: " if is_broken else ""}{game.reason}'
  moves = ''.join(
    f';{"BW"[i % 2]}[{_sgf_point(move, size)}]'
    for i, move in enumerate(game.moves))
  return (
    f'(;FF[4]GM[1]CA[UTF-8]AP[muzero_jax]SZ[{size}]KM[{komi:g}]RU[Chinese]'
    f'PB[{_sgf_text(game.first)}]PW[{_sgf_text(game.second)}]RE[{result}]'
    f'C[{_sgf_text(comment)}]{moves})')


def to_json(game: GameRecord) -> str:
  """Returns a game as one line of JSON, without its end."""
  fields = dict(version=VERSION, **game._asdict())
  if not game.reason:
    del fields['reason']
  return json.dumps(fields)


def _write(path: str | os.PathLike, text: str) -> None:
  if os.path.exists(path):
    raise UserError(f'{path} is there already: choose another place')
  try:
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(pathlib.Path(path), text.encode())
  except OSError as error:
    raise UserError(f'{path} cannot be written: {error.strerror}') from None


def _is_count(value: Any) -> bool:
  return type(value) is int and value >= 0  # True is an int to Python.


def _is_name(value: Any) -> bool:
  return isinstance(value, str) and bool(value)


_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
  'version': (
    lambda x: type(x) is int and x == VERSION, f'{VERSION}'),
  'game': (_is_name, 'a name'),
  'first': (_is_name, 'a name'),
  'second': (_is_name, 'a name'),
  'seed': (_is_count, 'a whole number, at least 0'),
  'step': (_is_count, 'a whole number, at least 0'),
  'opening_moves': (_is_count, 'a whole number, at least 0'),
  'moves': (
    lambda x: isinstance(x, list) and all(map(_is_count, x)),
    'a list of whole numbers, at least 0'),
  'result': (
    lambda x: x == BROKEN or type(x) is int and x in (1, 0, -1),
    f'1, 0, -1 or "{BROKEN}"'),
  'reason': (lambda x: isinstance(x, str), 'text'),
}


def _game(fields: Any, where: str) -> GameRecord:
  """Returns the game of one line.

  Raises:
    UserError: names the field that is missing, unknown or not allowed.
  """
  if not isinstance(fields, dict):
    raise UserError(f'{where}: is not an object')
  fields = {'reason': '', **fields}
  # The version first: another one may have other fields.
  for name, (is_allowed, words) in _ALLOWED.items():
    if name not in fields:
      raise UserError(f'{where}: field {name!r} is missing')
    if not is_allowed(fields[name]):
      raise UserError(
        f'{where}: {name} = {fields[name]!r:.60} is not {words}')
  if unknown := set(fields) - set(_ALLOWED):
    raise UserError(f'{where}: field {min(unknown)!r} is unknown')
  del fields['version']
  return GameRecord(**{**fields, 'moves': tuple(fields['moves'])})


def _sgf_point(move: int, size: int) -> str:
  if move == size * size:
    return ''  # A pass.
  row, column = divmod(move, size)
  return _SGF_COLUMNS[column] + _SGF_COLUMNS[row]


def _sgf_text(text: str) -> str:
  return text.replace('\\', '\\\\').replace(']', '\\]').replace(':', '\\:')
