"""Targets that the newest networks make of old rows, batch by batch.

Two of them: Reanalyse, which searches rows again for their policies and values,
and the values alone that returns bootstrap from, which take no search.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from muzero_jax import targets
from muzero_jax.config import settings as settings_lib
from muzero_jax.errors import UserError
from muzero_jax.replay import reanalyse, ring
from muzero_jax.replay.reanalyse import Reanalyser, ValueFn
from muzero_jax.replay.ring import ReplayState, Sample
from muzero_jax.types import Array, Params, Sequence

# params of the search, key, N sequences -> the same with other targets.
Refresh = Callable[[Params, Array, Sequence], Sequence]
# params of the network, replay, batch, ages [N] -> the batch's sequences.
Bootstrap = Callable[[Params, Any, Sample, Array], Sequence]


def num_fresh(fraction: float, batch_size: int) -> int:
  """Return how many sequences of a batch are reanalysed: whole ones."""
  return round(fraction * batch_size)


def make_refresh(
  settings: settings_lib.Learning,
  fresh: int,
  reanalyser: Reanalyser | None,
) -> Refresh | None:
  """Return the function that reanalyses `fresh` sequences of a batch.

  None where that does not happen within the update.
  """
  if not fresh or settings.reanalyse_form == 'stream':
    return None
  if reanalyser is None:
    raise UserError(
      f'reanalyse_fraction={settings.reanalyse_fraction}: needs a reanalyser')
  return functools.partial(
    _refresh_part,
    functools.partial(
      reanalyse.reanalyse,
      search=reanalyser.search,
      value_fn=reanalyser.value_fn,
      unroll_steps=settings.unroll_steps,
      keep_searched=settings.mixed_value_age > 0,
    ),
    fresh,
  )


def _refresh_part(
  refresh: Refresh,
  fresh: int,
  params: Params,
  rng_key: Array,
  sequence: Sequence,
) -> Sequence:
  """Returns the batch with its first `fresh` sequences reanalysed."""
  # Strata run through the ring in order, so a plain prefix would always
  # reanalyse the same part of it.
  shuffle_key, search_key = jax.random.split(rng_key)
  order = jax.random.permutation(shuffle_key, sequence.reward.shape[0])
  chosen = order[:fresh]
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


def make_bootstrap(
  settings: settings_lib.Learning, value_fn: ValueFn | None
) -> Bootstrap | None:
  """Return the function that makes values to bootstrap from.

  None where they are those that were stored.
  """
  if not settings.fresh_values:
    return None
  if value_fn is None:
    raise UserError('fresh_values = True: needs the network\'s values')
  return functools.partial(_bootstrap, value_fn, settings)


def _bootstrap(
  value_fn: ValueFn,
  settings: settings_lib.Learning,
  params: Params,
  buffer: ReplayState,
  batch: Sample,
  ages: Array,
) -> Sequence:
  """Return the windows with the network's values where returns bootstrap.

  What the search found when a row was played says how good the agent of that
  time was. (MuZero Reanalyse, appendix H, has the target network's value there,
  too.)

  Args:
    value_fn: the network's own value.
    settings: of the learner.
    params: the target network's.
    buffer: the replay.
    batch: N windows of it.
    ages: [N] environment steps since they were played.
  """
  sequence = batch.sequence
  find = functools.partial(
    bootstrap_rows, unroll_steps=settings.unroll_steps,
    td_steps=settings.td_steps, value_target=settings.value_target)
  index = jax.vmap(find)(
    sequence.is_last, td_limit=td_limits(settings, ages))
  observation = ring.observe(
    buffer, batch, index, stacked_frames=settings.stacked_frames,
    stack_actions=settings.stack_actions)
  value = value_fn(params, observation.reshape(-1, *observation.shape[2:]))
  window = jnp.arange(index.shape[0])[:, None]
  return sequence._replace(
    value=sequence.value.at[window, index].set(value.reshape(index.shape)))


def td_limits(settings: settings_lib.Targets, ages: Array) -> Array | None:
  """Return the n [N] of samples of some ages; None for the same n for all."""
  if not settings.td_correction:
    return None
  return targets.td_limits(
    ages, td_steps=settings.td_steps, period=settings.td_correction)


def bootstrap_rows(
  is_last: Array,
  *,
  unroll_steps: int,
  td_steps: int,
  value_target: str = 'n_step',
  td_limit: Array | None = None,
) -> Array:
  """Returns the rows of a sequence whose values its value targets read.

  Whatever values stand in other rows, `make_targets` makes the same of them.

  Args:
    is_last: [L]
    unroll_steps, td_steps, value_target, td_limit: as `make_targets` takes
      them.

  Returns:
    [M] i32 rows, some of them more than once; M is K + 1 for 'n_step', K + n
    for 'td_lambda', 1 for 'monte_carlo'.
  """
  num_rows = is_last.shape[0]
  if value_target == 'monte_carlo':
    rows = jnp.array([num_rows - 1])
  elif value_target == 'td_lambda':
    rows = jnp.arange(1, num_rows)
  else:
    rows = jnp.arange(unroll_steps + 1) + (
      td_steps if td_limit is None else td_limit)
  return jnp.minimum(rows, targets.end_row(is_last))
