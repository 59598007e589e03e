"""Numbers that are not finite, with which a run cannot go on."""

import numpy as np

from muzero_jax import wide_counts
from muzero_jax.drivers.iteration import IterationMetrics
from muzero_jax.errors import NotFiniteError
from muzero_jax.learning import learner_state


def check(metrics: IterationMetrics) -> None:
  """Raise NotFiniteError where an iteration's rows or updates are beyond help.

  Args:
    metrics: of an iteration, [agents, ...] on the host.
  """
  step = int(np.min(wide_counts.as_int(metrics.num_steps)))
  if metrics.rollout is not None and metrics.rollout.num_bad.any():
    _refuse_rows(step, int(metrics.rollout.num_bad.sum()))
  if (metrics.skips_in_a_row >= learner_state.MAX_SKIPS).any():
    raise NotFiniteError(
      f'step {step}: {learner_state.MAX_SKIPS} updates in a row had a loss or '
      'gradient that is not finite; the last checkpoint is untouched'
    )


def check_rows(
  step: int, observation: np.ndarray, reward: np.ndarray
) -> None:
  """Raise NotFiniteError if [..., B] rows hold a number that is not finite."""
  finite = np.isfinite(reward)
  if np.issubdtype(observation.dtype, np.floating):
    rows = observation.reshape(*reward.shape, -1)
    finite &= np.isfinite(rows).all(axis=-1)
  if num_bad := int((~finite).sum()):
    _refuse_rows(step, num_bad)


def _refuse_rows(step: int, num_bad: int) -> None:
  raise NotFiniteError(
    f'step {step}: {num_bad} rows of the environment hold observations or '
    'rewards that are not finite; the last checkpoint is untouched'
  )
