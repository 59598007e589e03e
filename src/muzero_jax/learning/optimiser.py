"""The optimiser: its rule, its schedule, its clipping and its decay."""

import functools

import jax
import optax

from muzero_jax.errors import UserError


def make(
  *,
  optimiser: str = 'adamw',
  learning_rate: float = 1e-3,
  schedule: str = 'constant',
  learning_rate_end: float = 0.1,
  num_updates: int = 1,
  warmup_updates: int = 0,
  momentum: float = 0.9,
  weight_decay: float = 1e-4,
  max_grad_norm: float = 0.0,
) -> optax.GradientTransformation:
  """Returns an optimiser with clipping, decay of kernels and a schedule.

  Args:
    optimiser: 'adamw' or 'sgd' (with momentum).
    learning_rate: peak.
    schedule: 'constant', 'cosine' or 'exponential' over `num_updates`.
    learning_rate_end: final rate as a share of the peak.
    num_updates: of the whole run.
    warmup_updates: over which the rate rises linearly from 0.
    momentum: of SGD.
    weight_decay: of parameters with two axes or more; not of biases and
      normalisation.
    max_grad_norm: gradients are clipped to this global norm; 0 for no clip.

  Raises:
    UserError: on an unknown optimiser or schedule.
  """
  after = max(num_updates - warmup_updates, 1)
  schedules = {
    'constant': lambda: optax.constant_schedule(learning_rate),
    'cosine': lambda: optax.cosine_decay_schedule(
      learning_rate, after, learning_rate_end
    ),
    'exponential': lambda: optax.exponential_decay(
      learning_rate, after, max(learning_rate_end, 1e-8)
    ),
  }
  if schedule not in schedules:
    raise UserError(
      f'schedule={schedule!r}: must be one of {tuple(schedules)}'
    )
  rate = schedules[schedule]()
  if warmup_updates:
    rate = optax.join_schedules(
      [optax.linear_schedule(0.0, learning_rate, warmup_updates), rate],
      [warmup_updates],
    )
  decayed = functools.partial(jax.tree.map, lambda x: x.ndim > 1)
  if optimiser == 'adamw':
    rule = optax.adamw(rate, weight_decay=weight_decay, mask=decayed)
  elif optimiser == 'sgd':
    rule = optax.chain(
      optax.add_decayed_weights(weight_decay, mask=decayed),
      optax.sgd(rate, momentum=momentum),
    )
  else:
    raise UserError(
      f"optimiser={optimiser!r}: must be one of ('adamw', 'sgd')"
    )
  if max_grad_norm:
    rule = optax.chain(optax.clip_by_global_norm(max_grad_norm), rule)
  return rule
