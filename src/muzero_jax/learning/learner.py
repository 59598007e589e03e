"""Learning: sample, reanalyse, targets and an update as one function."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from muzero_jax import targets
from muzero_jax.errors import UserError
from muzero_jax.learning import augment, learner_state, symmetry
from muzero_jax.learning.learner_state import LearnerState
from muzero_jax.learning.symmetry import Symmetries
from muzero_jax.learning.total_loss import Metrics, Objective
from muzero_jax.replay import mixture, reanalyse, ring
from muzero_jax.replay.ring import Sample
from muzero_jax.search import Search
from muzero_jax.types import Array, Params, Sequence, Target


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


def make_learner(
  objective: Objective,
  optimiser: optax.GradientTransformation,
  *,
  batch_size: int,
  unroll_steps: int = 5,
  td_steps: int = 5,
  value_target: str = 'n_step',
  td_lambda: float = 0.95,
  discount: float = 0.997,
  td_correction: float = 0.0,
  mixed_value_age: float = 0.0,
  mixed_value_start: int = 0,
  shift_pixels: int = 0,
  intensity_scale: float = 0.0,
  target_period: int = 200,
  average_decay: float = 0.0,
  priority_alpha: float = 0.0,
  priority_beta: float = 1.0,
  priority_epsilon: float = 1e-3,
  reanalyse_fraction: float = 0.0,
  reanalyse_form: str = 'batch',
  reanalyse_search: Search | None = None,
  value_fn: reanalyse.ValueFn | None = None,
  stacked_frames: int = 1,
  stack_actions: bool = False,
  symmetries: Symmetries | None = None,
  action_bounds: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
  axis_name: str | None = None,
) -> Learner:
  """Returns the learner's functions.

  Args:
    objective: as of `objective.make_objective`.
    optimiser: optax.
    batch_size: N sequences per update, on this device.
    unroll_steps: K.
    td_steps: n, or the horizon of other targets.
    value_target: 'n_step', 'td_lambda' or 'monte_carlo'.
    td_lambda: of 'td_lambda'.
    discount: gamma of one step.
    td_correction: environment steps of age that shorten a sample's n by one;
      0 for none (`targets.td_limits`).
    mixed_value_age: environment steps of age from which values are trained on
      fresh searches; 0 for never (`targets.is_stale`). All of each batch must
      be reanalysed within it.
    mixed_value_start: updates before which none are.
    shift_pixels: observations are shifted at random by up to so many.
    intensity_scale: and brightened at random by so much.
    target_period: updates between refreshes of the target network.
    average_decay: per update, of the running mean of the parameters; 0 keeps
      none.
    priority_alpha: exponent of the priorities; 0 samples uniformly.
    priority_beta: exponent of the importance weights.
    priority_epsilon: least priority.
    reanalyse_fraction: share of each batch, rounded to whole sequences, with
      fresh targets.
    reanalyse_form: 'batch' computes these targets within the update, with the
      target network; 'stream' takes such sequences from the second of `Rings`.
    reanalyse_search: noise-free; required by 'batch' if the fraction is above
      0.
    value_fn: the network's own value, as of `reanalyse.make_value_fn`; required
      likewise.
    stacked_frames: S.
    stack_actions: whether observations hold the actions too.
    symmetries: of the game, by which each sequence is turned at random; None
      for no augmentation. Not with `stack_actions`.
    action_bounds: of continuous actions, least [A] and largest [A]; required
      where there are such.
    axis_name: device axis over which gradients and metrics are averaged.

  Raises:
    UserError: if a fraction above 0 comes without a search or a value
      function, symmetries with actions in the observations, mixed values
      with rows that are not searched afresh, or Monte Carlo returns with what
      changes where others bootstrap.
  """
  if symmetries is not None and stack_actions:
    raise UserError(
      'symmetries: action planes of an observation cannot be turned; use '
      'stack_actions=False'
    )
  num_fresh = round(reanalyse_fraction * batch_size)
  streamed = reanalyse_form == 'stream' and num_fresh > 0
  _check_bootstraps(
    value_target, mixed_value_age, td_correction,
    all_fresh=num_fresh == batch_size and not streamed,
  )
  store: Any = mixture if streamed else ring
  refresh_fn = None
  if num_fresh and not streamed:
    if reanalyse_search is None or value_fn is None:
      raise UserError(
        f'reanalyse_fraction={reanalyse_fraction}: needs a reanalyse_search '
        'and a value_fn'
      )
    refresh_fn = _make_refresh(
      num_fresh, reanalyse_search, value_fn, unroll_steps=unroll_steps,
      keep_searched=mixed_value_age > 0,
    )
  window = unroll_steps + 1 + td_steps
  augment_fn = None
  if shift_pixels or intensity_scale:
    augment_fn = functools.partial(
      augment.augment, pixels=shift_pixels, scale=intensity_scale
    )
  observed_rows = unroll_steps + 1 if objective.observes_unroll else 1
  if refresh_fn is not None:
    observed_rows = window
  sample_fn = functools.partial(
    store.sample,
    batch_size=batch_size,
    window=window,
    stacked_frames=stacked_frames,
    stack_actions=stack_actions,
    observed_rows=observed_rows,
    alpha=priority_alpha,
  )
  if streamed:
    sample_fn = functools.partial(sample_fn, num_reanalysed=num_fresh)
  target_fn = functools.partial(
    _targets,
    functools.partial(
      targets.make_targets,
      unroll_steps=unroll_steps,
      td_steps=td_steps,
      discount=discount,
      value_target=value_target,
      td_lambda=td_lambda,
      action_bounds=action_bounds,
    ),
    td_steps=td_steps,
    td_correction=td_correction,
    mixed_value_age=mixed_value_age,
    mixed_value_start=mixed_value_start,
  )
  step = functools.partial(
    learner_state.step, objective.loss, optimiser, target_period,
    average_decay, axis_name,
  )

  def update(
    state: LearnerState, buffer: Any, rng_key: Array
  ) -> tuple[LearnerState, Any, Metrics]:
    sample_key, reanalyse_key, turn_key, target_key = jax.random.split(
      rng_key, 4
    )
    batch = sample_fn(buffer, sample_key)
    sequence = batch.sequence
    if refresh_fn is not None:
      sequence = refresh_fn(state.target_params, reanalyse_key, sequence)
    if symmetries is not None:
      sequence = symmetry.augment(symmetries, turn_key, sequence)
    if augment_fn is not None:
      # One more key only where it is used: others keep their draws.
      sequence = sequence._replace(observation=augment_fn(
        jax.random.fold_in(rng_key, 0), sequence.observation
      ))
    # A ring knows the steps of its own environments alone.
    devices = 1 if axis_name is None else jax.lax.psum(1, axis_name)
    ages = store.ages(buffer, batch) * devices
    num_updates = state.num_updates
    target = target_fn(target_key, sequence, ages, num_updates)
    if priority_alpha:
      weights, buffer = _prioritise(
        store, buffer, batch, sequence, target,
        beta=priority_beta, epsilon=priority_epsilon, axis_name=axis_name,
      )
    else:
      weights = jnp.ones(batch_size)
    state, metrics = step(state, sequence, target, weights)
    metrics = metrics._replace(sample_age=_mean(ages, axis_name))
    if streamed:
      age = mixture.target_age(buffer, batch, num_updates)
      metrics = metrics._replace(target_age=_mean(age, axis_name))
    return state, buffer, metrics

  return Learner(
    init=functools.partial(learner_state.init, optimiser, average_decay > 0),
    update=update,
    step=step,
  )


def _check_bootstraps(
  value_target: str,
  mixed_value_age: float,
  td_correction: float,
  *,
  all_fresh: bool,
) -> None:
  """Refuses what changes bootstraps where there are none such.

  Args:
    value_target: as of `make_learner`.
    mixed_value_age: likewise.
    td_correction: likewise.
    all_fresh: all of each batch is reanalysed within the update.
  """
  if mixed_value_age and not all_fresh:
    raise UserError(
      f'mixed_value_age={mixed_value_age}: needs all of each batch reanalysed '
      "within the update; allowed are reanalyse_fraction=1 and "
      "reanalyse_form='batch'"
    )
  bootstraps = {
    'mixed_value_age': mixed_value_age, 'td_correction': td_correction}
  for name, given in bootstraps.items():
    if value_target == 'monte_carlo' and given:
      raise UserError(
        f"{name}={given}: value_target='monte_carlo' never bootstraps; allowed "
        'is 0'
      )


def _make_refresh(
  num_fresh: int,
  reanalyse_search: Search,
  value_fn: reanalyse.ValueFn,
  *,
  unroll_steps: int,
  keep_searched: bool,
) -> Callable[[Params, Array, Sequence], Sequence]:
  """Returns the function that reanalyses `num_fresh` sequences of a batch."""
  return functools.partial(
    _refresh_part,
    functools.partial(
      reanalyse.reanalyse,
      search=reanalyse_search,
      value_fn=value_fn,
      unroll_steps=unroll_steps,
      keep_searched=keep_searched,
    ),
    num_fresh,
  )


def _refresh_part(
  refresh: Callable[[Params, Array, Sequence], Sequence],
  num_fresh: int,
  params: Params,
  rng_key: Array,
  sequence: Sequence,
) -> Sequence:
  """Returns the batch with its first `num_fresh` sequences reanalysed."""
  # Strata run through the ring in order, so a plain prefix would always
  # reanalyse the same part of it.
  shuffle_key, search_key = jax.random.split(rng_key)
  order = jax.random.permutation(shuffle_key, sequence.reward.shape[0])
  chosen = order[:num_fresh]
  part = jax.tree.map(lambda x: x[chosen], sequence)
  part = refresh(params, search_key, part)
  searched = part.searched_value
  if searched is not None:
    searched = jnp.zeros_like(searched).at[chosen].set(searched)
  write = lambda x, new: x.at[chosen].set(new)
  return sequence._replace(
    policy=write(sequence.policy, part.policy),
    value=write(sequence.value, part.value),
    candidates=jax.tree.map(write, sequence.candidates, part.candidates),
    searched_value=searched,
  )


def _targets(
  make: Callable[..., Target],
  rng_key: Array,
  sequence: Sequence,
  ages: Array,
  num_updates: Array,
  *,
  td_steps: int,
  td_correction: float,
  mixed_value_age: float,
  mixed_value_start: int,
) -> Target:
  """Returns targets [N, ...] of a batch, by its `ages` [N] where they count.

  `make` is `targets.make_targets` with its settings bound; those of ages are as
  of `make_learner`.
  """
  limits = stale = None
  if td_correction:
    limits = targets.td_limits(ages, td_steps=td_steps, period=td_correction)
  if mixed_value_age:
    stale = targets.is_stale(
      ages, num_updates, oldest=mixed_value_age, start=mixed_value_start
    )
  keys = jax.random.split(rng_key, ages.shape[0])
  return jax.vmap(make)(keys, sequence, td_limit=limits, stale=stale)


def _mean(x: Array, axis_name: str | None) -> Array:
  """Returns the mean over all entries, and over devices if there are any."""
  mean = x.mean()
  return mean if axis_name is None else jax.lax.pmean(mean, axis_name)


def _prioritise(
  store: Any,
  buffer: Any,
  batch: Sample,
  sequence: Sequence,
  target: Target,
  *,
  beta: float,
  epsilon: float,
  axis_name: str | None,
) -> tuple[Array, Any]:
  """Returns importance weights and the replay with new priorities.

  |search value - n-step return| + epsilon (MuZero appendix G). `store` is the
  module that knows the buffer, `replay` or `rings`.
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
  priority = jnp.abs(sequence.value[:, 0] - target.value[:, 0]) + epsilon
  # A broken value must not poison the sums that all later draws rest on.
  old = store.priority_of(buffer, batch)
  priority = jnp.where(jnp.isfinite(priority), priority, old)
  return weights, store.set_priority(buffer, batch, priority)
