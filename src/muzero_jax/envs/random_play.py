"""Random legal play: what checks and benchmarks step environments with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax import types
from muzero_jax.types import Array


class Rollout(NamedTuple):
  """Rows of a random policy; row t + 1 follows from action t at row t."""

  rows: types.TimeStep  # [T+1, B, ...]
  action: Array  # [T, B] i32, or [T, B, A] f32.


def random_actions(
  spec: types.EnvSpec, row: types.TimeStep, rng_key: Array
) -> Array:
  """Returns legal actions [B, ...], all equally likely.

  Args:
    spec: of the environment.
    row: [B] where they are to be taken.
    rng_key: for the draw.
  """
  if spec.is_continuous:
    return jax.random.uniform(
      rng_key, row.legal_actions.shape, minval=jnp.array(spec.action_low),
      maxval=jnp.array(spec.action_high))
  logits = jnp.where(row.legal_actions, 0.0, -jnp.inf)
  return jax.random.categorical(rng_key, logits).astype(jnp.int32)


def random_rollout(
  environment: types.Environment,
  state: Any,
  row: types.TimeStep,
  rng_key: Array,
  num_steps: int,
) -> tuple[tuple[Any, types.TimeStep], Rollout]:
  """Returns the last state and row, and T + 1 rows of random legal play.

  Args:
    environment: B environments.
    state, row: as `environment.init` or `step` returned them.
    rng_key: draws the actions and drives the environments.
    num_steps: T.
  """

  def body(carry: Any, key: Array) -> tuple[Any, Any]:
    state, row = carry
    action_key, step_key = jax.random.split(key)
    action = random_actions(environment.spec, row, action_key)
    new = environment.step(state, action, step_key)
    return new, (new[1], action)

  carry, (rows, action) = jax.lax.scan(
    body, (state, row), jax.random.split(rng_key, num_steps)
  )
  rows = jax.tree.map(
    lambda first, rest: jnp.concatenate([first[None], rest]), row, rows
  )
  return carry, Rollout(rows, action)
