"""The host's side of a run: build, resume, iterate, save, evaluate, report."""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax import console, envs, files, paths, wide_counts
from muzero_jax.agent import MakeEnv
from muzero_jax.config import Config
from muzero_jax.drivers import (
  build,
  choose,
  offline,
)
from muzero_jax.drivers.build import Extensions
from muzero_jax.drivers.iteration import Driver
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.errors import Error, StoppedError
from muzero_jax.evaluation import after_training
from muzero_jax.learning import learner_state
from muzero_jax.replay import dataset
from muzero_jax.replay.dataset import Dataset
from muzero_jax.runs import (
  lock,
  policy_checkpoints,
  record,
  resume,
  run_dir,
  saver,
  signals,
  soundness,
)
from muzero_jax.runs.metrics import MetricAverager
from muzero_jax.runs.progress import Counts, Progress
from muzero_jax.runs.saver import Saver
from muzero_jax.runs.signals import Stop
from muzero_jax.runs.writers import Writer
from muzero_jax.wide_counts import Count

# (steps so far, episodes that just ended, the sum of their returns), over all
# agents of a run.
Watch = Callable[[int, int, float], None]

# What a checkpoint holds of actors that cannot be restored.
_NO_ACTORS: Any = None
EVALUATION_FILE = record.EVALUATION_FILE


class _Wanted(NamedTuple):
  """What `run` was asked for."""

  config: Config
  workdir: str | os.PathLike
  make_env: MakeEnv
  extensions: Extensions
  writers: Sequence[Writer | str] | None
  restart: bool
  watch: Watch | None


class _Run(NamedTuple):
  """A run and what it is made of."""

  config: Config
  workdir: str | os.PathLike
  make_env: MakeEnv
  extensions: Extensions
  driver: Driver
  data: Dataset | None  # Of an offline run.
  progress: Progress
  stop: Stop
  saves: Saver
  watch: Watch | None


def run(
  config: Config,
  workdir: str | os.PathLike,
  *,
  make_env: MakeEnv = envs.make,
  make_network: Callable[..., Any] | None = None,
  make_search: Callable[..., Any] | None = None,
  make_terms: Callable[..., Any] | None = None,
  writers: Sequence[Writer | str] | None = None,
  restart: bool = False,
  watch: Watch | None = None,
) -> int:
  """Train, or go on training, in a run directory, then evaluate.

  docs/extending.md has an example of each of one's own parts.

  Args:
    config: of the run; stored in the directory, if it is not there yet.
    workdir: the run directory.
    make_env: called as `envs.make` is; for environments of one's own.
    make_network: (config, spec, sizes) -> a Flax module as
      `networks.model.make_model` takes it, or a `types.Model`; see
      `drivers.build.Extensions`. None for the one that the Config names.
    make_search: (config, spec, system, purpose) -> search; likewise.
    make_terms: (config, system) -> terms that are added to the loss; likewise.
    writers: what gets each row of metrics besides metrics.jsonl: objects, or
      names of `runs.writers.NAMED`; None for TensorBoard, if tensorboardX is
      installed.
    restart: True to start anew in a directory that holds a run of this
      configuration: its record is renamed to `before-restart`, and kept.
    watch: called after each iteration that plays, in the thread that trains;
      what it raises ends the run as it was last saved.

  Returns:
    The exit status: 0, or 128 + the signal that stopped the run.

  Raises:
    UserError: if sizes do not fit together or into memory, or the directory
      is in use, lacks a part of its run, holds links or belongs to another
      configuration; nothing was written then.
    NotFiniteError: if losses, observations or rewards are not finite.
    RunError: if a checkpoint cannot be written, or environments of the host
      fail.
  """
  workdir = paths.expand(workdir, 'workdir')
  files.check_path('workdir', workdir)
  extensions = Extensions(make_network, make_search, make_terms)
  with signals.stop_on_signals() as stop:
    try:
      _run(_Wanted(
        config, workdir, make_env, extensions, writers, restart, watch), stop)
      # Also one that came while all was done.
      stop.check()
    except StoppedError:
      return stop.end(restart=restart)
  return 0


