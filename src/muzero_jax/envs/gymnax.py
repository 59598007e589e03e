"""Environments of gymnax 1.x, behind `envs.make`.

Family `gymnax` has those with discrete actions, `continuous` those whose
actions are floats between bounds.

gymnax's own `step` resets within the step that ends an episode; its
`step_env`, used here, leaves the final state in place.
"""

import functools
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces

from muzero_jax import types
from muzero_jax.envs import base, naming, shapes
from muzero_jax.errors import UserError


class GymnaxState(NamedTuple):
  """State of one environment."""

  state: Any
  observation: jax.Array  # gymnax returns it with the state.


def names() -> tuple[str, ...]:
  """Returns the names that gymnax knows, continuous control included."""
  return tuple(gymnax.registered_envs)


def spec(name: str, *, family: str = 'gymnax') -> types.EnvSpec:
  """Returns what `make`'s environments look like, building none.

  Args and errors are those of `make`.
  """
  name = naming.resolve_name(family, name, names())
  return _spec(family, name, *_load(name))


def make(
  name: str, num_envs: int, *, family: str = 'gymnax'
) -> types.Environment:
  """Returns B environments of gymnax with their default parameters.

  Args:
    name: for example "Acrobot-v1", or of `continuous` "Pendulum-v1".
    num_envs: B.
    family: 'gymnax' or 'continuous'.

  Raises:
    UserError: no such environment, naming the nearest; or its actions are
      of the other family, or its observation is not one array.
  """
  name = naming.resolve_name(family, name, names())
  environment, params = _load(name)
  return base.make_environment(
    _spec(family, name, environment, params),
    num_envs,
    reset=functools.partial(_reset, environment, params),
    step=functools.partial(_step, environment, params),
    observe=functools.partial(_observe, _num_states(environment, params)),
  )


def _num_states(environment: Any, params: Any) -> int:
  """Returns how many states are observed by their number; 0 for arrays."""
  space = environment.observation_space(params)
  return int(space.n) if isinstance(space, spaces.Discrete) else 0


def _observe(num_states: int, state: GymnaxState) -> jax.Array:
  """Returns the observation; of a state's number, a one-hot vector."""
  if not num_states:
    return state.observation
  return jax.nn.one_hot(state.observation, num_states, dtype=jnp.float32)


def _load(name: str) -> tuple[Any, Any]:
  """Returns gymnax's environment and its default parameters.

  Raises:
    UserError: it needs data that cannot be had.
  """
  try:
    return gymnax.make(name)
  except OSError as error:
    raise UserError(
      f'env_id = {name!r} takes its data from the network, which failed: '
      f'{error}') from None


@shapes.in_32_bits
def _spec(
  family: str, name: str, environment: Any, params: Any
) -> types.EnvSpec:
  """Returns the spec of an environment of gymnax.

  The observation is that of a reset, traced: gymnax's spaces do not always
  tell the dtype that really comes.

  Raises:
    UserError: as `make` does.
  """
  actions = _actions(family, name, environment.action_space(params))
  observation, _ = jax.eval_shape(
    environment.reset_env, jax.random.key(0), params
  )
  if not hasattr(observation, 'shape'):
    raise UserError(
      f'env_id = {name!r}: gymnax observes it as several arrays; only those '
      'that are observed as one are allowed'
    )
  num_states = _num_states(environment, params)
  return types.EnvSpec(
    name=f'{family}/{name}',
    observation_shape=(num_states,) if num_states else observation.shape,
    observation_dtype=np.dtype(
      np.float32 if num_states else observation.dtype),
    **actions,
    max_episode_steps=int(getattr(params, 'max_steps_in_episode', 0)),
  )


def _actions(family: str, name: str, space: Any) -> dict[str, Any]:
  """Returns the fields of a spec that say what actions are.

  Raises:
    UserError: they are not those of the family, or have no bounds.
  """
  is_discrete = hasattr(space, 'n')
  if is_discrete != (family == 'gymnax'):
    kind, other = 'discrete', 'gymnax'
    if not is_discrete:
      kind, other = 'continuous', 'continuous'
    raise UserError(
      f'env_id: the actions of gymnax {name!r} are {kind}; take family = '
      f'{other!r}'
    )
  if is_discrete:
    return dict(num_actions=int(space.n))
  shape = space.shape or (1,)
  if len(shape) != 1:
    raise UserError(
      f'env_id = {name!r}: its actions have shape {shape}; only vectors are '
      'allowed'
    )
  bounds = (
    tuple(float(x) for x in np.broadcast_to(bound, shape))
    for bound in (space.low, space.high)
  )
  return dict(zip(
    ('num_actions', 'action_low', 'action_high'), (shape[0], *bounds)
  ))


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
