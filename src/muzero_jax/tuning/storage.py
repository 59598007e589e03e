"""Optuna's storage of a study: one file of SQLite in the study's directory."""

import contextlib
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

from muzero_jax.errors import MissingPackageError, RunError

DATABASE = 'study.db'
NEEDED = "tuning needs Optuna: pip install 'muzero_jax[tune]'"
_NAME = 'muzero_jax'
# Before a trial can be pruned: trials that came to their end, and tenths of it.
_TRIALS_BEFORE, _RUNGS_BEFORE = 4, 2


def load() -> Any:
  """Return Optuna.

  Raises:
    MissingPackageError: it is not installed.
  """
  try:
    import optuna
  except ImportError as error:
    raise MissingPackageError(f'{NEEDED} ({error})') from None
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  warnings.filterwarnings('ignore', module=r'optuna\..*')
  return optuna


def open_study(optuna: Any, workdir: pathlib.Path, prunes: bool) -> Any:
  """Return the study of a directory, made if need be.

  Args:
    optuna: as `load` returns it.
    workdir: of the study.
    prunes: whether trials that are worse than most others are given up.
  """
  pruner: Any = optuna.pruners.NopPruner()
  if prunes:
    pruner = optuna.pruners.MedianPruner(
      n_startup_trials=_TRIALS_BEFORE, n_warmup_steps=_RUNGS_BEFORE + 1)
  storage = optuna.storages.RDBStorage(
    f'sqlite:///{(workdir / DATABASE).absolute()}')
  return optuna.create_study(
    storage=storage, study_name=_NAME, direction='maximize', pruner=pruner,
    load_if_exists=True)


@contextlib.contextmanager
def errors(optuna: Any, workdir: pathlib.Path) -> Iterator[None]:
  """Turn what the storage raises into one line, a RunError."""
  from sqlalchemy import exc

  try:
    yield
  except (optuna.exceptions.OptunaError, exc.SQLAlchemyError) as error:
    why = str(error.__cause__ or error).strip().partition('\n')[0]
    raise RunError(
      f'{workdir / DATABASE} cannot be used as a study: {why}') from error