def _run(wanted: _Wanted, stop: Stop) -> None:
  """Do what `run` does, until it is done or StoppedError ends it."""
  workdir = wanted.workdir
  driver, config, data, lines = choose.prepare(
    wanted.config, wanted.make_env, wanted.extensions)
  stop.check()
  with lock.hold(workdir) as check_place:
    record.refuse_links(workdir)
    run_dir.check_same_run(workdir, config)
    if data is not None:
      offline.check_same_data(workdir, data)
    aside = record.set_aside(workdir) if wanted.restart else None
    if aside is not None:
      console.say(f'starts anew: the old record is in {aside}')
    state, resumed = resume.start(config, workdir, driver)
    with stop.keeping(), files.writing(str(workdir)):
      run_dir.store(workdir, config)
      # From now on, that there is none in it tells that none was saved yet.
      record.open_checkpoints(workdir)
      if data is not None:
        dataset.write_facts(workdir, data.facts)
    stop.check()
    with Progress(
      workdir,
      total_steps=config.total_steps,
      unit='updates' if config.dataset else 'steps',
      is_self_play=not config.dataset and driver.spec.num_players > 1,
      start=_counts(config, driver, state),
      log_period=config.log_period,
      writers=wanted.writers,
    ) as progress, saver.Saver(
      workdir,
      max_to_keep=config.max_checkpoints,
      facts=run_dir.facts(config, driver.spec.name),
      note=progress.note,
      check=check_place,
    ) as saves:
      progress.header(config, [*lines, *resumed])
      _train(_Run(
        config, workdir, wanted.make_env, wanted.extensions, driver, data,
        progress, stop, saves, wanted.watch), state)


def _train(run: _Run, state: TrainState) -> None:
  """Iterate to the last step, evaluate, and say where everything is."""
  config, progress = run.config, run.progress
  if _least(state.num_steps) < config.total_steps:
    with progress.timed():
      session = run.driver.session(
        state, progress.note, run.stop.is_requested)
    # Kept until the last save is on disk, even where an error ends this.
    with session as step, run.stop.keeping(), run.saves:
      state = _iterate(run, step, state)
  run.stop.check()
  last_words = _evaluate(run, state) if config.eval_episodes else []
  run.stop.check()
  curves = progress.close()
  parts = ['config.json', 'checkpoints/', 'metrics.jsonl']
  parts += ['snapshots/'] if policy_checkpoints.steps(run.workdir) else []
  parts += [curves.name] if curves else []
  parts += [EVALUATION_FILE] if config.eval_episodes else []
  progress.note(
    f'done in {progress.duration()}, compiling and evaluation included; all of '
    f'the run is in {run.workdir}: {", ".join(parts)}')
  for line in last_words:
    progress.note(line)


