"""Evaluation: noise-free play to the natural end of each of N episodes."""

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from muzero_jax import paths as paths_lib
from muzero_jax.agent import Agent
from muzero_jax.errors import RunError, UserError
from muzero_jax.evaluation import (
  atari_scores,
  device_play,
  game_records,
  host_play,
  opponents,
  random_play,
)
from muzero_jax.evaluation import (
  match as match_lib,
)
from muzero_jax.evaluation.match import MatchScore, play_match
from muzero_jax.evaluation.opponents import AnyOpponent, Program
from muzero_jax.types import AnyEnvironment, HostEnvironment

__all__ = [
  'OPENING_MOVES', 'MatchScore', 'Score', 'describe', 'evaluate',
  'num_envs_for', 'num_envs_of', 'over_agents', 'play_match', 'report',
]

# Random moves before a match of two who would else repeat one game.
OPENING_MOVES = 4


class Score(NamedTuple):
  """Result of an evaluation over N episodes."""

  returns: np.ndarray  # [N] undiscounted and unclipped.
  lengths: np.ndarray  # [N] agent steps.

  @property
  def mean(self) -> float:
    """Returns the mean return."""
    return float(self.returns.mean())

  @property
  def standard_error(self) -> float:
    """Returns the standard error of the mean; nan for one episode."""
    count = len(self.returns)
    if count < 2:
      return float('nan')
    return float(self.returns.std(ddof=1) / np.sqrt(count))


def num_envs_for(num_episodes: int, most: int) -> int:
  """Returns the largest number of environments, at most `most`, that divides
  the episodes: each then plays equally many, and short episodes do not count
  for more."""
  return max(
    n for n in range(1, min(num_episodes, most) + 1) if num_episodes % n == 0
  )


def evaluate(
  agent: Agent, env: AnyEnvironment, *, num_envs: int, num_episodes: int,
  seed: int = 0, should_stop: Callable[[], bool] = lambda: False,
) -> Score:
  """Returns the scores of an agent over `num_episodes` episodes.

  In a game of two players the agent plays both sides; see `play_match`.

  Args:
    agent: plays greedily, without noise.
    env: `num_envs` evaluation environments.
    num_envs: B.
    num_episodes: a multiple of `num_envs`; every environment plays as many.
    seed: of environments and searches.
    should_stop: asked again and again while it is played.

  Raises:
    UserError: if the episodes cannot be shared out evenly.
    StoppedError: `should_stop` says so.
  """
  if isinstance(env, HostEnvironment):
    returns, lengths = host_play.play(
      agent, env, num_envs=num_envs, num_episodes=num_episodes, seed=seed,
      should_stop=should_stop)
    return Score(returns.reshape(-1), lengths.reshape(-1))
  played = device_play.make(
    agent, env, None, num_envs=num_envs, num_episodes=num_episodes,
    should_stop=should_stop,
  )(agent.params, None, seed)
  return Score(played.scores.reshape(-1), played.lengths.reshape(-1))


