"""The parameters that scored best in an evaluation during training.

`best/<step>/` in the run directory, written and verified as checkpoints are;
the manifest holds the score. One is kept.
"""

import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from muzero_jax.errors import UserError
from muzero_jax.runs import checkpoint, folders, manifest
from muzero_jax.runs.checkpoint import Checks
from muzero_jax.types import Params

FOLDER = 'best'
NAME = 'best'  # In place of a snapshot's step.
_FIELD, _SCORE = 'params', 'score'


class Best(NamedTuple):
  """What is stored, without its parameters."""

  step: int  # Environment steps; updates, if offline.
  score: float  # Mean of the evaluation.


def find(workdir: str | os.PathLike) -> Best | None:
  """Return the best of a run so far; None if there is none that is intact.

  A directory that is damaged, or that holds no score, does not count: it may
  have come from anywhere.
  """
  found = []
  root = pathlib.Path(workdir) / FOLDER
  for step in checkpoint.steps(workdir, folder=FOLDER):
    try:
      facts = manifest.verify(folders.of_step(root, step))
      score = float(facts[_SCORE])
    except (manifest.DamageError, OSError, LookupError, TypeError, ValueError):
      continue
    if math.isfinite(score):
      found.append(Best(step, score))
  return max(found, key=lambda one: (one.score, one.step), default=None)


def save(
  workdir: str | os.PathLike,
  one: Best,
  params: Params,
  *,
  facts: Mapping[str, Any] | None = None,
) -> None:
  """Save parameters in place of those that were the best.

  Args:
    workdir: the run directory.
    one: their step and score.
    params: of all agents, those to play with.
    facts: plain JSON for the manifest, for example the configuration.

  Raises:
    OSError: they cannot be written; those before are untouched.
  """
  checkpoint.save(
    workdir, one.step, {_FIELD: params}, max_to_keep=1, folder=FOLDER,
    facts={**(facts or {}), _SCORE: one.score})


def restore(
  workdir: str | os.PathLike,
  abstract: Any,
  *,
  checks: Checks = checkpoint.NO_CHECKS,
) -> tuple[int, Params]:
  """Return the step and the parameters of the best.

  Args:
    workdir: the run directory.
    abstract: the parameters, or `jax.eval_shape` of them.
    checks: what they must fulfil besides being intact.

  Raises:
    UserError: there are none, or they are damaged.
  """
  one = find(workdir)
  if one is None:
    raise UserError(
      f'snapshot = {NAME!r}: workdir {workdir} has none: its eval_period is 0, '
      'or it has not come so far')
  return one.step, checkpoint.restore_step(
    workdir, {_FIELD: abstract}, one.step, folder=FOLDER,
    checks=checks)[_FIELD]