def _iterate(run: _Run, step_fn: Any, state: TrainState) -> TrainState:
  """Iterate until all steps are made.

  Raises:
    StoppedError: on a signal, once the state is saved.
  """
  config, progress, stop = run.config, run.progress, run.stop
  averager = MetricAverager()
  last_save = time.monotonic()
  next_snapshot = _next_snapshot(config, _least(state.num_steps))
  saved_step = _least(state.num_steps)
  is_sound, done = True, False
  stop.check()
  while not done:
    is_new = is_sound and _least(state.num_steps) > saved_step
    with _saving_first(run, state, is_new):
      state, device_metrics = step_fn(state)
    metrics = _per_agent(config, jax.device_get(device_metrics))
    num_steps = _least(metrics.num_steps)
    soundness.check_metrics(metrics, num_steps)
    averager.add(metrics)
    if metrics.rollout is not None:
      played = metrics.rollout
      ended = int(played.num_episodes.sum()), float(played.return_sum.sum())
      progress.add_episodes(*ended)
      if run.watch is not None:
        run.watch(num_steps, *ended)
      progress.warn_if_endless(
        num_steps // config.num_envs, run.driver.spec.max_episode_steps)
    # After a skipped update it may be the parameters that are beyond help.
    is_sound = not metrics.skips_in_a_row.any()
    # A signal that comes later than this takes another iteration.
    done = num_steps >= config.total_steps or bool(stop.signum)
    if progress.due() or done:
      with _saving_first(run, state, is_sound):
        progress.log(
          _counts(config, run.driver, state),
          {**_reanalysed(config, run.driver), **averager.take()},
          force=done,
        )
    is_due = time.monotonic() - last_save >= config.checkpoint_period
    if num_steps >= next_snapshot and is_sound:
      _save_snapshot(run, num_steps, state)
      next_snapshot = _next_snapshot(config, num_steps)
    run.saves.poll()
    if done or is_due and is_sound:
      _save(run, state, wait=done)
      last_save, saved_step = time.monotonic(), num_steps
  stop.check()
  return state


@contextlib.contextmanager
def _saving_first(run: _Run, state: TrainState, is_new: bool) -> Iterator[None]:
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
    if is_new and is_whole:
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


def _counts(config: Config, driver: Driver, state: TrainState) -> Counts:
  """Return what a run has done so far, of one agent.

  Simulations are those of acting; offline, of Reanalyse.
  """
  searches = config.rollout_length * config.num_envs
  if config.dataset:
    searches = driver.searches_per_iteration
  return Counts(
    steps=_least(state.num_steps),
    simulations=(
      _least(state.num_iterations) * searches * config.num_simulations),
    updates=_least(state.learner.num_updates),
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


def _least(count: Count) -> int:
  """Return a count of the agent that is behind the others, if there are."""
  return int(np.min(wide_counts.as_int(count)))


def _save(run: _Run, state: TrainState, *, wait: bool) -> None:
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
  step = _least(state.num_steps)
  soundness.check_rows(state, step)
  kept = state if run.driver.restorable else state._replace(actor=_NO_ACTORS)
  run.saves.save(step, kept, wait=wait)


def _next_snapshot(config: Config, num_steps: int) -> float:
  """Return the steps at which a snapshot is due next: whole periods."""
  if not config.snapshot_period:
    return float('inf')
  return (num_steps // config.snapshot_period + 1) * config.snapshot_period


def _save_snapshot(run: _Run, step: int, state: TrainState) -> None:
  """Save the parameters to play with.

  Raises:
    RunError: the disk refuses.
  """
  with files.writing(f'step {step}: the snapshot'):
    params = learner_state.final_params(state.learner)
    facts = run_dir.facts(run.config, run.driver.spec.name)
    is_new = policy_checkpoints.save(run.workdir, step, params, facts=facts)
  if is_new:
    run.progress.note(f'saved the snapshot of step {step:,}')


def _evaluate(run: _Run, state: TrainState) -> list[str]:
  """Evaluate the final agents, print and store their scores.

  Returns:
    What a user is to read last.
  """
  config, progress = run.config, run.progress
  params = jax.device_put(
    learner_state.final_params(state.learner), jax.devices()[0]
  )
  step = _least(state.num_steps)
  with progress.timed(
    f'evaluating over {config.eval_episodes} episodes without noise'
  ):
    found = after_training.evaluate(
      config, run.driver.spec, params, step, workdir=run.workdir,
      make_env=run.make_env, extensions=run.extensions,
      should_stop=run.stop.is_requested)
  for line in found.lines:
    progress.note(line)
  with run.stop.keeping(), files.writing(EVALUATION_FILE):
    files.write_json(pathlib.Path(run.workdir) / EVALUATION_FILE, found.result)
  progress.record(step, {'eval_return': found.result['mean']})
  return found.verdict
