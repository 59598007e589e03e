"""Matches of an agent against whoever there is: counted, and recorded.

Played on the device by `device_play`; on the host by `program_match` against
programs, and by `host_match` where the host steps the environment.
"""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from muzero_jax import envs
from muzero_jax.agent import Agent
from muzero_jax.errors import UserError
from muzero_jax.evaluation import (
  device_play,
  game_records,
  host_match,
  playing,
  program_match,
)
from muzero_jax.evaluation.game_records import GameRecord
from muzero_jax.evaluation.opponents import AnyOpponent, Program
from muzero_jax.types import AnyEnvironment, HostEnvironment

# Agent, opponent, its name, seed -> score.
Match = Callable[[Agent, AnyOpponent, str, int], 'MatchScore']


class MatchScore(NamedTuple):
  """Games won, drawn and lost, by who moved first; broken ones count apart."""

  first: tuple[int, int, int]  # Where the agent moved first.
  second: tuple[int, int, int]
  broken: int = 0  # Games that a program failed to play to their end.
  games: tuple[GameRecord, ...] = ()

  @property
  def total(self) -> tuple[int, int, int]:
    """Returns wins, draws and losses over both colours."""
    wins, draws, losses = (a + b for a, b in zip(self.first, self.second))
    return wins, draws, losses


def play_match(
  agent: Agent,
  env: AnyEnvironment,
  opponent: AnyOpponent,
  *,
  num_envs: int,
  num_games: int,
  seed: int = 0,
  opening_moves: int = 0,
  opponent_name: str = 'opponent',
  should_stop: Callable[[], bool] = lambda: False,
) -> MatchScore:
  """Returns how an agent fares against an opponent, both colours equally.

  Args:
    agent: plays greedily, without noise.
    env: `num_envs` environments of a two-player game.
    opponent: of `env`'s game; another agent, or a program.
    num_envs: B, even: in half of them the agent moves first.
    num_games: a multiple of `num_envs`.
    seed: of environments, searches and opponent.
    opening_moves: legal moves at random before the two play; each such
      opening is played with both colours.
    opponent_name: in the records of the games.
    should_stop: asked again and again while it is played.

  Raises:
    UserError: on a one-player game or numbers that do not fit.
    StoppedError: `should_stop` says so.
  """
  match = make_match(
    agent, env, opponent, num_envs=num_envs, num_games=num_games,
    opening_moves=opening_moves, should_stop=should_stop)
  return match(agent, opponent, opponent_name, seed)


def make_match(
  agent: Agent,
  env: AnyEnvironment,
  opponent: AnyOpponent,
  *,
  num_envs: int,
  num_games: int,
  opening_moves: int = 0,
  should_stop: Callable[[], bool] = lambda: False,
) -> Match:
  """Returns a function that plays matches as `play_match` does.

  It is compiled once for `agent` and all of its `with_params`; where the
  opponent is an agent, likewise.
  """
  if env.spec.num_players != 2:
    raise UserError(f'{env.spec.name} has one player: there is no match')
  if num_envs % 2:
    raise UserError(f'num_envs={num_envs}: must be even')
  sizes: dict[str, Any] = dict(
    num_envs=num_envs, num_episodes=num_games, opening_moves=opening_moves,
    should_stop=should_stop)
  if isinstance(env, HostEnvironment):
    play_host = host_match.make(env, opponent, **sizes)
  elif isinstance(opponent, Program):
    play_host = program_match.make(env, opponent, **sizes)
  else:
    play_device = device_play.make(agent, env, opponent, **sizes)

  def match(
    agent: Agent, opponent: AnyOpponent, name: str, seed: int
  ) -> MatchScore:
    if isinstance(opponent, Program) or isinstance(env, HostEnvironment):
      games = play_host(agent, seed)
    else:
      other = opponent.params if isinstance(opponent, Agent) else None
      games = device_play.games(play_device(agent.params, other, seed))
    return _match_score(games, dict(
      game=env.spec.name, seed=seed, step=agent.step,
      opening_moves=opening_moves), name)

  return match


def _match_score(
  games: Sequence[playing.Game], facts: Mapping[str, Any], name: str
) -> MatchScore:
  """Returns the score of a match, with its records.

  Args:
    games: of the match.
    facts: what the records of all these games have in common.
    name: the opponent's.
  """
  counts = {True: [0, 0, 0], False: [0, 0, 0]}
  found, broken = [], 0
  for game in games:
    players = ('agent', name) if game.agent_first else (name, 'agent')
    found.append(GameRecord(
      first=players[0], second=players[1], moves=game.moves,
      result=game.result, reason=game.reason,
      **{**facts, 'opening_moves': min(
        facts['opening_moves'], len(game.moves))}))
    if isinstance(game.result, str):
      broken += 1
      continue
    result = game.result if game.agent_first else -game.result
    counts[game.agent_first][1 - result] += 1
  first, second = (tuple(counts[key]) for key in (True, False))
  return MatchScore(first, second, broken, tuple(found))  # type: ignore


def write_games(
  path: pathlib.Path, games: Sequence[GameRecord]
) -> None:
  """Writes games as JSON lines, and Go beside them as SGF."""
  game_records.write(path, games)
  if go := envs.go_rules(games[0].game):
    game_records.write_sgf(
      path.with_suffix('.sgf'), games, size=go.size, komi=go.komi)


def interval(points: float, num_games: int) -> tuple[float, float]:
  """Returns the 95 % confidence interval of a share of points.

  Wilson's (1927), which is right for shares near 0 and 1 too; with draws, of
  half a point each, it is wider than need be.

  Args:
    points: from 0 to `num_games`.
    num_games: at least 1.
  """
  z = 1.959964
  share = points / num_games
  middle = share + z**2 / (2 * num_games)
  half = z * math.sqrt(
    share * (1 - share) / num_games + (z / (2 * num_games)) ** 2)
  scale = 1 + z**2 / num_games
  return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def as_plain(match: MatchScore) -> dict[str, Any]:
  """Returns a match as plain numbers; of broken games alone, no `mean`."""
  wins, draws, losses = match.total
  count = wins + draws + losses
  plain: dict[str, Any] = dict(
    wins=wins, draws=draws, losses=losses, first=match.first,
    second=match.second, mean=(wins - losses) / count if count else None)
  if count:
    plain['interval'] = interval(wins + draws / 2, count)
  if match.broken:
    reasons = [game.reason for game in match.games if game.reason]
    plain |= dict(broken=match.broken, reason=reasons[0])
  return plain
