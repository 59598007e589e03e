"""Brax's control tasks, with continuous actions, behind `envs.make`.

Brax's own wrappers reset within the step that ends an episode; its bare
environments, used here, leave the final state in place.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from brax import envs as brax_envs

from muzero_jax import types
from muzero_jax.envs import base

# Brax's time limits: 1,000 steps, but for those that its pages say.
_MAX_STEPS = 1_000
_SHORTER = {'pusher': 100, 'reacher': 50}


def names() -> tuple[str, ...]:
  """Returns the names that Brax knows, but for its test environment."""
  return tuple(sorted({*brax_envs._envs} - {'fast'}))


def make(
  name: str, num_envs: int, *, backend: str = 'generalized'
) -> types.Environment:
  """Returns B environments of Brax.

  Args:
    name: for example "reacher" or "inverted_pendulum".
    num_envs: B.
    backend: of the physics; Brax's default.

  Raises:
    UserError: no such environment, naming the nearest.
  """
  name = base.resolve_name('physics', name, names())
  environment = brax_envs.get_environment(name, backend=backend)
  size = int(environment.action_size)
  spec = types.EnvSpec(
    name=f'physics/{name}',
    observation_shape=(int(environment.observation_size),),
    observation_dtype=np.float32,
    num_actions=size,
    max_episode_steps=_SHORTER.get(name, _MAX_STEPS),
    # Whatever its actuators do, a Brax environment takes these.
    action_low=(-1.0,) * size,
    action_high=(1.0,) * size,
  )
  return base.make_environment(
    spec,
    num_envs,
    reset=environment.reset,
    step=functools.partial(_step, environment),
    observe=lambda state: jnp.asarray(state.obs, jnp.float32),
  )


def _step(
  environment: Any, state: Any, action: jax.Array, rng_key: jax.Array
) -> base.Transition:
  del rng_key  # What is random is random at the start.
  new = environment.step(state, action)
  return base.Transition(new, new.reward, new.done > 0)
