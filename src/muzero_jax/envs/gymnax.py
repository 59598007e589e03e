"""Environments of gymnax 1.x with discrete actions, behind `envs.make`.

gymnax's own `step` resets within the step that ends an episode; its
`step_env`, used here, leaves the final state in place.
"""

import functools
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import types
from muzero_jax.envs import base


class GymnaxState(NamedTuple):
  """State of one environment."""

  state: Any
  observation: jax.Array  # gymnax returns it with the state.


def names() -> tuple[str, ...]:
  """Returns the names that gymnax knows, continuous control included."""
  return tuple(gymnax.registered_envs)


def make(name: str, num_envs: int) -> types.Environment:
  """Returns B environments of gymnax with their default parameters.

  Args:
    name: for example "Acrobot-v1" or "MountainCar-v0".
    num_envs: B.

  Raises:
    ValueError: no such environment, naming the nearest; or its actions are
      not discrete, or its observation is not one array.
  """
  name = base.resolve_name('gymnax', name, names())
  environment, params = gymnax.make(name)
  num_actions = getattr(environment.action_space(params), 'n', None)
  if num_actions is None:
    raise ValueError(
      f'env_id: the actions of gymnax {name!r} are not discrete'
    )
  observation, _ = jax.eval_shape(
    environment.reset_env, jax.random.key(0), params
  )
  if not hasattr(observation, 'shape'):
    raise ValueError(
      f'env_id: the observation of gymnax {name!r} is not one array'
    )
  spec = types.EnvSpec(
    name=f'gymnax/{name}',
    observation_shape=observation.shape,
    observation_dtype=np.dtype(observation.dtype),
    num_actions=int(num_actions),
    max_episode_steps=int(getattr(params, 'max_steps_in_episode', 0)),
  )
  return base.make_environment(
    spec,
    num_envs,
    reset=functools.partial(_reset, environment, params),
    step=functools.partial(_step, environment, params),
    observe=lambda state: state.observation,
  )


def _reset(environment: Any, params: Any, rng_key: jax.Array) -> GymnaxState:
  observation, state = environment.reset_env(rng_key, params)
  return GymnaxState(state, jnp.asarray(observation))


def _step(
  environment: Any,
  params: Any,
  state: GymnaxState,
  action: jax.Array,
  rng_key: jax.Array,
) -> base.Transition:
  observation, new, reward, terminated, _ = environment.step_env(
    rng_key, state.state, action, params
  )
  return base.Transition(
    state=GymnaxState(new, jnp.asarray(observation)),
    reward=jnp.asarray(reward, jnp.float32),
    terminated=terminated,
    truncated=environment.is_truncated(new, params),
  )
