"""Elo ratings from match results, with intervals; pure NumPy.

Bradley-Terry by maximum likelihood: p(i beats j) = 1 / (1 + 10^((e_j - e_i) /
400)), where a draw counts as half a win (Hunter 2004, section 1 and 2).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from muzero_jax.errors import RunError, UserError

_SCALE = 400 / np.log(10)  # Elo points of a unit of log odds.
_NORMAL_95 = 1.959964  # Standard deviations of a 95 % interval.
_MAX_ITERATIONS = 1000


class Match(NamedTuple):
  """Games between two players, counted for the first of them."""

  player: str
  opponent: str
  wins: int
  draws: int
  losses: int


class Ladder(NamedTuple):
  """Ratings of P players, best first."""

  names: tuple[str, ...]
  elo: np.ndarray  # [P]
  low: np.ndarray  # [P] ends of the 95 % interval.
  high: np.ndarray  # [P]
  games: np.ndarray  # [P] i64
  score: np.ndarray  # [P] share of the points, draws half.


def rate(
  matches: Sequence[Match],
  *,
  prior_games: float = 1.0,
  anchor: str | None = None,
  anchor_elo: float = 0.0,
) -> Ladder:
  """Returns the ratings that make the results likeliest.

  The prior: each two players that met have also drawn `prior_games` games, so
  that who won all still has a finite rating. It draws them together by less
  the more they played, and is counted in neither `games` nor `score`.

  The intervals come from the Fisher information at the maximum, for the
  rating relative to what is fixed: the anchor, whose interval is a point, or
  else the mean. A draw has less variance than the model gives it, so with
  many draws they are too wide. They know nothing of games that repeat each
  other.

  Args:
    matches: of at least two players; the same two may meet in several.
    prior_games: 0 for none.
    anchor: player whose rating is `anchor_elo`; None puts the mean there.
    anchor_elo: in Elo.

  Raises:
    UserError: on counts below 0, a player against itself, an unknown anchor,
      players that no chain of games connects, or, without a prior, ratings
      that are not finite.
  """
  _check(matches, prior_games)
  names = list(dict.fromkeys(n for m in matches for n in m[:2]))
  if anchor is not None and anchor not in names:
    raise UserError(f'anchor = {anchor!r} is not one of {", ".join(names)}')
  points, games = _table(matches, names)
  prior = prior_games * (games > 0)
  total = games + prior
  _check_connected(total, names)
  if not prior_games:
    _check_finite(points, names)
  log_odds = _fit(points + prior / 2, total)
  # From each rating, what is fixed is subtracted: one player's or the mean.
  fixed = np.full(len(names), 1 / len(names))
  if anchor is not None:
    fixed = np.arange(len(names)) == names.index(anchor)
  centre = np.eye(len(names)) - fixed
  elo = anchor_elo + _SCALE * centre @ log_odds
  variance = np.diag(centre @ _covariance(log_odds, total) @ centre.T)
  error = _NORMAL_95 * _SCALE * np.sqrt(np.maximum(variance, 0))
  played = games.sum(axis=1)
  order = np.argsort(-elo, kind='stable')
  return Ladder(
    names=tuple(names[i] for i in order),
    elo=elo[order],
    low=(elo - error)[order],
    high=(elo + error)[order],
    games=played.astype(np.int64)[order],
    score=(points.sum(axis=1) / played)[order],
  )


def table(ladder: Ladder) -> str:
  """Returns a Markdown table, one player to a line, best first."""
  lines = ['| Player | Elo | 95 % interval | Games | Score |',
           '|---|---:|---:|---:|---:|']
  for name, elo, low, high, games, score in zip(*ladder):
    lines.append(
      f'| {name} | {elo:.0f} | {low:.0f} to {high:.0f} | {games} | '
      f'{100 * score:.1f} % |'
    )
  return '\n'.join(lines)


def _check(matches: Sequence[Match], prior_games: float) -> None:
  if not (prior_games >= 0 and np.isfinite(prior_games)):
    raise UserError(
      f'prior_games = {prior_games}: must be at least 0, and finite'
    )
  if not matches:
    raise UserError('matches: there is none to rate by')
  for match in matches:
    if match.player == match.opponent:
      raise UserError(f'{match}: a player has no rating against itself')
    if min(match[2:]) < 0 or not sum(match[2:]):
      raise UserError(f'{match}: must count at least one game, none below 0')


def _table(
  matches: Sequence[Match], names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
  """Returns points of the row against the column and games, each [P, P]."""
  points = np.zeros((len(names), len(names)))
  games = np.zeros_like(points)
  for match in matches:
    i, j = names.index(match.player), names.index(match.opponent)
    points[i, j] += match.wins + match.draws / 2
    points[j, i] += match.losses + match.draws / 2
    count = match.wins + match.draws + match.losses
    games[i, j] += count
    games[j, i] += count
  return points, games


def _reached(edges: np.ndarray) -> np.ndarray:
  """Returns which nodes [P] can be reached from the first along the edges."""
  reached = np.arange(len(edges)) == 0
  for _ in edges:
    reached = reached | edges[reached].any(axis=0)
  return reached


def _check_connected(games: np.ndarray, names: list[str]) -> None:
  reached = _reached(games > 0)
  if not reached.all():
    apart = names[int(np.argmin(reached))]
    raise UserError(
      f'{apart!r} and {names[0]!r} cannot be compared: no chain of games '
      'connects them'
    )


def _check_finite(points: np.ndarray, names: list[str]) -> None:
  """Raises UserError unless everyone has points off everyone, by a chain.

  That is when the maximum exists (Hunter 2004, assumption 1).
  """
  for edges in (points > 0, points.T > 0):
    reached = _reached(edges)
    if not reached.all():
      raise UserError(
        'prior_games = 0: the ratings are not finite, for '
        f'{names[int(np.argmin(reached))]!r} has won or lost all against '
        'some; give it a prior'
      )


def _probability(log_odds: np.ndarray) -> np.ndarray:
  """Returns how likely [P, P] the row beats the column."""
  difference = log_odds[:, None] - log_odds
  return 0.5 * (1 + np.tanh(difference / 2))  # Never overflows.


def _covariance(log_odds: np.ndarray, games: np.ndarray) -> np.ndarray:
  """Returns the covariance [P, P] of the log odds to the first player's.

  The inverse of the Fisher information, a graph's Laplacian: it knows
  differences alone, hence one player is held fixed.
  """
  chance = _probability(log_odds)
  weights = games * chance * (1 - chance)
  information = np.diag(weights.sum(axis=1)) - weights
  covariance = np.zeros_like(information)
  covariance[1:, 1:] = np.linalg.inv(information[1:, 1:])
  return covariance


def _fit(points: np.ndarray, games: np.ndarray) -> np.ndarray:
  """Returns the likeliest log odds [P], the first 0, by Newton's method."""
  log_odds = np.zeros(len(games))
  for _ in range(_MAX_ITERATIONS):
    gradient = (points - games * _probability(log_odds)).sum(axis=1)
    step = _covariance(log_odds, games) @ gradient
    # The likelihood is concave, but far out almost flat.
    step = step / max(1.0, float(np.abs(step).max()))
    log_odds = log_odds + step
    if np.abs(step).max() < 1e-8 * max(1.0, np.abs(log_odds).max()):
      return log_odds
  raise RunError('the ratings did not converge')
