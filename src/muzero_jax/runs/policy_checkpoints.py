"""Snapshots of a run: the parameters to play with, at one step after another.

`snapshots/<step>/` in the run directory, written and verified as checkpoints
are, but small, and kept for good: they are what a rating curve is made of.
"""

import os
from collections.abc import Mapping
from typing import Any

from muzero_jax.errors import UserError
from muzero_jax.runs import checkpoint
from muzero_jax.runs.checkpoint import Checks
from muzero_jax.types import Params

FOLDER = 'snapshots'
_FIELD = 'params'


def save(
  workdir: str | os.PathLike,
  step: int,
  params: Params,
  *,
  facts: Mapping[str, Any] | None = None,
) -> bool:
  """Saves parameters, unless that step is there; returns whether it did.

  A run that is resumed from before a snapshot comes to its step once more.

  Args:
    workdir: the run directory.
    step: environment steps so far.
    params: of all agents, those to play with.
    facts: plain JSON for the manifest, for example the configuration.

  Raises:
    OSError: they cannot be written.
  """
  if step in steps(workdir):
    return False
  checkpoint.save(
    workdir, step, {_FIELD: params}, max_to_keep=None, folder=FOLDER,
    facts=facts)
  return True


def restore(
  workdir: str | os.PathLike,
  step: int,
  abstract: Any,
  *,
  checks: Checks = checkpoint.NO_CHECKS,
) -> Params:
  """Returns the parameters of a step.

  Args:
    workdir: the run directory.
    step: one of `steps`.
    abstract: the parameters, or `jax.eval_shape` of them.
    checks: what the snapshot must fulfil besides being intact.

  Raises:
    UserError: there is no such snapshot, or it is damaged.
  """
  there = steps(workdir)
  if not there:
    raise UserError(
      f'workdir {workdir} has no snapshots: its snapshot_period is 0, or it '
      'has not come so far')
  if step not in there:
    nearest = min(there, key=lambda other: abs(other - step))
    raise UserError(
      f'snapshot = {step}: workdir {workdir} has none of that step; the '
      f'nearest of its {len(there)} is {nearest}')
  return checkpoint.restore_step(
    workdir, {_FIELD: abstract}, step, folder=FOLDER,
    checks=checks)[_FIELD]


def steps(workdir: str | os.PathLike) -> list[int]:
  """Returns the steps of a run's snapshots, oldest first, unverified."""
  return checkpoint.steps(workdir, folder=FOLDER)
