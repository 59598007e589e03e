"""One trial: a whole training run, its returns reported as it goes."""

import contextlib
import math
import pathlib
from collections.abc import Iterator

import jax

from muzero_jax import files
from muzero_jax import train as train_lib
from muzero_jax.config import Config
from muzero_jax.errors import RunError, StoppedError
from muzero_jax.runs import record
from muzero_jax.tuning.study import Report

LOG_FILE = 'train.log'
NUM_RUNGS = 10


class Rungs:
  """The mean training return in each tenth of a run, told once it is over.

  By steps and not by seconds, so that trials can be compared. Where no episode
  ended in a tenth, the one before counts.
  """

  def __init__(self, total_steps: int, report: Report) -> None:
    """Take the length of a run and what each tenth is reported to."""
    self._total, self._report = total_steps, report
    self._rung = 0
    self._episodes, self._return_sum = 0, 0.0
    self.last = math.nan

  def __call__(
    self, num_steps: int, num_episodes: int, return_sum: float
  ) -> None:
    """Count the episodes of an iteration; a `train.Watch`."""
    self._episodes += num_episodes
    self._return_sum += return_sum
    rung = min(num_steps * NUM_RUNGS // self._total, NUM_RUNGS)
    if rung == self._rung:
      return
    self._rung = rung
    if self._episodes:
      self.last = self._return_sum / self._episodes
    self._episodes, self._return_sum = 0, 0.0
    if math.isfinite(self.last):
      self._report(rung, self.last)


def run(
  config: Config, workdir: pathlib.Path, report: Report, *, objective: str
) -> float:
  """Train and return what the search makes as large as it can.

  A run directory that an interrupted trial left behind is gone on with.

  Args:
    config: of the run.
    workdir: its run directory; what training prints goes to `train.log` there.
    report: of the training returns; may raise, which ends the run.
    objective: 'evaluation' for the mean of the evaluation at the end, over
      all seeds; 'return' for the mean training return in the last tenth.

  Raises:
    StoppedError: the process was asked to stop; the run can be resumed.
    RunError: nothing was found of what is to be large.
    Exception: whatever ends a run.
  """
  rungs = Rungs(config.total_steps, report)
  workdir.mkdir(parents=True, exist_ok=True)
  try:
    with _said_to(workdir / LOG_FILE):
      status = train_lib.run(config, workdir, writers=(), watch=rungs)
  finally:
    # Each trial has settings, and so compiled functions, of its own.
    jax.clear_caches()
  if status:
    raise StoppedError('training was asked to stop')
  if objective == 'return':
    if not math.isfinite(rungs.last):
      raise RunError('no training episode ended in the last tenth of the run')
    return rungs.last
  return float(files.read_json(workdir / record.EVALUATION_FILE)['mean'])


@contextlib.contextmanager
def _said_to(path: pathlib.Path) -> Iterator[None]:
  """Let what a run prints go to a file."""
  with open(path, 'a', encoding='utf-8') as log, contextlib.redirect_stdout(
      log):
    yield
