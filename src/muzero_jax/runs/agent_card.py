"""An agent's card: what it plays, how well, and how it was made.

Each agent file carries one; `evaluation.agent_export` measures and fills it.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# Of a card from outside, which may be printed.
_MOST_LETTERS = 4_000
_MOST_ENTRIES = 32
_DATE = re.compile(r'\d{4}-\d{2}-\d{2}')


class CardScore(NamedTuple):
  """One score of noise-free play."""

  mean: float  # Return; against an opponent 1 for a win, -1 for a loss.
  low: float  # Of the mean's 95 % confidence interval.
  high: float
  num_episodes: int
  seed: int  # Of environments, searches and opponent.
  opponent: str = ''  # As `opponents.make` takes it; '' in a game of one.
  wins: int = 0
  draws: int = 0
  losses: int = 0

  @property
  def standard_error(self) -> float:
    """Returns the standard error of the mean, from its interval."""
    return (self.high - self.low) / (2 * 1.959964)


class Card(NamedTuple):
  """All that stands on a card."""

  environment: str  # As `EnvSpec.name` has it.
  environment_licence: str  # SPDX.
  licence: str  # Of the parameters.
  scores: tuple[CardScore, ...]  # Of the parameters as the file has them.
  random_play: tuple[float, ...]  # Mean and standard error; () if unknown.
  num_simulations: int
  num_parameters: int
  unit: str  # What training was counted in: steps or updates.
  command: str  # That trains it again.
  agent: str  # Which of the run's agents: '1 of 1'.
  commit: str  # Of the sources; '' if unknown.
  date: str  # Of the export.
  versions: dict[str, str]  # Of Python and packages.


def to_plain(card: Card) -> dict[str, Any]:
  """Returns a card as JSON has it."""
  return {
    **card._asdict(),
    'scores': [score._asdict() for score in card.scores],
    'random_play': list(card.random_play),
  }


def of_plain(value: Any) -> Card:
  """Returns the card that anyone may have written as JSON.

  Raises:
    ValueError: it is none, naming the field.
  """
  fields = _fields('card', value, Card)
  scores = fields['scores']
  if not isinstance(scores, list) or len(scores) > _MOST_ENTRIES:
    raise ValueError('card: scores is no list of scores')
  versions = fields['versions']
  if not isinstance(versions, dict) or len(versions) > _MOST_ENTRIES:
    raise ValueError('card: versions is no table of versions')
  random_play = fields['random_play']
  if not isinstance(random_play, list) or len(random_play) not in (0, 2):
    raise ValueError('card: random_play is no mean with its standard error')
  plain = ('scores', 'versions', 'random_play')
  card = Card(**{
    **{
      name: _value(name, fields[name], kind)
      for name, kind in Card.__annotations__.items() if name not in plain},
    'scores': tuple(map(_score, scores)),
    'random_play': tuple(
      _value('random_play', entry, float) for entry in random_play),
    'versions': {
      _value('versions', name, str): _value('versions', version, str)
      for name, version in versions.items()},
  })
  if not _DATE.fullmatch(card.date):
    raise ValueError(f'card: date is {card.date!r}, no day')
  return card


def _score(value: Any) -> CardScore:
  """Returns a score of JSON.

  Raises:
    ValueError: it is none.
  """
  fields = _fields('score', value, CardScore)
  score = CardScore(**{
    name: _value(name, fields[name], kind)
    for name, kind in CardScore.__annotations__.items()})
  if not score.low <= score.mean <= score.high or score.num_episodes < 1:
    raise ValueError('card: a score lies outside of its interval')
  return score


def _fields(what: str, value: Any, record: Any) -> Mapping[str, Any]:
  """Returns the fields of a record as JSON has them.

  Raises:
    ValueError: others.
  """
  if not isinstance(value, dict) or {*value} != {*record._fields}:
    raise ValueError(f'card: a {what} has the fields '
                     f'{", ".join(record._fields)}, and no others')
  return value


def _value(name: str, value: Any, kind: Any) -> Any:
  """Returns a value of a card in its type.

  Raises:
    ValueError: it is of another, or cannot be printed.
  """
  if kind is float and type(value) in (int, float) and math.isfinite(value):
    return float(value)
  if kind is int and type(value) is int and 0 <= value < 2**62:
    return value
  if kind is str and isinstance(value, str) and len(value) <= _MOST_LETTERS:
    if value.isprintable():
      return value
  raise ValueError(f'card: {name} is no {kind.__name__} that can be printed')
