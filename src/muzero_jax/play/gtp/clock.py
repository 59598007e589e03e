"""The clock of a game in the Go Text Protocol, and how long to think."""

import dataclasses
from typing import NamedTuple

# Seconds of each player that are never planned with, and their share of the
# main time: what lies between two programs takes time too.
_RESERVE = 1.0
_RESERVED_SHARE = 0.05
# Share of a move's part of a period that is planned with in main time.
_USED_SHARE = 0.75
# Own moves that are always thought to be left.
_FEWEST_MOVES = 10


class Settings(NamedTuple):
  """The time of each player: main time, then periods again and again."""

  main: float  # Seconds.
  period: float = 0.0  # Seconds of byo-yomi.
  stones: int = 0  # Moves of a period; with `periods`, 1.
  periods: int = 0  # How many may be used up; 0: each must suffice.


@dataclasses.dataclass
class _Left:
  """What is left to one player."""

  seconds: float
  stones: int  # To be played in these seconds; 0 in main time.
  periods: int


class Clock:
  """Both players' clocks, by our own count or as we are told."""

  def __init__(self) -> None:
    self.settings: Settings | None = None  # None: there is no limit.
    self._left: dict[str, _Left] = {}

  def set(self, settings: Settings | None) -> None:
    """Set both clocks anew; None for no limit."""
    self.settings = settings
    self.restart()

  def restart(self) -> None:
    """Give both players all of their time again."""
    self._left = {}
    if self.settings is None:
      return
    for colour in ('black', 'white'):
      self._left[colour] = _Left(
        self.settings.main, 0, self.settings.periods)
      if not self.settings.main:
        self._open_period(self._left[colour])

  def tell(self, colour: str, seconds: float, stones: int) -> None:
    """Take what the referee's clock says.

    Args:
      colour: whose clock.
      seconds: that are left.
      stones: of the running period of byo-yomi, or with `kgs-time_settings
        byoyomi` the periods left; 0 in main time.
    """
    left = _Left(seconds, stones, 0)
    if self.settings and self.settings.periods:
      left = _Left(seconds, min(stones, 1), stones)
    self._left[colour] = left

  def spend(self, colour: str, seconds: float) -> None:
    """Count the seconds of a move that a colour has made."""
    left = self._left.get(colour)
    if left is None:
      return
    left.seconds -= seconds
    settings = self.settings or Settings(0.0)
    if left.stones:
      left.stones -= 1
      if settings.periods:  # A period that was not used up begins anew.
        while left.seconds < 0 and left.periods > 1:
          left.seconds += settings.period
          left.periods -= 1
        self._open_period(left)
      elif not left.stones:
        self._open_period(left)
    elif left.seconds <= 0 and settings.period and settings.stones:
      over = left.seconds
      self._open_period(left)
      left.seconds += over

  def budget(self, colour: str, moves_left: int) -> float | None:
    """Return for how many seconds a colour may think; None for no limit.

    Args:
      colour: whose move it is.
      moves_left: its own, that may be left in the game.
    """
    left = self._left.get(colour)
    if left is None:
      return None
    settings = self.settings or Settings(0.0)
    if left.stones:
      reserve = min(_RESERVE, left.seconds / 4)
      return max(left.seconds - reserve, 0.0) / left.stones
    reserve = max(_RESERVE, _RESERVED_SHARE * settings.main)
    share = max(left.seconds - reserve, 0.0) / max(moves_left, _FEWEST_MOVES)
    if settings.period and settings.stones:
      # Whoever runs out of main time goes on in a period.
      share = max(share, _USED_SHARE * settings.period / settings.stones)
    return share

  def _open_period(self, left: _Left) -> None:
    settings = self.settings or Settings(0.0)
    if settings.period and settings.stones:
      left.seconds, left.stones = settings.period, settings.stones
