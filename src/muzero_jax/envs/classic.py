"""CartPole-v1 in pure JAX: the smallest example of adding an environment.

One of the environments behind `envs.make`; the functions below are of ONE
environment, `base.make_environment` does the rest.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import types
from muzero_jax.envs import base, naming

NAMES = ('cartpole',)


class CartPole(NamedTuple):
  """State of the cart and its pole."""

  x: jax.Array  # [] metres.
  x_dot: jax.Array  # [] metres per second.
  theta: jax.Array  # [] radians from upright.
  theta_dot: jax.Array  # [] radians per second.


def _reset(rng_key: jax.Array) -> CartPole:
  return CartPole(*jax.random.uniform(rng_key, (4,), minval=-.05, maxval=.05))


def _step(
  state: CartPole, action: jax.Array, rng_key: jax.Array
) -> base.Transition:
  del rng_key
  x, x_dot, theta, theta_dot = state
  force = jnp.where(action == 1, 10.0, -10.0)  # Newton.
  cos, sin = jnp.cos(theta), jnp.sin(theta)
  # Cart 1 kg, pole 0.1 kg and half-length 0.5 m, 0.02 s per Euler step.
  temp = (force + 0.05 * theta_dot**2 * sin) / 1.1
  theta_acc = (9.8 * sin - cos * temp) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
  x_acc = temp - 0.05 * theta_acc * cos / 1.1
  state = CartPole(
    x + 0.02 * x_dot, x_dot + 0.02 * x_acc,
    theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc)
  fallen = (jnp.abs(state.x) > 2.4) | (jnp.abs(state.theta) > jnp.pi / 15)
  return base.Transition(state, jnp.float32(1), fallen)


def names() -> tuple[str, ...]:
  """Returns the names of all environments of the family."""
  return NAMES


def spec(name: str = 'cartpole') -> types.EnvSpec:
  """Returns what `make`'s environments look like, building none.

  Raises:
    UserError: no such environment, naming the nearest.
  """
  name = naming.resolve_name('classic', name, NAMES)
  return types.EnvSpec(
    name=f'classic/{name}', observation_shape=(4,),
    observation_dtype=np.float32, num_actions=2, max_episode_steps=500,
    action_names=('left', 'right'))


def make(name: str = 'cartpole', num_envs: int = 1) -> types.Environment:
  """Returns B CartPoles with the dynamics of Gymnasium's CartPole-v1.

  Reward 1 per step; 500 steps are a time limit, hence a truncation.

  Raises:
    UserError: no such environment, naming the nearest; or num_envs is below 1.
  """
  return base.make_environment(
    spec(name), num_envs, reset=_reset, step=_step, observe=jnp.stack)
