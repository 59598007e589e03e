"""The arguments of commands of the Go Text Protocol, and what refuses them."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from muzero_jax.play.gtp import boards as gtp_boards
from muzero_jax.play.gtp.boards import Board

SYNTAX = 'syntax error'
ILLEGAL = 'illegal move'
_COLOURS = {'b': 'black', 'black': 'black', 'w': 'white', 'white': 'white'}
_REAL = re.compile(
  r'[+-]?([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})', re.ASCII)
_LONGEST = 1e6  # Seconds; longer is no limit to a game.


class Refusal(Exception):
  """A command is answered with "?" and these words."""


class Analysis(NamedTuple):
  """What an analysis is asked for."""

  colour: str | None = None  # Whose moves; None: of who is to move.
  interval: float = 0.0  # Seconds between two lines, at least.
  allowed: tuple[tuple[str, frozenset[int]], ...] = ()  # By colour.
  avoided: tuple[tuple[str, frozenset[int]], ...] = ()

  def among(self, colour: str, legal: np.ndarray) -> np.ndarray:
    """Return which of the legal actions [A] of a colour are asked for."""
    wanted = legal.copy()
    for is_kept, rules in ((True, self.allowed), (False, self.avoided)):
      for whose, actions in rules:
        if whose == colour:
          wanted &= np.isin(np.arange(len(legal)), [*actions]) == is_kept
    return wanted


def colour(words: Sequence[str], index: int) -> str:
  """Return "black" or "white" of the argument at an index.

  Raises:
    Refusal: there is none, as with all that follows.
  """
  found = _COLOURS.get(_word(words, index).lower())
  if found is None:
    raise Refusal(SYNTAX)
  return found


def is_colour(word: str) -> bool:
  """Return whether a word is a colour."""
  return word.lower() in _COLOURS


def whole(words: Sequence[str], index: int) -> int:
  """Return the whole number at an index, at least 0."""
  word = _word(words, index)
  if not (word.isascii() and word.isdecimal() and len(word) < 10):
    raise Refusal(SYNTAX)
  return int(word)


def real(words: Sequence[str], index: int) -> float:
  """Return the number at an index."""
  word = _word(words, index)
  if not _REAL.fullmatch(word):
    raise Refusal(SYNTAX)
  return float(word)


def seconds(words: Sequence[str], index: int) -> float:
  """Return the seconds at an index, at least 0."""
  found = real(words, index)
  if found < 0:
    raise Refusal(SYNTAX)
  return min(found, _LONGEST)


def action(
  board: Board, words: Sequence[str], index: int, whose: str
) -> int:
  """Return the action of a colour at an index, -1 if it is none of the board.
  """
  found = gtp_boards.to_action(board, _word(words, index), board.mover(whose))
  if found is None:
    raise Refusal(SYNTAX)
  return found


def analysis(board: Board, words: Sequence[str]) -> Analysis:
  """Return what the arguments of `lz-analyze` ask for.

  [colour] [interval] or [interval N], in hundredths of a second; then
  "avoid" or "allow" with colour, moves with commas between them, and for how
  many moves, of which only the first counts; "minmoves" and "maxmoves" with a
  number change nothing.
  """
  left = [*words]
  found = Analysis()
  if left and is_colour(left[0]):
    found = found._replace(colour=colour(left, 0))
    del left[0]
  while left:
    word = left[0].lower()
    if word in ('avoid', 'allow'):
      whose = colour(left, 1)
      rule = whose, frozenset(
        action(board, [move], 0, whose) for move in _word(left, 2).split(','))
      whole(left, 3)
      del left[:4]
      if word == 'avoid':
        found = found._replace(avoided=(*found.avoided, rule))
      else:
        found = found._replace(allowed=(*found.allowed, rule))
    elif word in ('interval', 'minmoves', 'maxmoves'):
      number = whole(left, 1)
      del left[:2]
      if word == 'interval':
        found = found._replace(interval=number / 100)
    else:
      found = found._replace(interval=whole(left, 0) / 100)
      del left[0]
  return found


def _word(words: Sequence[str], index: int) -> str:
  if index >= len(words):
    raise Refusal(SYNTAX)
  return words[index]


def per_ten_thousand(share: float) -> int:
  """Return a share of 1 as programs of Go write it: 0 to 10,000."""
  return math.floor(10_000 * min(max(share, 0.0), 1.0) + 0.5)
