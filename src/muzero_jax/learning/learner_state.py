"""What an optimiser's step changes: parameters, their copies, its counters."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from muzero_jax import wide_counts
from muzero_jax.learning import search_error
from muzero_jax.learning.search_error import Sums
from muzero_jax.learning.total_loss import LossFn, Metrics
from muzero_jax.types import Array, Params, ScaledParams, Sequence, Target
from muzero_jax.wide_counts import Count

# So many skipped updates in a row end the run.
MAX_SKIPS = 3
# The running mean spans the last 1 / _SHARE of the updates at most.
_SHARE = 5


class LearnerState(NamedTuple):
  """Parameters and optimiser; replicated over devices."""

  params: Params
  target_params: Params
  average_params: Params  # Running mean of `params`; None if none is kept.
  opt_state: Any
  num_updates: Count  # [] updates tried, skipped ones included.
  num_skipped: Array  # [] i32, updates skipped as not finite.
  skips_in_a_row: Array  # [] i32, stays at MAX_SKIPS once reached.
  # [] f32, the least range of q-values that `learning.search_error` measures;
  # None where it is not measured.
  search_error: Array | None = None
  search_sums: Sums | None = None  # What it is measured from.


def init(
  optimiser: optax.GradientTransformation,
  averages: bool,
  measures: bool,
  params: Params,
) -> LearnerState:
  """Returns the state before the first update.

  Args:
    optimiser: optax.
    averages: whether a running mean of the parameters is kept.
    measures: whether the error of searched values is measured.
    params: of the model.
  """
  zero = jnp.zeros((), jnp.int32)
  sums = search_error.init() if measures else None
  return LearnerState(
    params=params,
    target_params=jax.tree.map(jnp.copy, params),
    average_params=jax.tree.map(jnp.copy, params) if averages else None,
    opt_state=optimiser.init(params),
    num_updates=wide_counts.zero(),
    num_skipped=zero,
    skips_in_a_row=zero,
    search_error=search_error.least_range(sums) if sums else None,
    search_sums=sums,
  )


def step(
  loss_fn: LossFn,
  optimiser: optax.GradientTransformation,
  target_period: int,
  ema_decay: float,
  axis_name: str | None,
  state: LearnerState,
  sequence: Sequence,
  target: Target,
  weights: Array,
) -> tuple[LearnerState, Metrics]:
  """Returns the learner after one update, or unchanged but for its counters.

  Args:
    loss_fn: (params, sequence, target, weights) -> loss, metrics.
    optimiser: optax.
    target_period: updates between refreshes of the target network.
    ema_decay: per update, of the running mean of the parameters.
    axis_name: device axis, or None.
    state: of the learner.
    sequence: [N, L, ...]
    target: [N, ...]
    weights: [N] importance weights.
  """
  chex.assert_equal_shape_prefix([sequence.reward, target.value, weights], 1)
  grads, metrics = jax.grad(loss_fn, has_aux=True)(
    state.params, sequence, target, weights
  )
  if axis_name is not None:
    low = jax.lax.pmin(metrics.weight_min, axis_name)
    high = jax.lax.pmax(metrics.value_target_max, axis_name)
    grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
    metrics = metrics._replace(weight_min=low, value_target_max=high)
  grad_norm = optax.tree.norm(grads)
  finite = jnp.isfinite(metrics.loss) & jnp.isfinite(grad_norm)
  # A failed run stays failed until its driver has seen it.
  failed = state.skips_in_a_row >= MAX_SKIPS
  apply = finite & ~failed
  changes, opt_state = optimiser.update(grads, state.opt_state, state.params)
  metrics = metrics._replace(
    grad_norm=grad_norm, update_norm=optax.tree.norm(changes)
  )
  params = optax.apply_updates(state.params, changes)
  keep = lambda new, old: jnp.where(apply, new, old)
  params = jax.tree.map(keep, params, state.params)
  num_updates = wide_counts.add(state.num_updates, 1)
  refresh = wide_counts.is_multiple(num_updates, target_period)
  # The mean spans a fixed share of all updates until it reaches the decay, so
  # that it does not lag far behind in a short run (Shamir and Zhang 2013,
  # polynomial-decay averaging with eta = _SHARE - 1).
  applied = wide_counts.as_float(state.num_updates) - state.num_skipped
  decay = jnp.minimum(ema_decay, applied / (applied + _SHARE))
  return state._replace(
    params=params,
    target_params=jax.tree.map(
      lambda new, old: jnp.where(refresh, new, old),
      params,
      state.target_params,
    ),
    # An update that was skipped moves nothing, the mean included.
    average_params=jax.tree.map(
      lambda new, old: jnp.where(apply, old + (1 - decay) * (new - old), old),
      params if state.average_params is not None else None,
      state.average_params,
    ),
    opt_state=jax.tree.map(keep, opt_state, state.opt_state),
    num_updates=num_updates,
    num_skipped=state.num_skipped + ~finite,
    skips_in_a_row=jnp.where(
      failed, MAX_SKIPS, jnp.where(finite, 0, state.skips_in_a_row + 1)
    ),
  ), metrics


def final_params(state: LearnerState) -> Params:
  """Returns the parameters to play with: the running mean, if one is kept.

  With the error of the values, where that is measured.
  """
  if state.average_params is None:
    return to_search(state, state.params)
  return to_search(state, state.average_params)


def to_search(state: LearnerState, params: Params) -> Params:
  """Returns `params`, with the error of the values where it is measured."""
  if state.search_error is None:
    return params
  return ScaledParams(params, state.search_error)
