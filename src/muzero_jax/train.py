"""The host's side of a run: build, resume, iterate, save, evaluate, report."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from muzero_jax import console, envs, files, paths
from muzero_jax.agent import MakeEnv
from muzero_jax.config import Config
from muzero_jax.drivers import (
  choose,
  offline,
)
from muzero_jax.drivers.build import Extensions
from muzero_jax.drivers.cluster.runtime import Wanted
from muzero_jax.drivers.iteration import Driver
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.errors import StoppedError, UserError
from muzero_jax.evaluation import after_training, during_training
from muzero_jax.runs import (
  best,
  iterate,
  joining,
  metrics,
  opening,
  policy_checkpoints,
  record,
  resume,
  run_dir,
  signals,
)
from muzero_jax.runs.iterate import Run, Watch
from muzero_jax.runs.progress import Progress
from muzero_jax.runs.signals import Stop
from muzero_jax.runs.writers import Writer

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
  jobs: Wanted | None


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
  jobs: Wanted | None = None,
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
    jobs: what plays and reanalyses in processes of Ray's, within
      `drivers.cluster.runtime.connected`; None for a run of its own.

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
        config, workdir, make_env, extensions, writers, restart, watch,
        jobs), stop)
    except StoppedError:
      if joining.current().count > 1 and not stop.is_agreed:
        raise  # The others are told by this process's end.
      return stop.end(restart=restart)
  return 0


def _run(wanted: _Wanted, stop: Stop) -> None:
  """Do what `run` does, until it is done or StoppedError ends it."""
  workdir, peers = wanted.workdir, joining.current()
  if jax.process_count() != peers.count:
    raise UserError(
      f'this is one of {jax.process_count()} processes of jax.distributed: '
      'call train.run within runs.joining.joined, or start it by the command')
  driver, config, data, lines = choose.prepare(
    wanted.config, wanted.make_env, wanted.extensions, wanted.jobs)
  stop.check()
  if peers.count > 1:
    opening.check_alike(workdir, config, peers)
  with opening.holding(workdir, peers) as check_place:
    if peers.is_first:
      record.refuse_links(workdir)
      run_dir.check_same_run(workdir, config)
      if data is not None:
        offline.check_same_data(workdir, data)
      aside = record.set_aside(workdir) if wanted.restart else None
      if aside is not None:
        console.say(f'starts anew: the old record is in {aside}')
    peers.meet()
    state, resumed = resume.start(config, workdir, driver, peers)
    if peers.is_first:
      opening.store(workdir, config, data, stop)
    stop.check()
    facts = run_dir.facts(config, driver.spec.name)
    with opening.progress(
      config, workdir, driver.spec, peers, wanted.writers,
      start=iterate.counts(config, driver, state),
    ) as progress, opening.saver(
      config, workdir, peers, facts=facts, note=progress.note,
      check=check_place,
    ) as saves:
      progress.header(config, [*lines, *resumed])
      _train(wanted, Run(
        config, workdir, driver, progress, stop, saves, wanted.watch, peers,
        _evaluator(wanted, config, driver, stop)), state)


def _evaluator(
  wanted: _Wanted, config: Config, driver: Driver, stop: Stop
) -> during_training.Evaluate | None:
  """Make what evaluates on the way, if anything is to."""
  if not config.eval_period:
    return None
  return during_training.make(
    config, driver.spec, workdir=wanted.workdir, make_env=wanted.make_env,
    extensions=wanted.extensions, should_stop=stop.is_requested)


def _train(wanted: _Wanted, run: Run, state: TrainState) -> None:
  """Iterate to the last step, evaluate, and say where everything is."""
  config, progress = run.config, run.progress
  if iterate.least(state.num_steps) < config.total_steps:
    with progress.timed():
      session = run.driver.session(
        state, progress.note, run.stop.is_requested)
    # Some collectives wait half a minute at most: compiling may differ more.
    run.peers.meet()
    # Kept until the last save is on disk, even where an error ends this.
    with session as step, run.stop.keeping(), run.saves:
      state = iterate.iterate(run, step, state)
  run.check_stop()
  if isinstance(progress, Progress):
    _finish(wanted, run, progress, state)
  # The first process has evaluated meanwhile.
  run.peers.meet()
  # Also a signal that came while all was done.
  run.check_stop()


def _finish(
  wanted: _Wanted, run: Run, progress: Progress, state: TrainState
) -> None:
  """Evaluate, close the record, and say where everything is."""
  config = run.config
  last_words: list[str] = []
  with contextlib.suppress(StoppedError):
    if config.eval_episodes:
      last_words = _evaluate(wanted, run, progress, state)
  if run.stop.is_requested():
    return
  curves = progress.close()
  parts = ['config.json', 'checkpoints/', 'metrics.jsonl']
  parts += ['snapshots/'] if policy_checkpoints.steps(run.workdir) else []
  parts += ['best/'] if config.eval_period else []
  parts += [curves.name] if curves else []
  parts += [EVALUATION_FILE] if config.eval_episodes else []
  progress.note(
    f'done in {progress.duration()}, compiling and evaluation included; all of '
    f'the run is in {run.workdir}: {", ".join(parts)}')
  for line in last_words:
    progress.note(line)


def _evaluate(
  wanted: _Wanted, run: Run, progress: Progress, state: TrainState
) -> list[str]:
  """Evaluate the final agents, print and store their scores.

  Returns:
    What a user is to read last.
  """
  config = run.config
  params = jax.device_put(iterate.final_params(state), jax.local_devices()[0])
  step = iterate.least(state.num_steps)
  with progress.timed(
    f'evaluating over {config.eval_episodes} episodes without noise'
  ):
    found = after_training.evaluate(
      config, run.driver.spec, params, step, workdir=run.workdir,
      make_env=wanted.make_env, extensions=wanted.extensions,
      should_stop=run.stop.is_requested)
  for line in found.lines:
    progress.note(line)
  if config.eval_period:
    known = during_training.keep_best(
      config, run.driver.spec, params, best.Best(step, found.result['mean']),
      workdir=run.workdir)
    if known.step != step:
      progress.note(
        f'the best was {known.score:.2f} at step {known.step:,}; its '
        'parameters are those of --snapshot=best')
  with run.stop.keeping(), files.writing(EVALUATION_FILE):
    files.write_json(pathlib.Path(run.workdir) / EVALUATION_FILE, found.result)
  progress.record(step, {metrics.EVALUATION: found.result['mean']})
  return found.verdict