def report(
  agent: Agent,
  *,
  num_episodes: int,
  seed: int = 0,
  opponent_names: Sequence[str] = (),
  opening_moves: int | None = None,
  workdir: str | os.PathLike | None = None,
  index: int = 0,
  records_folder: str | os.PathLike | None = None,
  allow_imports: str | Iterable[str] = (),
  should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
  """Returns an agent's evaluation as plain numbers by name.

  In a game of two players, `num_episodes` games against each opponent, both
  colours equally, and `mean` is the mean outcome (1 won, -1 lost) against the
  last of them. Otherwise `mean` is the mean return, with the human-normalised
  score where the Atari table has the game; `random_play.add` puts random play
  beside it.

  Args:
    agent: to evaluate; its Config says how many environments.
    num_episodes: at least 1; even in a game of two players.
    seed: of environments, searches and opponents.
    opponent_names: as `opponents.make` takes them; if empty, its `defaults`,
      of which the last is the strongest.
    opening_moves: legal moves at random at the start of each game; None for
      OPENING_MOVES against agents and programs, else none.
    workdir: the agent's run directory, for opponents that are its snapshots.
    index: which of the run's agents it is.
    records_folder: where to write the games of each match; None for nowhere.
    allow_imports: modules that opponents from run directories may import, as
      in `agent.load`.
    should_stop: asked again and again while it is played.

  Raises:
    UserError: if the episodes cannot be played evenly, an opponent does not
      exist, or there are records already.
    RunError: if no game of any match came to its end.
    StoppedError: `should_stop` says so.
  """
  config, spec = agent.config, agent.spec
  players = _opponents(agent, opponent_names, dict(
    workdir=workdir, index=index, allow_imports=allow_imports))
  paths = _record_paths(agent, players, records_folder)
  two_players = spec.num_players == 2
  if opening_moves and not two_players:
    raise UserError(
      f'opening_moves = {opening_moves}: {spec.name} has one player')
  num_envs = num_envs_of(agent, num_episodes)
  env = agent.make_env(
    config, num_envs=num_envs, evaluation=True, seed=config.seed + 1 + seed
  )
  result: dict[str, Any] = dict(
    environment=spec.name,
    step=agent.step,
    num_episodes=num_episodes,
    num_simulations=config.eval_simulations or config.num_simulations,
  )
  if config.dataset:
    result['unit'] = 'updates'  # Of `step`: an offline run has no others.
  if not two_players:
    score = evaluate(
      agent, env, num_envs=num_envs, num_episodes=num_episodes, seed=seed,
      should_stop=should_stop)
    return {**result, **_plain_score(score, agent)}
  for name, opponent in players.items():
    opening = _opening_moves(opponent, opening_moves)
    match = play_match(
      agent, env, opponent, num_envs=num_envs, num_games=num_episodes,
      seed=seed, opening_moves=opening, opponent_name=name,
      should_stop=should_stop)
    if paths:
      match_lib.write_games(paths[name], match.games)
    result[name] = match_lib.as_plain(match)
    if opening:
      result[name]['opening_moves'] = opening
    if result[name]['mean'] is not None:
      result['mean'] = result[name]['mean']
  interval = result.get('random', {}).get('interval')
  if interval is not None:  # Of the share of points.
    result['better_than_random'] = interval[0] > 0.5
  if 'mean' not in result:
    raise RunError(
      f'opponent {name}: all of {match.broken} games are broken, the first: '
      f'{result[name]["reason"]}')
  return result


def num_envs_of(agent: Agent, num_episodes: int) -> int:
  """Returns how many environments play so many episodes.

  Raises:
    UserError: if a game of two players cannot share them out evenly.
  """
  pairs = agent.spec.num_players
  if num_episodes % pairs:
    raise UserError(
      f'num_episodes = {num_episodes}: must be even, so that both colours '
      'play as many games'
    )
  most = max(agent.config.eval_envs // pairs, 1)
  return pairs * num_envs_for(num_episodes // pairs, most)


def _opening_moves(opponent: AnyOpponent, asked: int | None) -> int:
  """Returns the random moves at the start of a match's games."""
  if asked is not None:
    return asked
  repeats_itself = isinstance(opponent, (Agent, Program))
  return OPENING_MOVES if repeats_itself else 0


def _record_paths(
  agent: Agent,
  players: Mapping[str, AnyOpponent],
  folder: str | os.PathLike | None,
) -> dict[str, pathlib.Path]:
  """Returns where the games against each opponent go; {} for nowhere.

  Raises:
    UserError: if there are such files already, no games of two, or no
      folder can be made there.
  """
  if folder is None:
    return {}
  if not players:
    raise UserError(
      f'records = {folder}: {agent.spec.name} has one player, and only games '
      'of two are recorded')
  folder = paths_lib.expand(folder, 'records')
  paths = {
    name: pathlib.Path(folder) / f'{game_records.file_name(name)}.jsonl'
    for name in players
  }
  if len(set(paths.values())) < len(paths):
    raise UserError(
      f'records = {folder}: two opponents would share a file there; play them '
      'one by one')
  try:
    os.makedirs(folder, exist_ok=True)
  except OSError as error:
    raise UserError(
      f'records = {folder}: cannot be made a folder: {error.strerror}'
    ) from None
  if not os.access(folder, os.W_OK):
    raise UserError(f'records = {folder}: cannot be written to')
  for path in paths.values():
    for there in (path, path.with_suffix('.sgf')):
      if there.exists():
        raise UserError(
          f'records = {folder}: {there} is there already; choose another '
          'folder')
  return paths


def _plain_score(score: Score, agent: Agent) -> dict[str, Any]:
  """Returns the scores of a game of one player as plain numbers."""
  plain = dict(
    mean=score.mean,
    standard_error=score.standard_error if len(score.returns) > 1 else None,
    min=float(score.returns.min()),
    max=float(score.returns.max()),
    mean_length=float(score.lengths.mean()),
    returns=[float(x) for x in score.returns],
  )
  if agent.config.family == 'atari':
    plain |= _beside_humans(agent.config.env_id, score.mean)
  return plain


def over_agents(reports: list[dict[str, Any]]) -> dict[str, Any]:
  """Returns what the agents of a run scored together; one's as it is.

  `confidence` is half the 95 % confidence interval of their mean, by Student's
  t over agents: episodes of one agent do not count as independent.
  """
  if len(reports) == 1:
    return reports[0]
  from scipy import stats  # Slow to import, and needed here alone.

  means = np.array([report['mean'] for report in reports])
  error = means.std(ddof=1) / np.sqrt(len(means))
  quantile = stats.t.ppf(0.975, len(means) - 1)
  return dict(
    mean=float(means.mean()),
    confidence=float(quantile * error),
    agents=reports,
  )


def _opponents(
  agent: Agent,
  names: Sequence[str],
  how: dict[str, Any],
) -> dict[str, AnyOpponent]:
  """Returns the opponents of an evaluation by name; of one player, none.

  `how` goes to `opponents.make`.
  """
  spec = agent.spec
  if spec.num_players == 2:
    names = names or opponents.defaults(spec.name)
  elif names:
    raise UserError(
      f'opponent = {",".join(names)}: {spec.name} has one player'
    )
  return {
    name: opponents.make(name, spec.name, make_env=agent.make_env, **how)
    for name in names
  }


def _beside_humans(game: str, mean: float) -> dict[str, Any]:
  """Returns the published scores of the game, if the table has it."""
  try:
    random, human = atari_scores.random_human(game)
  except ValueError:
    return {}
  return dict(
    random=random,
    human=human,
    human_normalised=atari_scores.human_normalised(game, mean),
  )


def describe(result: dict[str, Any]) -> list[str]:
  """Returns lines on what `report` or `over_agents` found."""
  if 'agents' in result:
    lines = [line for one in result['agents'] for line in describe(one)]
    return [
      *lines,
      f'{len(result["agents"])} agents: mean {result["mean"]:.2f} +- '
      f'{result["confidence"]:.2f} (95 % confidence interval)',
    ]
  head = (
    f'{result["environment"]} after {result["step"]:,} '
    f'{result.get("unit", "steps")}, {result["num_episodes"]} episodes, '
    f'{result["num_simulations"]} simulations, no noise:'
  )
  if 'returns' not in result:
    lines = [head]
    against = {k: v for k, v in result.items() if isinstance(v, dict)}
    for name, match in against.items():
      opening = match.get('opening_moves')
      after = f', after {opening} random moves' if opening else ''
      lines.append(
        f'  against {name}{after}: {match["wins"]} won, '
        f'{match["draws"]} drawn, {match["losses"]} lost; moving first '
        f'{_record(match["first"])}, second {_record(match["second"])} '
        f'(won-drawn-lost){_points(match)}'
      )
      if 'broken' in match:
        lines.append(
          f'    {match["broken"]} more games are broken and not counted, the '
          f'first: {match["reason"]}')
    return lines
  spread = ''
  if result['standard_error'] is not None:
    spread = f' +- {result["standard_error"]:.2f} (standard error)'
  lines = [
    f'{head} return {result["mean"]:.2f}{spread}, from {result["min"]:g} to '
    f'{result["max"]:g}, {result["mean_length"]:.0f} steps an episode'
  ]
  lines += random_play.describe(result)
  if 'human' in result:
    lines.append(
      f'  published (30 no-ops, 108,000 frames): random {result["random"]:g},'
      f' human {result["human"]:g}; human-normalised '
      f'{result["human_normalised"]:.3f}'
    )
  return lines


def _points(match: Mapping[str, Any]) -> str:
  """Returns the share of points in words; of broken games alone, nothing."""
  if 'interval' not in match:
    return ''
  share = 50 * (match['mean'] + 1)
  low, high = (100 * end for end in match['interval'])
  return (
    f'; {share:.1f} % of the points (95 % interval {low:.1f} to {high:.1f} %)')


def _record(games: tuple[int, int, int]) -> str:
  return '-'.join(str(count) for count in games)
