"""Noise-free play on the device: one compiled loop over chunks of steps.

`report` and `match` count the episodes that it plays, no more than asked, and
`diagnose` keeps its rows. The host looks at it once a chunk; `host_play` steps
one row at a time.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.acting import actor
from muzero_jax.agent import Agent, AgentState
from muzero_jax.errors import StoppedError
from muzero_jax.evaluation import playing
from muzero_jax.evaluation.opponents.base import Opponent
from muzero_jax.evaluation.playing import Game
from muzero_jax.replay import frame_stack, ring
from muzero_jax.types import (
  Array,
  Environment,
  EnvSpec,
  Params,
  SearchOutput,
  TimeStep,
  Trajectory,
)

_CHUNK = 64  # Most steps between looks at whether all episodes have ended.

# Parameters, the opponent's (None if it has none), seed -> what was played.
Play = Callable[[Params, Params, int], 'Played']
# Parameters, the opponent's, rng_key -> the state after each chunk.
_Chunks = Callable[[Params, Params, Array], Iterator['_Run']]


class Played(NamedTuple):
  """E episodes in each of B environments, as NumPy arrays."""

  scores: np.ndarray  # [E, B] f32, for the agent.
  lengths: np.ndarray  # [E, B] i32
  actions: np.ndarray  # [T, B, ...] both players'; -1 where none counted.
  is_last: np.ndarray  # [T, B] bool, whether they ended an episode.


class _Functions(NamedTuple):
  """Who plays and where; never crosses jit."""

  act: Callable[..., Any]
  opponent: Opponent | None
  opponent_act: Callable[..., Any] | None  # Of an opponent that is an agent.
  step: Callable[..., Any]
  opening_moves: int
  reward_clip: float  # Of the rows that are kept; 0 for no clip.


class _Run(NamedTuple):
  """Running episodes and what the finished ones scored."""

  env_state: Any
  timestep: TimeStep
  agent_state: AgentState
  opponent_state: AgentState | None  # Of an opponent that is an agent.
  player: Array  # [B] i32, whom the agent plays.
  score: Array  # [B] f32, of the running episode, for the agent.
  length: Array  # [B] i32
  num_done: Array  # [B] i32
  scores: Array  # [E, B] f32, of finished episodes.
  lengths: Array  # [E, B] i32
  # Of the latest chunk, of N steps.
  actions: Array  # [N, B, ...] -1 for none.
  is_last: Array  # [N, B] bool, whether they ended an episode.
  rows: Trajectory | None  # [N, B, ...] None to keep none.


def make(
  agent: Agent,
  env: Environment,
  opponent: Opponent | Agent | None,
  *,
  num_envs: int,
  num_episodes: int,
  opening_moves: int = 0,
  should_stop: Callable[[], bool] = lambda: False,
) -> Play:
  """Make a function that plays, compiled once for all parameters.

  Args:
    agent: plays greedily; of it all but its parameters.
    env: `num_envs` environments.
    opponent: in a game of two players, who moves for the other side; None if
      the agent plays both. Of an agent all but its parameters.
    num_envs: B. Against an opponent, the agent moves first in the first half.
    num_episodes: a multiple of `num_envs`; every environment plays as many.
    opening_moves: drawn at random at the start of an episode; those of
      environments e and e + B / 2 are the same, as long as these are.
    should_stop: asked after each chunk; play then ends in StoppedError.

  Raises:
    UserError: if the episodes cannot be shared out evenly.
  """
  chunks = _make_chunks(
    agent, env, opponent, num_envs=num_envs,
    per_env=playing.episodes_per_env(num_episodes, num_envs),
    opening_moves=opening_moves)

  def play(params: Params, opponent_params: Params, seed: int) -> Played:
    log = []
    for state in chunks(params, opponent_params, jax.random.key(seed)):
      log.append(jax.device_get((state.actions, state.is_last)))
      if should_stop():
        raise StoppedError('while playing')
    actions, is_last = (np.concatenate(part) for part in zip(*log))
    return Played(
      np.asarray(state.scores), np.asarray(state.lengths), actions, is_last
    )

  return play


def collect(
  agent: Agent,
  env: Environment,
  rng_key: Array,
  *,
  num_envs: int,
  num_steps: int,
) -> Trajectory:
  """Play `num_steps` steps, and return their rows [T, B, ...] as NumPy arrays.

  Args:
    agent: plays greedily.
    env: `num_envs` evaluation environments.
    rng_key: for environments and searches.
    num_envs: B.
    num_steps: T.
  """
  num_chunks = -(-num_steps // _CHUNK)
  # Every episode takes a step at least: so many do not end before the rows do.
  chunks = _make_chunks(
    agent, env, None, num_envs=num_envs, per_env=num_steps, keeps_rows=True,
    chunk_steps=-(-num_steps // num_chunks))
  log = [
    jax.device_get(state.rows)
    for state in itertools.islice(
      chunks(agent.params, None, rng_key), num_chunks)
  ]
  return jax.tree.map(lambda *x: np.concatenate(x)[:num_steps], *log)


def games(played: Played) -> list[Game]:
  """Return the games of a match; those of each environment in order."""
  per_env, num_envs = played.scores.shape
  found = []
  for i, (action, is_last) in enumerate(
    zip(played.actions.T, played.is_last.T)
  ):
    ends = np.flatnonzero(is_last)[:per_env] + 1
    agent_first = i < num_envs // 2
    for game, part in enumerate(np.split(action, ends)[:per_env]):
      result = int(np.sign(played.scores[game, i]))
      found.append(Game(
        agent_first=agent_first,
        moves=tuple(int(a) for a in part if a >= 0),
        result=result if agent_first else -result,
      ))
  return found


def players(first_half: Array, to_play: Array) -> Array:
  """Return whom the agent plays: the first mover in the first half."""
  return jnp.where(first_half, to_play, 1 - to_play)


def _make_chunks(
  agent: Agent,
  env: Environment,
  opponent: Opponent | Agent | None,
  *,
  num_envs: int,
  per_env: int,
  opening_moves: int = 0,
  keeps_rows: bool = False,
  chunk_steps: int = _CHUNK,
) -> _Chunks:
  """Compile play, in chunks that follow each other until all episodes end.

  Args:
    agent, env, opponent, num_envs, opening_moves: as `make` has them.
    per_env: E, episodes of each environment.
    keeps_rows: whether whole rows are kept.
    chunk_steps: N, steps of a chunk.
  """
  other = opponent if isinstance(opponent, Agent) else None
  functions = _Functions(
    act=agent.act_fn,
    opponent=None if isinstance(opponent, Agent) else opponent,
    opponent_act=other.act_fn if other else None,
    step=env.step,
    opening_moves=opening_moves,
    reward_clip=agent.config.reward_clip if keeps_rows else 0.0,
  )
  chunk = playing.compiled(_chunk, functions)
  init = jax.jit(env.init) if env.restorable else env.init

  def chunks(
    params: Params, opponent_params: Params, rng_key: Array
  ) -> Iterator[_Run]:
    init_key, play_key, opening_key = jax.random.split(rng_key, 3)
    state = _begin(
      agent, other, env.spec, *init(init_key), num_envs=num_envs,
      per_env=per_env, chunk_steps=chunk_steps)
    if keeps_rows:
      num_sampled = agent.config.num_sampled_actions
      state = state._replace(
        rows=ring.init(env.spec, num_envs, chunk_steps, num_sampled).rows)
    while int(state.num_done.min()) < per_env:
      play_key, chunk_key = jax.random.split(play_key)
      state = chunk(params, opponent_params, state, chunk_key, opening_key)
      yield state

  return chunks


def _begin(
  agent: Agent,
  other: Agent | None,
  spec: EnvSpec,
  env_state: Any,
  timestep: TimeStep,
  *,
  num_envs: int,
  per_env: int,
  chunk_steps: int,
) -> _Run:
  """Return the state in which nothing has been played yet.

  Args:
    agent: who plays.
    other: the opponent, if it is an agent.
    spec: of the environments.
    env_state: of B environments.
    timestep: [B] their first rows.
    num_envs: B.
    per_env: E.
    chunk_steps: N.
  """
  zeros = jnp.zeros(num_envs, jnp.int32)
  no_action = frame_stack.no_action(spec, num_envs)
  return _Run(
    env_state=env_state,
    timestep=timestep,
    agent_state=agent.init_state(num_envs),
    opponent_state=other.init_state(num_envs) if other else None,
    player=players(jnp.arange(num_envs) < num_envs // 2, timestep.to_play),
    score=jnp.zeros(num_envs, jnp.float32),
    length=zeros,
    num_done=zeros,
    scores=jnp.zeros((per_env, num_envs), jnp.float32),
    lengths=jnp.zeros((per_env, num_envs), jnp.int32),
    actions=jnp.broadcast_to(no_action, (chunk_steps, *no_action.shape)),
    is_last=jnp.zeros((chunk_steps, num_envs), bool),
    rows=None,
  )


def _chunk(
  functions: _Functions,
  params: Params,
  opponent_params: Params,
  state: _Run,
  rng_key: Array,
  opening_key: Array,
) -> _Run:
  """Play some steps of all environments, none after the last episode."""
  body = functools.partial(_step, functions, params, opponent_params)
  per_env, chunk_steps = len(state.scores), len(state.is_last)
  keys = jax.random.split(rng_key, chunk_steps)
  state = state._replace(
    actions=jnp.full_like(state.actions, -1),
    is_last=jnp.zeros_like(state.is_last),
  )
  return jax.lax.while_loop(
    lambda at: (at[0] < chunk_steps) & (at[1].num_done.min() < per_env),
    lambda at: (at[0] + 1, body(at[1], at[0], keys[at[0]], opening_key)),
    (jnp.int32(0), state),
  )[1]


def _step(
  functions: _Functions,
  params: Params,
  opponent_params: Params,
  state: _Run,
  index: Array,
  rng_key: Array,
  opening_key: Array,
) -> _Run:
  """Play step `index` [] of a chunk, of all environments."""
  agent_key, opponent_key, env_key = jax.random.split(rng_key, 3)
  row = state.timestep
  action, found, state = _act(
    functions, params, opponent_params, state, agent_key, opponent_key,
    opening_key)
  env_state, timestep = functions.step(state.env_state, action, env_key)
  gain = timestep.reward
  if _is_match(functions):
    gain = jnp.where(row.to_play == state.player, gain, -gain)
  rows = state.rows
  if rows is not None:
    new = actor.stored_row(
      row, found, action, reward_clip=functions.reward_clip)
    rows = jax.tree.map(lambda x, new: x.at[index].set(new), rows, new)
  return _count(
    state._replace(
      env_state=env_state,
      timestep=timestep,
      actions=state.actions.at[index].set(
        jnp.where(
          row.is_last.reshape(-1, *(1,) * (action.ndim - 1)), -1, action)),
      is_last=state.is_last.at[index].set(timestep.is_last),
      rows=rows,
    ),
    gain,
  )


def _act(
  functions: _Functions,
  params: Params,
  opponent_params: Params,
  state: _Run,
  agent_key: Array,
  opponent_key: Array,
  opening_key: Array,
) -> tuple[Array, SearchOutput, _Run]:
  """Return the actions [B] of who is to move, remembered by who plays.

  Beside them, what the agent's search found.
  """
  row = state.timestep
  seen = row.observation, row.legal_actions, row.is_first
  agent_state, found = functions.act(
    params, state.agent_state, agent_key, *seen)
  action, opponent_state = found.action, state.opponent_state
  if _is_match(functions):
    if functions.opponent is not None:
      other = functions.opponent(opponent_key, state.env_state, row)
    else:
      assert functions.opponent_act is not None
      opponent_state, other_found = functions.opponent_act(
        opponent_params, opponent_state, opponent_key, *seen)
      other = other_found.action
    action = jnp.where(row.to_play == state.player, action, other)
  if functions.opening_moves:
    opening = playing.draw_opening(
      opening_key, state.num_done, state.length, row.legal_actions)
    action = jnp.where(
      state.length < functions.opening_moves, opening, action)
  agent_state = agent_state._replace(action=action)
  if opponent_state is not None:
    opponent_state = opponent_state._replace(action=action)
  return action, found, state._replace(
    agent_state=agent_state, opponent_state=opponent_state)


def _is_match(functions: _Functions) -> bool:
  return functions.opponent is not None or functions.opponent_act is not None


def _count(state: _Run, gain: Array) -> _Run:
  """Return the state with its latest row counted.

  Args:
    state: with that row.
    gain: [B] of the transition into it, for the agent.
  """
  row = state.timestep
  score = jnp.where(row.is_first, 0.0, state.score + gain)
  length = jnp.where(row.is_first, 0, state.length + 1)
  # Episodes beyond the share of an environment are not recorded.
  per_env, num_envs = state.scores.shape
  slot = jnp.where(row.is_last, state.num_done, per_env)
  envs = jnp.arange(num_envs)
  return state._replace(
    player=jnp.where(
      row.is_first, players(envs < num_envs // 2, row.to_play), state.player
    ),
    score=score,
    length=length,
    num_done=state.num_done + row.is_last,
    scores=state.scores.at[slot, envs].set(score, mode='drop'),
    lengths=state.lengths.at[slot, envs].set(length, mode='drop'),
  )
