"""How strong a run was at which step: its snapshots in a tournament.

Each plays the named opponents, the snapshot before it and the last agent of
the run; `elo` makes ratings of all their games.
"""

import io
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from muzero_jax import agent as agent_lib
from muzero_jax import envs, files, paths
from muzero_jax.agent import Agent, MakeEnv
from muzero_jax.errors import RunError, UserError
from muzero_jax.evaluation import (
  elo as elo_lib,
)
from muzero_jax.evaluation import (
  gtp,
  opponents,
)
from muzero_jax.evaluation import (
  match as match_lib,
)
from muzero_jax.evaluation import (
  report as report_lib,
)
from muzero_jax.evaluation.opponents import AnyOpponent
from muzero_jax.runs import policy_checkpoints
from muzero_jax.types import HostEnvironment

LADDER_FILE = 'ladder.json'
PICTURE_FILE = 'ladder.png'


class Tournament(NamedTuple):
  """Who met whom, and what ratings follow."""

  matches: tuple[elo_lib.Match, ...]
  broken: tuple[int, ...]  # Games of each match that do not count.
  ladder: elo_lib.Ladder
  steps: dict[str, int]  # Of the run's agents, by name.
  settings: dict[str, Any]  # What it takes to play it again.


class _Players(NamedTuple):
  """Everyone, by name."""

  agents: dict[str, Agent]  # Of the run, oldest first.
  opponents: dict[str, AnyOpponent]


def run(
  workdir: str | os.PathLike,
  *,
  opponent_names: Sequence[str] = ('random',),
  num_games: int = 100,
  opening_moves: int = report_lib.OPENING_MOVES,
  seed: int = 0,
  index: int = 0,
  make_env: MakeEnv = envs.make,
  allow_imports: str | Iterable[str] = (),
  report: Callable[[str], Any] = print,
) -> Tournament:
  """Returns the ratings of a run's snapshots and of its newest checkpoint.

  Agents play greedily: two that know each other would play one game again and
  again, so each game opens with random moves, the same for both colours.

  Args:
    workdir: the run directory.
    opponent_names: as `opponents.make` takes them. The first, or `random` if
      it is among them, is rated 0. Whoever is not installed is left out, as
      long as somebody else is there.
    num_games: of each match, even.
    opening_moves: legal moves at random at the start of each game.
    seed: of all matches.
    index: which of the run's agents.
    make_env: as it was given to `train.run`.
    allow_imports: modules that stored env_ids may import, as in `agent.load`.
    report: called with one line for each match.

  Raises:
    EngineError: no opponent is installed; nothing was played then.
    UserError: the run has no snapshots or no such opponents; likewise.
    RunError: all games against who is rated 0 are broken.
  """
  if num_games < 2 or num_games % 2:
    raise UserError(
      f'num_games = {num_games}: must be even, so that both colours play as '
      'many games')
  players = _load(
    paths.expand(workdir, 'workdir'), opponent_names, report, dict(
      index=index, make_env=make_env, allow_imports=allow_imports))
  here = list(players.opponents)
  anchor = 'random' if 'random' in here else here[0]
  report(
    f'each game opens with {opening_moves} random legal moves, each opening '
    'with both colours')
  last = list(players.agents.values())[-1]
  num_envs = report_lib.num_envs_of(last, num_games)
  env = last.make_env(
    last.config, num_envs=num_envs, evaluation=True, seed=seed)
  assert not isinstance(env, HostEnvironment), 'those have one player'
  sizes: dict[str, Any] = dict(
    num_envs=num_envs, num_games=num_games, opening_moves=opening_moves)
  played: list[elo_lib.Match] = []
  broken: list[int] = []
  for group in _pairings(players):
    # All agents of the run share what is compiled for the first of them.
    match = match_lib.make_match(
      last, env, _player(players, group[0][1]), **sizes)
    for name, opponent in group:
      score = match(
        players.agents[name], _player(players, opponent), opponent, seed)
      played.append(elo_lib.Match(name, opponent, *score.total))
      broken.append(score.broken)
      report(_line(played[-1], score.broken))
    counted = [match for match in played if sum(match[2:])]
    if group[0][1] == anchor and not any(
        match.opponent == anchor for match in counted):
      raise RunError(f'opponent {anchor}: all games against it are broken')
  return Tournament(
    matches=tuple(played),
    broken=tuple(broken),
    ladder=elo_lib.rate(counted, anchor=anchor),
    steps={name: agent.step for name, agent in players.agents.items()},
    settings=dict(
      environment=last.spec.name, num_games=num_games,
      opening_moves=opening_moves, seed=seed, index=index, anchor=anchor,
      opponents=here,
      num_simulations=(
        last.config.eval_simulations or last.config.num_simulations)),
  )


def write(workdir: str | os.PathLike, tournament: Tournament) -> pathlib.Path:
  """Writes ladder.json into a run directory, in place of an older one.

  Raises:
    RunError: it cannot be written; an older one is untouched.
  """
  path = _in(workdir, LADDER_FILE)
  with files.writing(str(path)):
    files.write_json(path, to_json(tournament), allow_nan=False)
  return path


