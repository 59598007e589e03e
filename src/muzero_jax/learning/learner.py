"""Learning: sample, reanalyse, targets and an update as one function."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from muzero_jax import targets, wide_counts
from muzero_jax.config import settings as settings_lib
from muzero_jax.errors import UserError
from muzero_jax.learning import (
  augment,
  fresh_targets,
  learner_state,
  symmetry,
)
from muzero_jax.learning.fresh_targets import Bootstrap, Refresh
from muzero_jax.learning.learner_state import LearnerState
from muzero_jax.learning.symmetry import Symmetries
from muzero_jax.learning.total_loss import Metrics, TotalLoss
from muzero_jax.replay import mixture, ring
from muzero_jax.replay.reanalyse import Reanalyser, ValueFn
from muzero_jax.replay.ring import Sample
from muzero_jax.types import Array, Params, Sequence, Target
from muzero_jax.wide_counts import Count

# Added to each priority, so that no row is never drawn again.
_LEAST_PRIORITY = 1e-3


class Learner(NamedTuple):
  """The learner's functions."""

  init: Callable[[Params], LearnerState]
  # state, replay, rng_key -> state, replay, metrics; `Rings` for a replay where
  # Reanalyse is a stream.
  update: Callable[
    [LearnerState, Any, Array], tuple[LearnerState, Any, Metrics]
  ]
  # state, sequences, targets, weights [N] -> state, metrics.
  step: Callable[
    [LearnerState, Sequence, Target, Array], tuple[LearnerState, Metrics]
  ]


class _Stages(NamedTuple):
  """What an update is made of, in this order; None for what is left out."""

  sample: Callable[..., Sample]
  bootstrap: Bootstrap | None
  refresh: Refresh | None
  turn: Callable[[Array, Sequence], Sequence] | None
  augment: Callable[[Array, Array], Array] | None
  target: Callable[..., Target]
  prioritise: Callable[..., tuple[Array, Any]] | None
  step: Callable[..., tuple[LearnerState, Metrics]]


def make_learner(
  loss: TotalLoss,
  optimiser: optax.GradientTransformation,
  settings: settings_lib.Learning,
  *,
  reanalyser: Reanalyser | None = None,
  value_fn: ValueFn | None = None,
  symmetries: Symmetries | None = None,
  action_bounds: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
  axis_name: str | None = None,
  measures_error: bool = False,
) -> Learner:
  """Make the learner's functions.

  Args:
    loss: as of `total_loss.make_total_loss`.
    optimiser: optax.
    settings: of replay, Reanalyse, targets and updates; `batch_size` is that
      of this device.
    reanalyser: required where sequences are reanalysed within the update.
    value_fn: the network's own value, as of `reanalyse.make_value_fn`; required
      for `fresh_values`.
    symmetries: of the game, by which each sequence is turned at random;
      required for `augment_symmetry`.
    action_bounds: of continuous actions, least [A] and largest [A]; required
      where there are such.
    axis_name: device axis over which gradients and metrics are averaged.
    measures_error: whether the state keeps the error of searched values.

  Raises:
    UserError: sequences are to be reanalysed, bootstrapped afresh or turned,
      and what does it is missing.
  """
  fresh = fresh_targets.num_fresh(
    settings.reanalyse_fraction, settings.batch_size)
  streamed = settings.reanalyse_form == 'stream' and fresh > 0
  store: Any = mixture if streamed else ring
  refresh = fresh_targets.make_refresh(settings, fresh, reanalyser)
  turn = None
  if settings.augment_symmetry:
    if symmetries is None:
      raise UserError('augment_symmetry = True: needs symmetries of the game')
    turn = functools.partial(symmetry.augment, symmetries)
  bootstrap = fresh_targets.make_bootstrap(settings, value_fn)
  needs_all = loss.needs_all_observations
  stages = _Stages(
    sample=_make_sample(settings, fresh, refresh is not None, needs_all),
    bootstrap=bootstrap,
    refresh=refresh,
    turn=turn,
    augment=_make_augment(settings),
    target=_make_target(settings, action_bounds),
    prioritise=functools.partial(
      _prioritise, store, beta=settings.priority_beta,
      axis_name=axis_name) if settings.priority_alpha else None,
    step=functools.partial(
      learner_state.step, loss.loss, optimiser, settings.target_period,
      settings.ema_decay, axis_name),
  )
  return Learner(
    init=functools.partial(
      learner_state.init, optimiser, settings.ema_decay > 0, measures_error),
    update=functools.partial(_update, stages, store, axis_name),
    step=stages.step,
  )


