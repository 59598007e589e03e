"""MuZero's three functions h, g and f as one record of pure functions."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax import losses
from muzero_jax.types import Array, Model, ModelOutput, Params

# The states along an unroll are of no use once their heads are read.
_NO_STATE: Any = None


def make_model(network: nn.Module) -> Model:
  """Returns the pure functions of a Flax network.

  Args:
    network: a module with methods `root(observation [B, ...])` and
      `step(state [B, ...], action [B])`, both returning a `ModelOutput`.
  """

  def init(rng_key: Array, observation: Array) -> Params:
    return network.init(rng_key, observation, method=_touch_all)

  def root(params: Params, observation: Array) -> ModelOutput:
    output: Any = network.apply(params, observation, method='root')
    return output

  def step(params: Params, state: Array, action: Array) -> ModelOutput:
    output: Any = network.apply(params, state, action, method='step')
    return output

  return Model(init=init, root=root, step=step)


def _touch_all(network: nn.Module, observation: Array) -> ModelOutput:
  """Runs h, g and f once, so that `init` creates every parameter."""
  state = network.root(observation).state
  return network.step(state, jnp.zeros(observation.shape[0], jnp.int32))


def unroll(
  model: Model,
  params: Params,
  observation: Array,
  action: Array,
  *,
  state_gradient_scale: float = 0.5,
) -> ModelOutput:
  """Returns the model's outputs along K actions (MuZero equation 1).

  The gradient of the hidden state is halved where it enters the next dynamics
  call, and only there (MuZero appendix G).

  Args:
    model: functions h, g, f.
    params: of the model.
    observation: [B, ...] of unroll step 0.
    action: [B, K]
    state_gradient_scale: factor of the gradient between dynamics calls.

  Returns:
    A `ModelOutput` with axes [B, K + 1, ...]; its states are None.
  """
  chex.assert_equal_shape_prefix([observation, action], 1)

  def body(
    state: Array, action_k: Array
  ) -> tuple[Array, ModelOutput]:
    state = losses.scale_gradient(state, state_gradient_scale)
    output = model.step(params, state, action_k)
    return output.state, output._replace(state=_NO_STATE)

  root = model.root(params, observation)
  _, steps = jax.lax.scan(body, root.state, action.T)
  return jax.tree.map(
    lambda first, rest: jnp.moveaxis(
      jnp.concatenate([first[None], rest]), 0, 1
    ),
    root._replace(state=_NO_STATE),
    steps,
  )
