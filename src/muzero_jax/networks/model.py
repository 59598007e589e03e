"""MuZero's functions as one record of pure functions, and their unroll.

h, g and f; for Stochastic MuZero also the afterstate's phi and psi and the
encoder e, which `stochastic` unrolls.
"""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax import losses
from muzero_jax.types import Array, Model, ModelOutput, Params, PrefixState

# The states along an unroll are of no use once their heads are read.
_NO_STATE: Any = None


def make_model(network: nn.Module) -> Model:
  """Returns the pure functions of a Flax network.

  Args:
    network: a module with methods `root(observation [B, ...])` and
      `step(state [B, ...], action [B])`, or [B, A] floats where it has bounds
      `action_low`; both return a `ModelOutput`. With an attribute `num_codes`
      above 0 it has Stochastic MuZero's methods too (see
      `networks.StochasticMLPNetwork`), with `predicts_turn` its `turn`, with
      `projection` above 0 those of `networks.projection.Projecting`.
  """

  def init(rng_key: Array, observation: Array) -> Params:
    return network.init(rng_key, observation, method=_touch_all)

  functions = Model(
    init=init, root=_method(network, 'root'), step=_method(network, 'step')
  )
  num_codes = getattr(network, 'num_codes', 0)
  if num_codes:
    functions = functions._replace(
      afterstate=_method(network, 'afterstate'),
      chance=_method(network, 'chance'),
      encode=_method(network, 'encode'),
      num_codes=num_codes,
    )
  if getattr(network, 'predicts_turn', False):
    functions = functions._replace(turn=_method(network, 'turn'))
  if getattr(network, 'projection', 0):
    functions = functions._replace(
      project=_method(network, 'project'),
      predict=_method(network, 'predict'),
    )
  return functions._replace(prefix_steps=getattr(network, 'prefix_steps', 0))


def hidden_of(state: Any) -> Array:
  """Returns what h and g made of a state, without a value prefix's memory."""
  return state.hidden if isinstance(state, PrefixState) else state


def _method(network: nn.Module, name: str) -> Callable[..., Any]:
  """Returns a network's method as a function of its parameters."""

  def function(params: Params, *inputs: Array) -> Any:
    return network.apply(params, *inputs, method=name)

  return function


def _touch_all(network: nn.Module, observation: Array) -> ModelOutput:
  """Runs all functions once, so that `init` creates every parameter."""
  made: Any = network
  state = made.root(observation).state
  if getattr(network, 'num_codes', 0):
    made.encode(
      observation, jnp.zeros(observation.shape[0], jnp.int32), observation)
  if getattr(network, 'predicts_turn', False):
    made.turn(hidden_of(state))
  if getattr(network, 'projection', 0):
    made.predict(hidden_of(state))
  size = observation.shape[0]
  if low := getattr(network, 'action_low', ()):
    return made.step(state, jnp.zeros((size, len(low)), jnp.float32))
  return made.step(state, jnp.zeros(size, jnp.int32))


def unroll(
  model: Model,
  params: Params,
  observation: Array,
  action: Array,
  *,
  state_gradient_scale: float = 0.5,
  keep_states: bool = False,
) -> ModelOutput:
  """Returns the model's outputs along K actions (MuZero equation 1).

  The gradient of the hidden state is halved where it enters the next dynamics
  call, and only there (MuZero appendix G).

  Args:
    model: functions h, g, f.
    params: of the model.
    observation: [B, ...] of unroll step 0.
    action: [B, K], or [B, K, A] floats.
    state_gradient_scale: factor of the gradient between dynamics calls.
    keep_states: whether the hidden states are wanted.

  Returns:
    A `ModelOutput` with axes [B, K + 1, ...]; its states are None unless
    kept.
  """
  chex.assert_equal_shape_prefix([observation, action], 1)

  def body(
    state: Any, action_k: Array
  ) -> tuple[Any, ModelOutput]:
    state = scale_state_gradient(state, state_gradient_scale)
    output = model.step(params, state, action_k)
    return output.state, output if keep_states else without_state(output)

  root = model.root(params, observation)
  _, steps = jax.lax.scan(body, root.state, jnp.swapaxes(action, 0, 1))
  return join(root, steps)


def scale_state_gradient(state: Any, scale: float) -> Any:
  """Returns a state of which the gradient is scaled, its memory's too."""
  return jax.tree.map(
    lambda x: (
      losses.scale_gradient(x, scale)
      if jnp.issubdtype(x.dtype, jnp.floating)
      else x
    ),
    state,
  )


def without_state(output: ModelOutput) -> ModelOutput:
  """Returns an output of which only the heads are left."""
  return output._replace(state=_NO_STATE)


def join(root: ModelOutput, steps: ModelOutput) -> ModelOutput:
  """Returns root [B, ...] and steps [K, B, ...] as one [B, K + 1, ...].

  Without the root's state where the steps have none.
  """
  if steps.state is None:
    root = without_state(root)
  return jax.tree.map(
    lambda first, rest: jnp.moveaxis(
      jnp.concatenate([first[None], rest]), 0, 1
    ),
    root,
    steps,
  )
