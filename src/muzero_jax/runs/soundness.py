"""Whether what a run has is finite: losses, and the rows of environments."""

import jax
import jax.numpy as jnp

from muzero_jax.drivers.iteration import IterationMetrics
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.errors import NotFiniteError
from muzero_jax.learning import learner_state
from muzero_jax.types import Array


def check_metrics(metrics: IterationMetrics, step: int) -> None:
  """Raise NotFiniteError where a run cannot go on."""
  if metrics.rollout is not None and metrics.rollout.num_bad.any():
    _refuse_rows(step, int(metrics.rollout.num_bad.sum()))
  if (metrics.skips_in_a_row >= learner_state.MAX_SKIPS).any():
    raise NotFiniteError(
      f'step {step}: {learner_state.MAX_SKIPS} updates in a row had a loss or '
      'gradient that is not finite; the last checkpoint is untouched'
    )


def check_rows(state: TrainState, step: int) -> None:
  """Raise NotFiniteError where the actors stand at rows that are not finite.

  The iteration has not looked at them yet.
  """
  if state.actor is None:
    return
  row = state.actor.timestep
  if num_bad := int(_num_bad(row.observation, row.reward)):
    _refuse_rows(step, num_bad)


def _refuse_rows(step: int, num_bad: int) -> None:
  raise NotFiniteError(
    f'step {step}: {num_bad} rows of the environment hold observations or '
    'rewards that are not finite; the last checkpoint is untouched'
  )


# Compiled, since rows may lie on devices of several processes.
@jax.jit
def _num_bad(observation: Array, reward: Array) -> Array:
  """Returns how many of [..., B] rows hold a number that is not finite."""
  finite = jnp.isfinite(reward)
  if jnp.issubdtype(observation.dtype, jnp.floating):
    rows = observation.reshape(*reward.shape, -1)
    finite &= jnp.isfinite(rows).all(axis=-1)
  return jnp.sum(~finite)
