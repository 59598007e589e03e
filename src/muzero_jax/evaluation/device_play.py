"""Noise-free play as one compiled loop: whole episodes, no more than asked.

`evaluate` counts what it returns; environments stay on the device, and the
host looks at them once in a while.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.agent import Agent, AgentState
from muzero_jax.errors import UserError
from muzero_jax.evaluation.opponents import base
from muzero_jax.evaluation.opponents.base import Opponent
from muzero_jax.replay import frame_stack
from muzero_jax.types import Array, Environment, EnvSpec, Params, TimeStep

_CHUNK = 64  # Steps between looks at whether all episodes have ended.

# Parameters, the opponent's (None if it has none), seed -> what was played.
Play = Callable[[Params, Params, int], 'Played']


class Played(NamedTuple):
  """E episodes in each of B environments, as NumPy arrays."""

  scores: np.ndarray  # [E, B] f32, for the agent.
  lengths: np.ndarray  # [E, B] i32
  actions: np.ndarray  # [T, B, ...] both players'; -1 where none counted.
  is_last: np.ndarray  # [T, B] bool, whether they ended an episode.


class Game(NamedTuple):
  """One game of a match."""

  agent_first: bool
  moves: tuple[int, ...]  # Both players' actions.
  result: int | str  # Of who moved first: 1, 0, -1, or records.BROKEN.
  reason: str = ''  # Of a broken game.


class _Functions(NamedTuple):
  """Who plays and where; never crosses jit."""

  act: Callable[..., Any]
  opponent: Opponent | None
  opponent_act: Callable[..., Any] | None  # Of an opponent that is an agent.
  step: Callable[..., Any]
  opening_moves: int


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
  actions: Array  # [_CHUNK, B, ...] of the latest chunk; -1 for none.
  is_last: Array  # [_CHUNK, B] bool, whether they ended an episode.


def make(
  agent: Agent,
  env: Environment,
  opponent: Opponent | Agent | None,
  *,
  num_envs: int,
  num_episodes: int,
  opening_moves: int = 0,
) -> Play:
  """Returns a function that plays, compiled once for all parameters.

  Args:
    agent: plays greedily; of it all but its parameters.
    env: `num_envs` environments.
    opponent: in a game of two players, who moves for the other side; None if
      the agent plays both. Of an agent all but its parameters.
    num_envs: B. Against an opponent, the agent moves first in the first half.
    num_episodes: a multiple of `num_envs`; every environment plays as many.
    opening_moves: drawn at random at the start of an episode; those of
      environments e and e + B / 2 are the same, as long as these are.

  Raises:
    UserError: if the episodes cannot be shared out evenly.
  """
  if num_episodes < 1 or num_episodes % num_envs:
    raise UserError(
      f'num_episodes={num_episodes}: must be a multiple of num_envs='
      f'{num_envs}, so that every environment plays as many'
    )
  other = opponent if isinstance(opponent, Agent) else None
  functions = _Functions(
    act=agent.act_fn,
    opponent=None if isinstance(opponent, Agent) else opponent,
    opponent_act=other.act_fn if other else None,
    step=env.step,
    opening_moves=opening_moves,
  )
  chunk = jax.jit(functools.partial(_chunk, functions))
  start = jax.jit(env.init) if env.restorable else env.init
  per_env = num_episodes // num_envs

  def play(params: Params, opponent_params: Params, seed: int) -> Played:
    init_key, play_key = jax.random.split(jax.random.key(seed))
    env_state, row = start(init_key)
    state = _begin(
      agent, other, env.spec, env_state, row, num_envs, per_env)
    opening_key = jax.random.fold_in(init_key, 1)
    log = []
    while int(state.num_done.min()) < per_env:
      play_key, chunk_key = jax.random.split(play_key)
      state = chunk(params, opponent_params, state, chunk_key, opening_key)
      log.append(jax.device_get((state.actions, state.is_last)))
    actions, is_last = (np.concatenate(part) for part in zip(*log))
    return Played(
      np.asarray(state.scores), np.asarray(state.lengths), actions, is_last
    )

  return play


def games(played: Played) -> list[Game]:
  """Returns the games of a match; those of each environment in order."""
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
  """Returns whom the agent plays: the first mover in the first half."""
  return jnp.where(first_half, to_play, 1 - to_play)


def draw_opening(
  opening_key: Array, num_done: Array, length: Array, legal_actions: Array
) -> Array:
  """Returns random legal moves [B], the same for both colours.

  Args:
    opening_key: of the whole match.
    num_done: [B] games before this one, in the same environment.
    length: [B] moves before this one.
    legal_actions: [B, A] bool
  """
  num_envs = num_done.shape[0]
  pair = jnp.arange(num_envs) % max(num_envs // 2, 1)

  def draw(pair: Array, game: Array, move: Array, legal: Array) -> Array:
    key = opening_key
    for number in (pair, game, move):
      key = jax.random.fold_in(key, number)
    return base.choose(key, legal)

  return jax.vmap(draw)(pair, num_done, length, legal_actions)


def _begin(
  agent: Agent,
  other: Agent | None,
  spec: EnvSpec,
  env_state: Any,
  timestep: TimeStep,
  num_envs: int,
  per_env: int,
) -> _Run:
  """Returns the state in which nothing has been played yet."""
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
    actions=jnp.broadcast_to(
      no_action, (_CHUNK, *no_action.shape)),
    is_last=jnp.zeros((_CHUNK, num_envs), bool),
  )


def _chunk(
  functions: _Functions,
  params: Params,
  opponent_params: Params,
  state: _Run,
  rng_key: Array,
  opening_key: Array,
) -> _Run:
  """Plays some steps of all environments, none after the last episode."""
  body = functools.partial(_step, functions, params, opponent_params)
  keys = jax.random.split(rng_key, _CHUNK)
  per_env = state.scores.shape[0]
  state = state._replace(
    actions=jnp.full_like(state.actions, -1),
    is_last=jnp.zeros_like(state.is_last),
  )
  return jax.lax.while_loop(
    lambda at: (at[0] < _CHUNK) & (at[1].num_done.min() < per_env),
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
  agent_key, opponent_key, env_key = jax.random.split(rng_key, 3)
  row = state.timestep
  action, state = _act(
    functions, params, opponent_params, state, agent_key, opponent_key,
    opening_key)
  env_state, timestep = functions.step(state.env_state, action, env_key)
  gain = timestep.reward
  if _is_match(functions):
    gain = jnp.where(row.to_play == state.player, gain, -gain)
  return _count(
    state._replace(
      env_state=env_state,
      timestep=timestep,
      actions=state.actions.at[index].set(
        jnp.where(
          row.is_last.reshape(-1, *(1,) * (action.ndim - 1)), -1, action)),
      is_last=state.is_last.at[index].set(timestep.is_last),
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
) -> tuple[Array, _Run]:
  """Returns the actions [B] of who is to move, remembered by who plays."""
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
      opponent_state, found = functions.opponent_act(
        opponent_params, opponent_state, opponent_key, *seen)
      other = found.action
    action = jnp.where(row.to_play == state.player, action, other)
  if functions.opening_moves:
    opening = draw_opening(
      opening_key, state.num_done, state.length, row.legal_actions)
    action = jnp.where(
      state.length < functions.opening_moves, opening, action)
  agent_state = agent_state._replace(action=action)
  if opponent_state is not None:
    opponent_state = opponent_state._replace(action=action)
  return action, state._replace(
    agent_state=agent_state, opponent_state=opponent_state)


def _is_match(functions: _Functions) -> bool:
  return functions.opponent is not None or functions.opponent_act is not None


def _count(state: _Run, gain: Array) -> _Run:
  """Returns the state with its latest row counted.

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
