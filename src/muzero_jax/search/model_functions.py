"""mctx's view of a model: its functions as a search calls them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx

from muzero_jax.transforms import Transform
from muzero_jax.types import Array, Model, Params, PrefixState


class _Embedding(NamedTuple):
  """What a node holds where rewards are differences of value prefixes."""

  state: PrefixState
  prefix: Array  # [B] sum of the rewards up to this node.


def root(
  model: Model, value_transform: Transform, params: Params, observation: Array
) -> mctx.RootFnOutput:
  output = model.root(params, observation)
  return mctx.RootFnOutput(
    prior_logits=output.policy_logits,
    value=value_transform.invert(output.value_logits),
    embedding=_Embedding(output.state, jnp.zeros(
      len(output.value_logits), jnp.float32))
    if model.prefix_steps
    else output.state,
  )


def recurrent_fns(
  model: Model,
  value_transform: Transform,
  reward_transform: Transform,
  discount: float,
) -> dict[str, Callable[..., Any]]:
  """Returns mctx's recurrent functions of a model, by their names there."""
  if model.afterstate is None:
    return {'recurrent_fn': functools.partial(
      _recurrent_fn, model, value_transform, reward_transform, discount
    )}
  return {
    'decision_recurrent_fn': functools.partial(
      _decision_fn, model, value_transform
    ),
    'chance_recurrent_fn': functools.partial(
      _chance_fn, model, value_transform, reward_transform, discount
    ),
  }


def _recurrent_fn(
  model: Model,
  value_transform: Transform,
  reward_transform: Transform,
  discount: float,
  params: Params,
  rng_key: Array,
  action: Array,
  state: Any,
) -> tuple[mctx.RecurrentFnOutput, Any]:
  """Returns mctx's view of f(g(s, a)); `discount` carries the players' sign."""
  del rng_key  # The model is deterministic.
  before = state
  if model.prefix_steps:
    state = before.state
  output = model.step(params, state, action)
  value = value_transform.invert(output.value_logits)
  reward = reward_transform.invert(output.reward_logits)
  embedding = output.state
  if model.prefix_steps:
    embedding = _Embedding(output.state, reward)
    starts = state.num_steps % model.prefix_steps == 0
    reward = reward - jnp.where(starts, 0.0, before.prefix)
  return mctx.RecurrentFnOutput(
    reward=reward,
    discount=jnp.full_like(value, discount),
    prior_logits=output.policy_logits,
    value=value,
  ), embedding


def _decision_fn(
  model: Model,
  value_transform: Transform,
  params: Params,
  rng_key: Array,
  action: Array,
  state: Array,
) -> tuple[mctx.DecisionRecurrentFnOutput, Array]:
  """Returns mctx's view of psi(phi(s, a))."""
  del rng_key
  assert model.afterstate is not None
  output = model.afterstate(params, state, action)
  return mctx.DecisionRecurrentFnOutput(
    chance_logits=output.chance_logits,
    afterstate_value=value_transform.invert(output.value_logits),
  ), output.state


def _chance_fn(
  model: Model,
  value_transform: Transform,
  reward_transform: Transform,
  discount: float,
  params: Params,
  rng_key: Array,
  outcome: Array,
  afterstate: Array,
) -> tuple[mctx.ChanceRecurrentFnOutput, Array]:
  """Returns mctx's view of f(g(as, c)): the reward belongs to chance."""
  del rng_key
  assert model.chance is not None
  output = model.chance(
    params, afterstate,
    jax.nn.one_hot(outcome, model.num_codes, dtype=jnp.float32)
  )
  value = value_transform.invert(output.value_logits)
  return mctx.ChanceRecurrentFnOutput(
    action_logits=output.policy_logits,
    value=value,
    reward=reward_transform.invert(output.reward_logits),
    discount=(
      jnp.full_like(value, discount)
      if model.turn is None
      else _signed_discounts(model.turn(params, afterstate), discount)
    ),
  ), output.state


def _signed_discounts(logits: Array, discount: float) -> Array:
  """Returns the signed discount of each transition, as the model has it.

  gamma (1 - 2 [p > 1/2]), p the probability that the turn passes. The decision
  is hard: a mean of both signs would be worth nothing where the model is
  unsure, whoever moves.

  Args:
    logits: [...] of p.
    discount: gamma of one step.
  """
  return jnp.where(logits > 0, -discount, discount)