def to_json(tournament: Tournament) -> dict[str, Any]:
  """Returns what ladder.json holds: settings, ratings and matches."""
  plays = [
    dict(match._asdict(), broken=broken)
    for match, broken in zip(tournament.matches, tournament.broken)
  ]
  ratings = [
    dict(
      player=name, elo=float(elo), low=float(low), high=float(high),
      games=int(games), score=float(score), step=tournament.steps.get(name))
    for name, elo, low, high, games, score in zip(*tournament.ladder)
  ]
  return dict(tournament.settings, ratings=ratings, matches=plays)


def plot(workdir: str | os.PathLike, tournament: Tournament) -> pathlib.Path:
  """Draws ladder.png.

  Raises:
    ImportError: matplotlib is not installed.
    RunError: it cannot be written; an older one is untouched.
  """
  # Not pyplot: it would take over the caller's figures and backend.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 4.5), layout='constrained')
  FigureCanvasAgg(figure)
  paint(figure, to_json(tournament))
  path = _in(workdir, PICTURE_FILE)
  picture = io.BytesIO()
  figure.savefig(picture, format='png', dpi=100)
  with files.writing(str(path)):
    files.write_whole(path, picture.getvalue())
  return path


def paint(figure: Any, found: Mapping[str, Any]) -> None:
  """Paints Elo against steps, and opponents as horizontal lines.

  Args:
    figure: matplotlib's.
    found: what ladder.json holds.
  """
  mine = sorted(
    (row for row in found['ratings'] if row['step'] is not None),
    key=lambda row: row['step'])
  axes = figure.subplots()
  axes.errorbar(
    [row['step'] for row in mine], [row['elo'] for row in mine],
    yerr=[
      [row['elo'] - row['low'] for row in mine],
      [row['high'] - row['elo'] for row in mine],
    ], marker='o', markersize=4, linewidth=1, capsize=3,
    label='this run, with 95 % intervals')
  others = [row for row in found['ratings'] if row['step'] is None]
  for i, row in enumerate(others):
    axes.axhline(
      row['elo'], color=f'C{1 + i % 9}', linestyle='--', linewidth=1,
      label=row['player'])
  axes.set_title(
    f'{found["environment"]}, {found["num_games"]} games a match, each '
    f'after {found["opening_moves"]} random moves', fontsize=10)
  axes.set_xlabel('environment steps')
  axes.set_ylabel(f'Elo ({found["anchor"]} = 0)')
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)


def _in(workdir: str | os.PathLike, name: str) -> pathlib.Path:
  return pathlib.Path(paths.expand(workdir, 'workdir')) / name


def _load(
  workdir: str,
  opponent_names: Sequence[str],
  report: Callable[[str], None],
  how: dict[str, Any],
) -> _Players:
  """Returns everyone; whoever is not there is refused before anyone plays.

  `how` goes to `agent.load` and `opponents.make`.
  Snapshots that are damaged, and programs that are not installed, are told of
  and left out.
  """
  if not opponent_names:
    raise UserError('opponent: at least one is needed, to compare with')
  newest = agent_lib.load(workdir, **how)
  if newest.spec.num_players != 2:
    raise UserError(
      f'{newest.spec.name} has one player: there is no ladder')
  others: dict[str, AnyOpponent] = {}
  missing: list[gtp.NotInstalledError] = []
  for name in opponent_names:
    try:
      others[name] = opponents.make(
        name, newest.spec.name, workdir=workdir, **how)
    except gtp.NotInstalledError as error:
      missing.append(error)
      report(f'opponent {name}: skipped, {error}')
  if not others:
    raise missing[0]
  steps = policy_checkpoints.steps(workdir)
  if not steps:
    raise UserError(
      f'workdir {workdir} has no snapshots: train with --snapshot_period')
  agents = {}
  for step in steps:
    try:
      found = agent_lib.load(workdir, snapshot=step, **how)
    except ValueError as error:
      report(f'left out: {error}')
      continue
    # Like the newest, so that all are compiled together.
    agents[_name(step)] = newest.with_params(found.params, step)
  # A snapshot of the last step is that same agent.
  agents.setdefault(_name(newest.step), newest)
  agents = dict(sorted(agents.items(), key=lambda item: item[1].step))
  return _Players(agents, others)


def _name(step: int) -> str:
  return f'step {step}'


def _player(players: _Players, name: str) -> AnyOpponent:
  return players.agents.get(name) or players.opponents[name]


def _pairings(players: _Players) -> list[list[tuple[str, str]]]:
  """Returns agents and whom they meet, in groups that compile together.

  Each agent meets each opponent, the agent before it and the last agent.
  """
  names = list(players.agents)
  groups = [
    [(name, opponent) for name in names] for opponent in players.opponents]
  pairs = dict.fromkeys([
    *((later, earlier) for earlier, later in zip(names, names[1:])),
    *((names[-1], name) for name in names[:-1]),
  ])
  return [*groups, list(pairs)] if pairs else groups


def _line(match: elo_lib.Match, broken: int) -> str:
  """Returns a line on a match."""
  text = (
    f'{match.player} against {match.opponent}: {match.wins} won, '
    f'{match.draws} drawn, {match.losses} lost')
  return text + (f', {broken} broken' if broken else '')
