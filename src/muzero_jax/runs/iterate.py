"""The iterations of a run: decide, tell and save on the way.

Of several processes all do this alike, on one decision.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax import files, wide_counts
from muzero_jax.config import Config
from muzero_jax.drivers import build
from muzero_jax.drivers.iteration import Driver
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.errors import Error, StoppedError
from muzero_jax.learning import learner_state
from muzero_jax.runs import policy_checkpoints, run_dir, soundness
from muzero_jax.runs.metrics import EVALUATION, MetricAverager
from muzero_jax.runs.peers import Peers
from muzero_jax.runs.progress import Counts, Progress
from muzero_jax.runs.saver import Saver
from muzero_jax.runs.shared_checkpoint import SharedSaver
from muzero_jax.runs.signals import Stop
from muzero_jax.runs.silence import Silence
from muzero_jax.wide_counts import Count

# (steps so far, episodes that just ended, the sum of their returns), over all
# agents of a run.
Watch = Callable[[int, int, float], None]

# What a checkpoint holds of actors that cannot be restored.
_NO_ACTORS: Any = None


class Run(NamedTuple):
  """A run that is open, and what it is made of."""

  config: Config
  workdir: str | os.PathLike
  driver: Driver
  progress: Progress | Silence
  stop: Stop
  saves: Saver | SharedSaver
  watch: Watch | None
  peers: Peers
  # Parameters, steps so far -> what an evaluation on the way found; None where
  # there are no such evaluations.
  evaluate: Callable[[Any, int], Any] | None = None

  def check_stop(self) -> None:
    """Raise StoppedError in all processes if a signal has come to one."""
    self.stop.signum, = self.peers.agree(self.stop.signum)
    self.stop.is_agreed = True
    self.stop.check()


def iterate(run: Run, step_fn: Any, state: TrainState) -> TrainState:
  """Iterate until all steps are made.

  Raises:
    StoppedError: on a signal, once the state is saved.
  """
  config, progress, stop = run.config, run.progress, run.stop
  averager = MetricAverager()
  last_save = time.monotonic()
  start = least(state.num_steps)
  next_snapshot = _next(config.snapshot_period, start)
  next_evaluation = _next(config.eval_period, start)
  saved_step = start
  is_sound, done = True, False
  run.check_stop()
  while not done:
    is_new = is_sound and least(state.num_steps) > saved_step
    with _saving_first(run, state, is_new), run.peers.waiting():
      state, device_metrics = step_fn(state)
      metrics = _per_agent(config, jax.device_get(device_metrics))
    num_steps = least(metrics.num_steps)
    soundness.check_metrics(metrics, num_steps)
    averager.add(metrics)
    if metrics.rollout is not None:
      _note_played(run, metrics.rollout, num_steps)
    # After a skipped update it may be the parameters that are beyond help.
    is_sound = not metrics.skips_in_a_row.any()
    is_due = int(time.monotonic() - last_save >= config.checkpoint_period)
    # One decision of all processes; a later signal takes another iteration.
    stop.signum, is_due = run.peers.agree(stop.signum, is_due)
    done = num_steps >= config.total_steps or bool(stop.signum)
    progress.show(num_steps)
    if progress.due() or done:
      with _saving_first(run, state, is_sound):
        progress.log(
          counts(config, run.driver, state),
          {**_reanalysed(config, run.driver), **averager.take()},
          force=done,
        )
    if num_steps >= next_snapshot and is_sound:
      _save_snapshot(run, num_steps, state)
      next_snapshot = _next(config.snapshot_period, num_steps)
    if num_steps >= next_evaluation and is_sound and not done:
      with _saving_first(run, state, is_new=True):
        _evaluate(run, num_steps, state)
      next_evaluation = _next(config.eval_period, num_steps)
    run.saves.poll()
    if done or is_due and is_sound:
      _save(run, state, wait=done)
      last_save, saved_step = time.monotonic(), num_steps
  run.check_stop()
  return state


def _note_played(run: Run, played: Any, num_steps: int) -> None:
  """Tell of the episodes that an iteration has ended."""
  ended = int(played.num_episodes.sum()), float(played.return_sum.sum())
  run.progress.add_episodes(*ended)
  if run.watch is not None:
    run.watch(num_steps, *ended)
  run.progress.warn_if_endless(
    num_steps // run.config.num_envs, run.driver.spec.max_episode_steps)


@contextlib.contextmanager
def _saving_first(run: Run, state: TrainState, is_new: bool) -> Iterator[None]:
  """Save the state before an error of the body ends the run.

  Environments that fail, and a disk that is full of metrics, leave what has
  been learnt as it was.

  Args:
    run: its parts.
    state: before the body; not saved if the body has donated it.
    is_new: whether it is worth saving.

  Raises:
    StoppedError: the run was asked to stop, which an error may follow from.
    Exception: that of the body.
  """
  try:
    yield
  except Exception:
    is_whole = not any(x.is_deleted() for x in jax.tree.leaves(state))
    # The other processes have not come to this line.
    is_alone = run.peers.count == 1
    if is_new and is_whole and is_alone:
      try:
        _save(run, state, wait=True)
      except Error as error:
        run.progress.note(str(error))
    run.stop.check()
    raise


def _per_agent(config: Config, metrics: Any) -> Any:
  """Return metrics [agents, ...], whether there are one or several."""
  return jax.tree.map(
    lambda x: x.reshape(config.num_seeds, *x.shape[config.num_seeds > 1:]),
    metrics,
  )


def counts(config: Config, driver: Driver, state: TrainState) -> Counts:
  """Return what a run has done so far, of one agent.

  Simulations are those of acting; offline, of Reanalyse.
  """
  searches = driver.rows_per_iteration
  if config.dataset:
    searches = driver.searches_per_iteration
  return Counts(
    steps=least(state.num_steps),
    simulations=(
      least(state.num_iterations) * searches * config.num_simulations),
    updates=least(state.learner.num_updates),
  )


def _reanalysed(config: Config, driver: Driver) -> dict[str, float]:
  """Return the exact share of reanalysed sequences, if there are any.

  With the age of their targets in updates, 0 within the batch: what is stale
  there is the target network. A stream tells its own.
  """
  count = build.num_reanalysed(config, driver.num_devices)
  if not count:
    return {}
  share = count / config.batch_size
  return dict(reanalysed_fraction=share, target_age=0.0)


def least(count: Count) -> int:
  """Return a count of the agent that is behind the others, if there are."""
  return int(np.min(wide_counts.as_int(count)))


def _save(run: Run, state: TrainState, *, wait: bool) -> None:
  """Save all that can be restored; it is said so once it is safe.

  Args:
    run: what it is of.
    state: the state, which may be donated afterwards.
    wait: True to return once it is safe.

  Raises:
    NotFiniteError: the rows that the next iteration would start from are not
      finite.
    RunError: the disk refuses, this time or the time before.
  """
  step = least(state.num_steps)
  soundness.check_rows(state, step)
  kept = state if run.driver.restorable else state._replace(actor=_NO_ACTORS)
  run.saves.save(step, kept, wait=wait)


def _next(period: int, num_steps: int) -> float:
  """Return the steps at which something is due next: whole periods."""
  return (num_steps // period + 1) * period if period else float('inf')


def _evaluate(run: Run, step: int, state: TrainState) -> None:
  """Evaluate on the way; of several processes the first does."""
  if run.evaluate is not None and isinstance(run.progress, Progress):
    params = jax.device_put(final_params(state), jax.local_devices()[0])
    # A signal ends the evaluation, and then all processes together the run.
    with contextlib.suppress(StoppedError):
      with run.progress.timed(f'evaluating at step {step:,}'):
        found = run.evaluate(params, step)
      run.progress.note(found.line)
      run.progress.record(step, {EVALUATION: found.mean})
  run.peers.meet()


def _save_snapshot(run: Run, step: int, state: TrainState) -> None:
  """Save the parameters to play with.

  Raises:
    RunError: the disk refuses.
  """
  if not run.peers.is_first:
    return
  with files.writing(f'step {step}: the snapshot'):
    params = final_params(state)
    facts = run_dir.facts(run.config, run.driver.spec.name)
    is_new = policy_checkpoints.save(run.workdir, step, params, facts=facts)
  if is_new:
    run.progress.note(f'saved the snapshot of step {step:,}')


def final_params(state: TrainState) -> Any:
  """Return the parameters to play with, on a device of this process."""
  if jax.process_count() == 1:
    return learner_state.final_params(state.learner)
  # All of it is on each device: the others need not take part.
  return learner_state.final_params(jax.tree.map(
    lambda x: x.addressable_data(0), state.learner))
