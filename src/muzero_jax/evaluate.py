"""Evaluation: noise-free play to the natural end of each of N episodes."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import atari_scores, opponents
from muzero_jax.agent import Agent, AgentState
from muzero_jax.opponents import Opponent
from muzero_jax.types import Array, Environment, EnvSpec, Params, TimeStep

_CHUNK = 64  # Steps between looks at whether all episodes have ended.


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


class MatchScore(NamedTuple):
  """Games won, drawn and lost, by who moved first."""

  first: tuple[int, int, int]  # Where the agent moved first.
  second: tuple[int, int, int]

  @property
  def total(self) -> tuple[int, int, int]:
    """Returns wins, draws and losses over both colours."""
    wins, draws, losses = (a + b for a, b in zip(self.first, self.second))
    return wins, draws, losses


class _Play(NamedTuple):
  """Running episodes and what the finished ones scored."""

  env_state: Any
  timestep: TimeStep
  agent_state: AgentState
  player: Array  # [B] i32, whom the agent plays.
  score: Array  # [B] f32, of the running episode, for the agent.
  length: Array  # [B] i32
  num_done: Array  # [B] i32
  scores: Array  # [E, B] f32, of finished episodes.
  lengths: Array  # [E, B] i32


def num_envs_for(num_episodes: int, most: int) -> int:
  """Returns the largest number of environments, at most `most`, that divides
  the episodes: each then plays equally many, and short episodes do not count
  for more."""
  return max(
    n for n in range(1, min(num_episodes, most) + 1) if num_episodes % n == 0
  )


def evaluate(
  agent: Agent, env: Environment, *, num_envs: int, num_episodes: int,
  seed: int = 0,
) -> Score:
  """Returns the scores of an agent over `num_episodes` episodes.

  In a game of two players the agent plays both sides; see `play_match`.

  Args:
    agent: plays greedily, without noise.
    env: `num_envs` evaluation environments.
    num_envs: B.
    num_episodes: a multiple of `num_envs`; every environment plays as many.
    seed: of environments and searches.

  Raises:
    ValueError: if the episodes cannot be shared out evenly.
  """
  play = _run(agent, env, None, num_envs, num_episodes, seed)
  return Score(
    np.asarray(play.scores).reshape(-1), np.asarray(play.lengths).reshape(-1)
  )


def play_match(
  agent: Agent,
  env: Environment,
  opponent: Opponent,
  *,
  num_envs: int,
  num_games: int,
  seed: int = 0,
) -> MatchScore:
  """Returns how an agent fares against an opponent, both colours equally.

  Args:
    agent: plays greedily, without noise.
    env: `num_envs` environments of a two-player game.
    opponent: of `env`'s game.
    num_envs: B, even: in half of them the agent moves first.
    num_games: a multiple of `num_envs`.
    seed: of environments, searches and opponent.

  Raises:
    ValueError: on a one-player game or numbers that do not fit.
  """
  if env.spec.num_players != 2:
    raise ValueError(f'{env.spec.name} has one player: there is no match')
  if num_envs % 2:
    raise ValueError(f'num_envs={num_envs}: must be even')
  play = _run(agent, env, opponent, num_envs, num_games, seed)
  scores = np.asarray(play.scores)  # [E, B]

  def count(part: np.ndarray) -> tuple[int, int, int]:
    return (
      int((part > 0).sum()), int((part == 0).sum()), int((part < 0).sum())
    )

  half = num_envs // 2
  return MatchScore(count(scores[:, :half]), count(scores[:, half:]))


def _run(
  agent: Agent,
  env: Environment,
  opponent: Opponent | None,
  num_envs: int,
  num_episodes: int,
  seed: int,
) -> _Play:
  """Plays until every environment has ended its share of the episodes."""
  if num_episodes < 1 or num_episodes % num_envs:
    raise ValueError(
      f'num_episodes={num_episodes}: must be a multiple of num_envs='
      f'{num_envs}, so that every environment plays as many'
    )
  per_env = num_episodes // num_envs
  init_key, play_key = jax.random.split(jax.random.key(seed))
  start = jax.jit(env.init) if env.restorable else env.init
  env_state, timestep = start(init_key)
  first_half = jnp.arange(num_envs) < num_envs // 2
  state = _Play(
    env_state=env_state,
    timestep=timestep,
    agent_state=agent.init_state(num_envs),
    player=_players(first_half, timestep.to_play),
    score=jnp.zeros(num_envs, jnp.float32),
    length=jnp.zeros(num_envs, jnp.int32),
    num_done=jnp.zeros(num_envs, jnp.int32),
    scores=jnp.zeros((per_env, num_envs), jnp.float32),
    lengths=jnp.zeros((per_env, num_envs), jnp.int32),
  )
  chunk = jax.jit(
    functools.partial(_chunk, agent.act_fn, env.step, opponent, first_half)
  )
  while int(state.num_done.min()) < per_env:
    play_key, chunk_key = jax.random.split(play_key)
    state = chunk(agent.params, state, chunk_key)
  return state


def _players(first_half: Array, to_play: Array) -> Array:
  """Returns whom the agent plays: the first mover in the first half."""
  return jnp.where(first_half, to_play, 1 - to_play)


def _chunk(
  act_fn: Callable[..., Any],
  step_fn: Callable[..., Any],
  opponent: Opponent | None,
  first_half: Array,
  params: Params,
  state: _Play,
  rng_key: Array,
) -> _Play:
  """Plays some steps of all environments, none after the last episode."""
  body = functools.partial(
    _play_step, act_fn, step_fn, opponent, first_half, params
  )
  keys = jax.random.split(rng_key, _CHUNK)
  per_env = state.scores.shape[0]
  return jax.lax.while_loop(
    lambda at: (at[0] < _CHUNK) & (at[1].num_done.min() < per_env),
    lambda at: (at[0] + 1, body(at[1], keys[at[0]])),
    (jnp.int32(0), state),
  )[1]


def _play_step(
  act_fn: Callable[..., Any],
  step_fn: Callable[..., Any],
  opponent: Opponent | None,
  first_half: Array,
  params: Params,
  state: _Play,
  rng_key: Array,
) -> _Play:
  agent_key, opponent_key, env_key = jax.random.split(rng_key, 3)
  row = state.timestep
  agent_state, found = act_fn(
    params, state.agent_state, agent_key, row.observation, row.legal_actions,
    row.is_first,
  )
  action = found.action
  if opponent is not None:
    action = jnp.where(
      row.to_play == state.player,
      action,
      opponent(opponent_key, state.env_state, row),
    )
    agent_state = agent_state._replace(action=action)
  env_state, timestep = step_fn(state.env_state, action, env_key)
  gain = timestep.reward
  if opponent is not None:
    gain = jnp.where(row.to_play == state.player, gain, -gain)
  opens = timestep.is_first
  score = jnp.where(opens, 0.0, state.score + gain)
  length = jnp.where(opens, 0, state.length + 1)
  # Episodes beyond the share of an environment are not recorded.
  per_env = state.scores.shape[0]
  slot = jnp.where(timestep.is_last, state.num_done, per_env)
  envs = jnp.arange(slot.shape[0])
  return _Play(
    env_state=env_state,
    timestep=timestep,
    agent_state=agent_state,
    player=jnp.where(
      opens, _players(first_half, timestep.to_play), state.player
    ),
    score=score,
    length=length,
    num_done=state.num_done + timestep.is_last,
    scores=state.scores.at[slot, envs].set(score, mode='drop'),
    lengths=state.lengths.at[slot, envs].set(length, mode='drop'),
  )


def report(
  agent: Agent,
  *,
  num_episodes: int,
  seed: int = 0,
  opponent_names: Sequence[str] = (),
) -> dict[str, Any]:
  """Returns an agent's evaluation as plain numbers by name.

  In a game of two players, `num_episodes` games against each opponent, both
  colours equally, and `mean` is the mean outcome (1 won, -1 lost) against the
  last of them. Otherwise `mean` is the mean return, with the human-normalised
  score where the Atari table has the game.

  Args:
    agent: to evaluate; its Config says how many environments.
    num_episodes: at least 1; even in a game of two players.
    seed: of environments, searches and opponents.
    opponent_names: as `opponents.make` takes them; if empty, its `defaults`,
      of which the last is the strongest.

  Raises:
    ValueError: if the episodes cannot be played evenly, or an opponent does
      not exist.
  """
  config, spec = agent.config, agent.spec
  two_players = spec.num_players == 2
  players = _opponents(spec, opponent_names)
  if two_players and num_episodes % 2:
    raise ValueError(
      f'num_episodes = {num_episodes}: must be even, so that both colours '
      'play as many games'
    )
  pairs = 2 if two_players else 1
  num_envs = pairs * num_envs_for(
    num_episodes // pairs, max(config.eval_envs // pairs, 1)
  )
  env = agent.make_env(
    config, num_envs=num_envs, evaluation=True, seed=config.seed + 1 + seed
  )
  play = dict(num_envs=num_envs, seed=seed)
  result: dict[str, Any] = dict(
    environment=spec.name,
    step=agent.step,
    num_episodes=num_episodes,
    num_simulations=config.eval_simulations or config.num_simulations,
  )
  if two_players:
    for name, opponent in players.items():
      match = play_match(agent, env, opponent, num_games=num_episodes, **play)
      wins, draws, losses = match.total
      result[name] = dict(
        wins=wins, draws=draws, losses=losses, **match._asdict()
      )
      result['mean'] = (wins - losses) / num_episodes
    return result
  score = evaluate(agent, env, num_episodes=num_episodes, **play)
  result.update(
    mean=score.mean,
    standard_error=score.standard_error if num_episodes > 1 else None,
    min=float(score.returns.min()),
    max=float(score.returns.max()),
    mean_length=float(score.lengths.mean()),
    returns=[float(x) for x in score.returns],
  )
  if config.family == 'atari':
    result.update(_beside_humans(config.env_id, score.mean))
  return result


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


def _opponents(spec: EnvSpec, names: Sequence[str]) -> dict[str, Opponent]:
  """Returns the opponents of an evaluation by name; of one player, none."""
  if spec.num_players == 2:
    names = names or opponents.defaults(spec.name)
  elif names:
    raise ValueError(
      f'opponent = {",".join(names)}: {spec.name} has one player'
    )
  return {name: opponents.make(name, spec.name) for name in names}


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
    f'{result["environment"]} after {result["step"]:,} steps, '
    f'{result["num_episodes"]} episodes, {result["num_simulations"]} '
    'simulations, no noise:'
  )
  if 'returns' not in result:
    lines = [head]
    matches = {k: v for k, v in result.items() if isinstance(v, dict)}
    for name, match in matches.items():
      lines.append(
        f'  against {name}: {match["wins"]} won, {match["draws"]} drawn, '
        f'{match["losses"]} lost; moving first {_record(match["first"])}, '
        f'second {_record(match["second"])} (won-drawn-lost)'
      )
    return lines
  spread = ''
  if result['standard_error'] is not None:
    spread = f' +- {result["standard_error"]:.2f} (standard error)'
  lines = [
    f'{head} return {result["mean"]:.2f}{spread}, from {result["min"]:g} to '
    f'{result["max"]:g}, {result["mean_length"]:.0f} steps an episode'
  ]
  if 'human' in result:
    lines.append(
      f'  published (30 no-ops, 108,000 frames): random {result["random"]:g},'
      f' human {result["human"]:g}; human-normalised '
      f'{result["human_normalised"]:.3f}'
    )
  return lines


def _record(games: tuple[int, int, int]) -> str:
  return '-'.join(str(count) for count in games)
