"""Decisions and chance as nodes of one kind, over A actions and C outcomes."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import mctx

from muzero_jax.types import Array, Params


@chex.dataclass(frozen=True)
class StochasticState:
  """What a node of a stochastic search holds.

  state_embedding: [B, ...] meaningful at decision nodes.
  afterstate_embedding: [B, ...] meaningful at chance nodes.
  is_decision_node: [B] bool.
  """

  state_embedding: Any
  afterstate_embedding: Any
  is_decision_node: Array


def with_chance(
  params: Params,
  rng_key: Array,
  root: mctx.RootFnOutput,
  decision_fn: Callable[..., Any],
  chance_fn: Callable[..., Any],
) -> tuple[mctx.RootFnOutput, Callable[..., Any], int]:
  """Returns root and recurrent function over A actions and C outcomes; C."""
  batch_size, num_actions = root.prior_logits.shape
  output, afterstate = jax.eval_shape(
    decision_fn, params, rng_key,
    jax.ShapeDtypeStruct((batch_size,), jnp.int32), root.embedding,
  )
  num_outcomes = output.chance_logits.shape[-1]
  root = root.replace(  # type: ignore[attr-defined]
    prior_logits=_with_outcomes(root.prior_logits, num_outcomes),
    embedding=StochasticState(  # type: ignore[call-arg]
      state_embedding=root.embedding,
      afterstate_embedding=jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), afterstate
      ),
      is_decision_node=jnp.ones(batch_size, bool),
    ),
  )
  recurrent_fn = functools.partial(
    _recurrent_fn, decision_fn, chance_fn, (num_actions, num_outcomes))
  return root, recurrent_fn, num_outcomes


def without_outcomes(
  invalid_actions: Array | None, num_outcomes: int
) -> Array | None:
  """Returns a mask [B, A + C] of a root, where no outcome can be chosen."""
  if invalid_actions is None:
    return None
  mask = jnp.asarray(invalid_actions)
  outcomes = jnp.ones((mask.shape[0], num_outcomes), mask.dtype)
  return jnp.concatenate([mask, outcomes], axis=-1)


def _with_outcomes(action_logits: Array, num_outcomes: int) -> Array:
  """Returns logits over A actions and C outcomes, none for the outcomes."""
  shape = (action_logits.shape[0], num_outcomes)
  return jnp.concatenate([action_logits, jnp.full(shape, -jnp.inf)], axis=-1)


def _recurrent_fn(
  decision_fn: Callable[..., Any],
  chance_fn: Callable[..., Any],
  sizes: tuple[int, int],
  params: Params,
  rng_key: Array,
  edge: Array,
  state: StochasticState,
) -> tuple[mctx.RecurrentFnOutput, StochasticState]:
  """Take edges [B], each an action or an outcome; `sizes` are A and C."""
  num_actions, num_outcomes = sizes
  is_decision = state.is_decision_node

  def only_decide() -> Any:
    output, after = decision_fn(params, rng_key, edge, state.state_embedding)
    made = _as_decision(output, num_actions)
    return made, after, state.state_embedding

  def only_happen() -> Any:
    output, new_state = chance_fn(
      params, rng_key, edge - num_actions, state.afterstate_embedding
    )
    happened = _as_chance(output, num_outcomes)
    return happened, state.afterstate_embedding, new_state

  def both() -> Any:
    made, after, _ = only_decide()
    happened, _, new_state = only_happen()
    return _where(is_decision, made, happened), after, new_state

  output, after, new_state = jax.lax.switch(
    jnp.where(is_decision.all(), 0, jnp.where(is_decision.any(), 2, 1)),
    _alike(only_decide, only_happen, both),
  )
  return output, StochasticState(  # type: ignore[call-arg]
    state_embedding=new_state,
    afterstate_embedding=after,
    is_decision_node=~is_decision,
  )


def _as_decision(output: Any, num_actions: int) -> mctx.RecurrentFnOutput:
  """Returns an afterstate as a node whose edges are outcomes."""
  value = output.afterstate_value
  none = jnp.full((value.shape[0], num_actions), -jnp.inf)
  return mctx.RecurrentFnOutput(  # type: ignore[call-arg]
    prior_logits=jnp.concatenate([none, output.chance_logits], axis=-1),
    value=value,
    reward=jnp.zeros_like(value),
    discount=jnp.ones_like(value),
  )


def _as_chance(output: Any, num_outcomes: int) -> mctx.RecurrentFnOutput:
  """Returns a state as a node whose edges are actions."""
  return mctx.RecurrentFnOutput(  # type: ignore[call-arg]
    prior_logits=_with_outcomes(output.action_logits, num_outcomes),
    value=output.value,
    reward=output.reward,
    discount=output.discount,
  )


def _where(mask: Array, some: Any, others: Any) -> Any:
  """Returns the arrays [B, ...] of `some` where the mask [B] is true."""
  return jax.tree.map(
    lambda a, b: jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b),
    some,
    others,
  )


def _alike(*branches: Callable[[], Any]) -> list[Callable[[], Any]]:
  """Returns the branches, all with the types of the last.

  The user's two functions may differ in theirs, and a switch must not.
  """
  wanted = jax.eval_shape(branches[-1])

  def cast(branch: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: jax.tree.map(
      lambda x, like: x.astype(like.dtype), branch(), wanted
    )

  return [cast(branch) for branch in branches]