def _update(
  stages: _Stages,
  store: Any,
  axis_name: str | None,
  state: LearnerState,
  buffer: Any,
  rng_key: Array,
) -> tuple[LearnerState, Any, Metrics]:
  """Sample a batch, make its targets and train on it once.

  Args:
    stages: what is done.
    store: the module that knows the buffer, `ring` or `mixture`.
    axis_name: device axis, or None.
    state: of the learner.
    buffer: the replay, or `Rings`.
    rng_key: consumed.
  """
  sample_key, reanalyse_key, turn_key, target_key, augment_key = (
    jax.random.split(rng_key, 5))
  batch = stages.sample(buffer, sample_key)
  # A ring knows the steps of its own environments alone.
  devices = 1 if axis_name is None else jax.lax.psum(1, axis_name)
  ages = store.ages(buffer, batch) * devices
  sequence = batch.sequence
  if stages.bootstrap is not None:
    sequence = stages.bootstrap(state.target_params, buffer, batch, ages)
  if stages.refresh is not None:
    params = learner_state.to_search(state, state.target_params)
    sequence = stages.refresh(params, reanalyse_key, sequence)
  if stages.turn is not None:
    sequence = stages.turn(turn_key, sequence)
  if stages.augment is not None:
    sequence = sequence._replace(
      observation=stages.augment(augment_key, sequence.observation))
  num_updates = state.num_updates
  target = stages.target(target_key, sequence, ages, num_updates)
  weights = jnp.ones(ages.shape[0], jnp.float32)
  if stages.prioritise is not None:
    weights, buffer = stages.prioritise(buffer, batch, sequence, target)
  state, metrics = stages.step(state, sequence, target, weights)
  metrics = metrics._replace(sample_age=_mean(ages, axis_name))
  if store is mixture:
    age = mixture.target_age(buffer, batch, num_updates)
    metrics = metrics._replace(target_age=_mean(age, axis_name))
  return state, buffer, metrics


def _make_sample(
  settings: settings_lib.Learning,
  fresh: int,
  refreshes: bool,
  needs_all_observations: bool,
) -> Callable[..., Sample]:
  """Return the function that draws a batch of windows.

  Args:
    settings: of the learner.
    fresh: sequences of each batch that are reanalysed.
    refreshes: whether that happens within the update.
    needs_all_observations: whether the loss reads those of all K + 1 rows.
  """
  window = settings.unroll_steps + 1 + settings.td_steps
  observed_rows = 1
  if refreshes:
    observed_rows = window
  elif needs_all_observations:
    observed_rows = settings.unroll_steps + 1
  shared: dict[str, Any] = dict(
    batch_size=settings.batch_size,
    window=window,
    stacked_frames=settings.stacked_frames,
    stack_actions=settings.stack_actions,
    observed_rows=observed_rows,
    alpha=settings.priority_alpha,
  )
  if fresh and not refreshes:
    return functools.partial(mixture.sample, num_reanalysed=fresh, **shared)
  return functools.partial(ring.sample, **shared)


def _make_augment(
  settings: settings_lib.Learning,
) -> Callable[[Array, Array], Array] | None:
  """Return the function that changes images; None for none."""
  if not (settings.shift_pixels or settings.intensity_scale):
    return None
  return functools.partial(
    augment.augment,
    pixels=settings.shift_pixels, scale=settings.intensity_scale)


def _make_target(
  settings: settings_lib.Learning,
  action_bounds: tuple[tuple[float, ...], tuple[float, ...]],
) -> Callable[..., Target]:
  """Return the function that makes the targets of a batch."""
  make = functools.partial(
    targets.make_targets,
    unroll_steps=settings.unroll_steps,
    td_steps=settings.td_steps,
    discount=settings.discount,
    value_target=settings.value_target,
    td_lambda=settings.td_lambda,
    action_bounds=action_bounds,
  )
  return functools.partial(_targets, make, settings)


def _targets(
  make: Callable[..., Target],
  settings: settings_lib.Targets,
  rng_key: Array,
  sequence: Sequence,
  ages: Array,
  num_updates: Count,
) -> Target:
  """Return targets [N, ...] of a batch.

  Args:
    make: `targets.make_targets` with its settings bound.
    settings: what ages change.
    rng_key: for the actions after an episode's end.
    sequence: [N, L, ...]
    ages: [N] environment steps since the samples were played.
    num_updates: [] made so far.
  """
  limits, stale = fresh_targets.td_limits(settings, ages), None
  if settings.mixed_value_age:
    stale = targets.is_stale(
      ages, wide_counts.as_small(num_updates), oldest=settings.mixed_value_age,
      start=settings.mixed_value_start)
  keys = jax.random.split(rng_key, ages.shape[0])
  return jax.vmap(make)(keys, sequence, td_limit=limits, stale=stale)


def _mean(x: Array, axis_name: str | None) -> Array:
  """Returns the mean over all entries, and over devices if there are any."""
  mean = x.mean(dtype=jnp.float32)
  return mean if axis_name is None else jax.lax.pmean(mean, axis_name)


def _prioritise(
  store: Any,
  buffer: Any,
  batch: Sample,
  sequence: Sequence,
  target: Target,
  *,
  beta: float,
  axis_name: str | None,
) -> tuple[Array, Any]:
  """Returns importance weights and the replay with new priorities.

  |search value - n-step return| + epsilon (MuZero appendix G). `store` is the
  module that knows the buffer, `ring` or `mixture`.
  """
  probability = batch.probability
  total = store.num_rows(buffer, batch)
  if axis_name is not None:
    # Every device draws its own part of the batch from its own part of the
    # ring: a row's chance among all rows is 1 / devices of its chance there.
    devices = jax.lax.psum(1, axis_name)
    probability, total = probability / devices, total * devices
  weights = ring.importance_weights(
    probability, total, beta=beta, axis_name=axis_name
  )
  priority = jnp.abs(sequence.value[:, 0] - target.value[:, 0])
  priority = priority + _LEAST_PRIORITY
  # A broken value must not poison the sums that all later draws rest on.
  old = store.priority_of(buffer, batch)
  priority = jnp.where(jnp.isfinite(priority), priority, old)
  return weights, store.set_priority(buffer, batch, priority)
