"""The optimiser: its rule, its schedule, its clipping and its decay."""

import functools

import jax
import optax

from muzero_jax.config import settings as settings_lib


def make(
  settings: settings_lib.Optimiser, *, num_updates: int = 1
) -> optax.GradientTransformation:
  """Make an optimiser with clipping, decay of kernels and a schedule.

  Weight decay is applied to parameters with two axes or more, not to biases
  and normalisation. The schedules 'cosine' and 'exponential' go from
  `learning_rate` to `learning_rate_end` of it over `num_updates`; before them,
  the rate rises linearly from 0 over `warmup_updates`.

  Args:
    settings: rule, schedule, clipping and decay.
    num_updates: of the whole run.
  """
  peak = settings.learning_rate
  after = max(num_updates - settings.warmup_updates, 1)
  schedules = {
    'constant': lambda: optax.constant_schedule(peak),
    'cosine': lambda: optax.cosine_decay_schedule(
      peak, after, settings.learning_rate_end),
    'exponential': lambda: optax.exponential_decay(
      peak, after, max(settings.learning_rate_end, 1e-8)),
  }
  rate = schedules[settings.learning_rate_schedule]()
  if settings.warmup_updates:
    rate = optax.join_schedules(
      [optax.linear_schedule(0.0, peak, settings.warmup_updates), rate],
      [settings.warmup_updates])
  decayed = functools.partial(jax.tree.map, lambda x: x.ndim > 1)
  if settings.optimiser == 'adamw':
    rule = optax.adamw(
      rate, weight_decay=settings.weight_decay, mask=decayed)
  else:
    rule = optax.chain(
      optax.add_decayed_weights(settings.weight_decay, mask=decayed),
      optax.sgd(rate, momentum=settings.momentum),
    )
  if settings.max_grad_norm:
    rule = optax.chain(
      optax.clip_by_global_norm(settings.max_grad_norm), rule)
  return rule
