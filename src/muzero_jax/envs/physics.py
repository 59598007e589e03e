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
from muzero_jax.envs import base, naming, shapes
from muzero_jax.errors import UserError

# Brax's time limits: 1,000 steps, but for those that its pages say.
_MAX_STEPS = 1_000
_SHORTER = {'pusher': 100, 'reacher': 50}
_BACKENDS = ('generalized', 'positional', 'spring', 'mjx')


def names() -> tuple[str, ...]:
  """Returns the names that Brax knows, but for its test environment."""
  return tuple(sorted({*brax_envs._envs} - {'fast'}))


def spec(name: str, *, backend: str = 'generalized') -> types.EnvSpec:
  """Returns what `make`'s environments look like, building no batch.

  Args and errors are those of `make`.
  """
  name = naming.resolve_name('physics', name, names())
  return _spec(name, _load(name, backend))


def make(
  name: str, num_envs: int, *, backend: str = 'generalized'
) -> types.Environment:
  """Returns B environments of Brax.

  Args:
    name: for example "reacher" or "inverted_pendulum".
    num_envs: B.
    backend: of the physics; Brax's default.

  Raises:
    UserError: no such environment, naming the nearest; or no such backend.
  """
  name = naming.resolve_name('physics', name, names())
  environment = _load(name, backend)
  return base.make_environment(
    _spec(name, environment),
    num_envs,
    reset=environment.reset,
    step=functools.partial(_step, environment),
    observe=lambda state: jnp.asarray(state.obs, jnp.float32),
    reset_is_dear=True,  # It solves for a whole state of the bodies.
  )


def _load(name: str, backend: str) -> Any:
  if backend not in _BACKENDS:
    raise UserError(
      f'backend = {backend!r} is not one of {", ".join(_BACKENDS)}')
  return brax_envs.get_environment(name, backend=backend)


@shapes.in_32_bits
def _spec(name: str, environment: Any) -> types.EnvSpec:
  """Returns the spec of an environment of Brax."""
  size = int(environment.action_size)
  # Brax's own `observation_size` runs a reset; this one is only traced.
  first = jax.eval_shape(environment.reset, jax.random.key(0))
  return types.EnvSpec(
    name=f'physics/{name}',
    observation_shape=first.obs.shape,
    observation_dtype=np.float32,
    num_actions=size,
    max_episode_steps=_SHORTER.get(name, _MAX_STEPS),
    # Whatever its actuators do, a Brax environment takes these.
    action_low=(-1.0,) * size,
    action_high=(1.0,) * size,
  )


def _step(
  environment: Any, state: Any, action: jax.Array, rng_key: jax.Array
) -> base.Transition:
  del rng_key  # What is random is random at the start.
  new = environment.step(state, action)
  return base.Transition(new, new.reward, new.done > 0)
