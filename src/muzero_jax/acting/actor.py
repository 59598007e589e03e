"""Acting: one search and one environment step; a rollout is a scan of it."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax.acting import lasting_noise
from muzero_jax.config import settings as settings_lib
from muzero_jax.replay import frame_stack
from muzero_jax.search import Search
from muzero_jax.types import (
  Array,
  Environment,
  History,
  Params,
  SearchOutput,
  TimeStep,
  Trajectory,
)


class ActorState(NamedTuple):
  """Where B environments stand."""

  env_state: Any
  timestep: TimeStep
  history: History  # Ends with the current row's frame.
  episode_return: Array  # [B] f32, undiscounted and unclipped, so far.
  episode_length: Array  # [B] i32, steps of the running episode.


class RolloutStats(NamedTuple):
  """Sums over a rollout; over all devices where there are several."""

  num_steps: Array  # [] i32, environment steps: rows that are not the last.
  num_episodes: Array  # [] i32, episodes that ended.
  return_sum: Array  # [] f32, of the returns of those.
  length_sum: Array  # [] i32, of the lengths of those.
  policy_entropy_sum: Array  # [] f32, of the search's policy, over steps.
  value_sum: Array  # [] f32, searched, over steps.
  network_value_gap: Array  # [] f32, |searched - network's value|, likewise.
  num_bad: Array  # [] i32, rows with a reward or frame that is not finite.


def init(
  env: Environment, rng_key: Array, *, num_envs: int, stacked_frames: int
) -> ActorState:
  """Returns the state of `num_envs` fresh environments."""
  env_state, timestep = env.init(rng_key)
  return ActorState(
    env_state=env_state,
    timestep=timestep,
    history=frame_stack.push(
      frame_stack.init(env.spec, num_envs, stacked_frames),
      timestep.observation,
      frame_stack.no_action(env.spec, num_envs),
      timestep.is_first,
    ),
    episode_return=jnp.zeros(num_envs, jnp.float32),
    episode_length=jnp.zeros(num_envs, jnp.int32),
  )


def rollout(
  env: Environment,
  search: Search,
  params: Params,
  state: ActorState,
  rng_key: Array,
  settings: settings_lib.Acting,
  *,
  temperature: Array | float = 1.0,
  stack_actions: bool = False,
) -> tuple[ActorState, Trajectory, RolloutStats]:
  """Play `rollout_length` rows of each environment.

  Args:
    env: B environments.
    search: chooses the actions.
    params: of the search's model.
    state: where the environments stand.
    rng_key: for searches and environments.
    settings: of acting.
    temperature: of the action's choice, at this point of training.
    stack_actions: whether observations hold the actions too.

  Returns:
    The actors after these rows, the rows [T, B, ...] and their sums.
  """
  body = functools.partial(
    _act, env, search, params, settings, temperature, stack_actions)
  length = settings.rollout_length
  keys = jax.vmap(jax.random.split)(jax.random.split(rng_key, length))
  search_keys, env_keys = keys[:, 0], keys[:, 1]
  search_keys = jax.vmap(lambda t: lasting_noise.search_key(
    lambda step: search_keys[step], t, settings.noise_steps
  ))(jnp.arange(length))
  state, (trajectory, stats) = jax.lax.scan(
    body, state, (search_keys, env_keys)
  )
  return state, trajectory, jax.tree.map(
    lambda x: x.sum(axis=0, dtype=x.dtype), stats)


def _act(
  env: Environment,
  search: Search,
  params: Params,
  settings: settings_lib.Acting,
  temperature: Array | float,
  stack_actions: bool,
  state: ActorState,
  rng_keys: tuple[Array, Array],
) -> tuple[ActorState, tuple[Trajectory, RolloutStats]]:
  """Searches, acts and returns the row that was acted from."""
  search_key, env_key = rng_keys
  found = choose(
    search, params, state, search_key, temperature=temperature,
    temperature_moves=settings.temperature_moves, stack_actions=stack_actions)
  env_state, timestep = env.step(state.env_state, found.action, env_key)
  kept = record(state, found, reward_clip=settings.reward_clip)
  return advance(state, env_state, timestep, found.action), kept


def choose(
  search: Search,
  params: Params,
  state: ActorState,
  rng_key: Array,
  *,
  temperature: Array | float,
  temperature_moves: int,
  stack_actions: bool,
) -> SearchOutput:
  """Returns what the search finds at the rows where the actors stand.

  Args:
    search: chooses the actions.
    params: of the search's model.
    state: of B actors.
    rng_key: for the search.
    temperature: of the action's choice.
    temperature_moves: moves of an episode after which actions are greedy; 0
      for never.
    stack_actions: whether observations hold the actions too.
  """
  row = state.timestep
  heat = jnp.broadcast_to(
    jnp.asarray(temperature, jnp.float32), row.reward.shape
  )
  if temperature_moves:
    heat = jnp.where(state.episode_length < temperature_moves, heat, 0.0)
  num_actions = row.legal_actions.shape[-1]
  return search(
    params,
    rng_key,
    frame_stack.observe(state.history, num_actions, stack_actions),
    row.legal_actions,
    heat,
  )


def stored_row(
  row: TimeStep, found: SearchOutput, action: Any, *, reward_clip: float
) -> Trajectory:
  """Return rows [B, ...] as the replay stores them.

  Args:
    row: [B] where the agent searched.
    found: [B] what it found there.
    action: [B] i32, or [B, A] f32, taken there, whoever chose it.
    reward_clip: stored rewards are clipped to +-this; 0 for no clip.
  """
  clip = reward_clip or float('inf')
  return Trajectory(
    frame=row.observation,
    reward=row.reward.clip(-clip, clip),
    discount=row.discount,
    is_first=row.is_first,
    is_last=row.is_last,
    legal_actions=row.legal_actions,
    to_play=row.to_play,
    action=action,
    policy=found.policy,
    value=found.value,
    candidates=found.candidates,
  )


def record(
  state: ActorState, found: SearchOutput, *, reward_clip: float
) -> tuple[Trajectory, RolloutStats]:
  """Returns the rows [B] where the actors stand, to be stored, and their sums.

  Args:
    state: of B actors.
    found: what `choose` found there.
    reward_clip: stored rewards are clipped to +-this; 0 for no clip.
  """
  row = state.timestep
  stored = stored_row(row, found, found.action, reward_clip=reward_clip)
  # A search of one's own need not tell it.
  told = found.value if found.action_value is None else found.action_value
  stored = stored._replace(action_value=told)
  live = ~row.is_last
  entropy = jnp.sum(jax.scipy.special.entr(found.policy), axis=-1)
  gap = jnp.abs(found.value - found.network_value)
  finite = jnp.isfinite(row.reward)
  if jnp.issubdtype(row.observation.dtype, jnp.floating):
    axes = tuple(range(1, row.observation.ndim))
    finite &= jnp.isfinite(row.observation).all(axis=axes)
  count = lambda mask: jnp.sum(mask, dtype=jnp.int32)
  return stored, RolloutStats(
    num_steps=count(live),
    num_episodes=count(row.is_last),
    return_sum=jnp.sum(state.episode_return * row.is_last),
    length_sum=jnp.sum(
      state.episode_length * row.is_last, dtype=jnp.int32
    ),
    policy_entropy_sum=jnp.sum(entropy * live),
    value_sum=jnp.sum(found.value * live),
    network_value_gap=jnp.sum(gap * live),
    num_bad=count(~finite),
  )


def advance(
  state: ActorState, env_state: Any, timestep: TimeStep, action: Array
) -> ActorState:
  """Returns the actors at their next rows.

  Args:
    state: of B actors.
    env_state: of the environments, after the step.
    timestep: the rows [B] that the step led to.
    action: [B, ...] that led there.
  """
  return ActorState(
    env_state=env_state,
    timestep=timestep,
    history=frame_stack.push(
      state.history, timestep.observation, action, timestep.is_first
    ),
    episode_return=jnp.where(
      timestep.is_first, 0.0, state.episode_return + timestep.reward
    ),
    episode_length=jnp.where(
      timestep.is_first, 0, state.episode_length + 1
    ),
  )
