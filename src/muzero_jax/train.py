"""The host's side of a run: build, resume, iterate, save, evaluate, report."""

import contextlib
import json
import os
import pathlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from muzero_jax import envs
from muzero_jax.agent import Agent, MakeEnv
from muzero_jax.config import Config
from muzero_jax.drivers import build, choose, iteration, memory_check, offline
from muzero_jax.drivers.choose import AnyDriver
from muzero_jax.drivers.iteration import IterationMetrics, TrainState
from muzero_jax.errors import NotFiniteError, RunError
from muzero_jax.evaluation import report as report_lib
from muzero_jax.learning import learner_state
from muzero_jax.replay import dataset, ring
from muzero_jax.replay.dataset import Dataset
from muzero_jax.runs import checkpoint, lock, policy_checkpoints, run_dir
from muzero_jax.runs.metrics import Means
from muzero_jax.runs.progress import Progress
from muzero_jax.types import EnvSpec

# What a checkpoint holds of actors that cannot be restored.
_NO_ACTORS: Any = None
EVALUATION_FILE = 'evaluation.json'


class _StoppedError(Exception):
  """SIGTERM or Ctrl-C ended the run; all that can be saved is saved."""


class _Stop:
  """Ends the run on SIGTERM or Ctrl-C."""

  signum: int = 0
  # True while there is something to save first: who sets it looks at signum.
  deferred: bool = False

  def __call__(self, signum: int, frame: Any) -> None:
    self.signum = signum
    # The second one ends the process at once.
    signal.signal(signum, signal.SIG_DFL)
    if not self.deferred:
      raise _StoppedError


def run(
  config: Config,
  workdir: str | os.PathLike,
  *,
  make_env: MakeEnv = envs.make,
) -> int:
  """Trains, or goes on training, in a run directory, then evaluates.

  Args:
    config: of the run; stored in the directory, if it is not there yet.
    workdir: the run directory.
    make_env: called as `envs.make` is; for environments of one's own.

  Returns:
    The exit status: 0, or 128 + the signal that stopped the run.

  Raises:
    UserError: if sizes do not fit together or into memory, or the directory
      is in use or belongs to another configuration; nothing was written then.
    NotFiniteError: if losses, observations or rewards are not finite.
    RunError: if a checkpoint cannot be written, or environments of the
      host fail.
  """
  if config.dataset:
    driver, data, lines = _make_offline(config, make_env)
  else:
    driver, lines = _make_playing(config, make_env)
    data = None
  with lock.hold(workdir), _stop_on_signals() as stop:
    try:
      _run(config, workdir, make_env, driver, data, lines, stop)
    except _StoppedError:
      name = signal.Signals(stop.signum).name
      print(f'stopped by {name}; the same command resumes the run', flush=True)
      return 128 + stop.signum
  return 0


def _make_playing(
  config: Config, make_env: MakeEnv
) -> tuple[AnyDriver, list[str]]:
  """Returns the driver of a run that plays, and lines on it."""
  # Its settings come first: it decides how many devices there can be.
  probe = make_env(config, num_envs=1)
  needed = memory_check.check_replay(config, probe.spec)
  build.make_system(config, probe.spec)
  driver = choose.make(config, make_env, probe)
  return driver, [
    f'{config.num_envs} environments and batches of {config.batch_size} '
    f'over {_devices(driver.mesh.devices.size)}',
    *_agents(config),
    needed,
    f'{driver.samples_per_row:g} sequences trained per row played',
    *_searches(config, driver),
  ]


def _make_offline(
  config: Config, make_env: MakeEnv
) -> tuple[AnyDriver, Dataset, list[str]]:
  """Returns the driver of a run that plays nothing, its data and lines."""
  spec = None
  if config.eval_episodes:
    spec = make_env(config, num_envs=1, evaluation=True).spec
  data = dataset.load(config.dataset, window=config.window_rows, spec=spec)
  needed = memory_check.check_dataset(config, data)
  num_envs = data.rows.reward.shape[1]
  num_devices = iteration.choose_num_devices(config, num_envs=num_envs)
  driver = offline.make_offline(config, data, num_devices=num_devices)
  return driver, data, [
    f'offline, batches of {config.batch_size} over {_devices(num_devices)}',
    *_agents(config),
    f'dataset {config.dataset}: {dataset.describe(data)}',
    needed,
    *_searches(config, driver),
  ]


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
  """Turns SIGTERM and Ctrl-C into a request to stop."""
  stop = _Stop()
  try:
    old = {
      s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)
    }
  except ValueError:  # Not the main thread, as in some notebooks.
    old = {}
  try:
    yield stop
  finally:
    for signum, handler in old.items():
      signal.signal(signum, handler)


def _run(
  config: Config,
  workdir: str | os.PathLike,
  make_env: MakeEnv,
  driver: AnyDriver,
  data: Dataset | None,
  lines: list[str],
  stop: _Stop,
) -> None:
  run_dir.check_same_run(workdir, config)
  if data is not None:
    offline.check_same_data(workdir, data)
  state, resumed = _start(config, workdir, driver)
  run_dir.store(workdir, config)
  if data is not None:
    dataset.write_facts(workdir, data.facts)
  with Progress(
    workdir,
    total_steps=config.total_steps,
    unit='updates' if config.dataset else 'steps',
    start_step=_least(state.num_steps),
    start_updates=_least(state.learner.num_updates),
    start_simulations=_num_simulations(config, driver, state),
    log_period=config.log_period,
  ) as progress:
    progress.header(config, [*lines, *resumed])
    if _least(state.num_steps) < config.total_steps:
      with progress.timed():
        stepping = choose.stepping(driver, state, progress.note)
      with stepping as step:
        state = _iterate(config, workdir, driver, step, state, progress, stop)
    if config.eval_episodes:
      _evaluate(config, workdir, make_env, driver.spec, state, progress)
    curves = progress.close()
    files = ['config.json', 'checkpoints/', 'metrics.jsonl']
    files += ['snapshots/'] if policy_checkpoints.steps(workdir) else []
    files += [curves.name] if curves else []
    files += [EVALUATION_FILE] if config.eval_episodes else []
    progress.note(f'all of the run is in {workdir}: {", ".join(files)}')


def _start(
  config: Config,
  workdir: str | os.PathLike,
  driver: AnyDriver,
) -> tuple[TrainState, list[str]]:
  """Returns the state to go on from, and lines that say which that is."""
  rng_key = jax.random.key(config.seed)
  lines: list[str] = []
  abstract = driver.abstract()
  if not driver.restorable:
    abstract = abstract._replace(actor=_NO_ACTORS)
  found = checkpoint.restore(workdir, abstract, report=lines.append)
  if found is None:
    return driver.init(rng_key), lines
  step, state = found
  lines.append(f'resumed from the checkpoint at step {step:,}')
  if not driver.restorable:
    actor_key = jax.random.fold_in(rng_key, step)
    state = state._replace(
      actor=driver.init_actors(actor_key),
      replay=jax.jit(ring.close_episodes, donate_argnums=0)(state.replay),
    )
    lines.append(
      f'{driver.spec.name} cannot be restored: its running episodes start anew'
    )
  return state, lines


def _iterate(
  config: Config,
  workdir: str | os.PathLike,
  driver: AnyDriver,
  step_fn: Any,
  state: TrainState,
  progress: Progress,
  stop: _Stop,
) -> TrainState:
  """Iterates until all steps are made.

  Raises:
    _StoppedError: on a signal, once the state is saved.
  """
  means = Means()
  last_save = time.monotonic()
  next_snapshot = _next_snapshot(config, _least(state.num_steps))
  stop.deferred = True
  # Whoever compiled meanwhile may have swallowed the exception of a signal.
  if stop.signum:
    raise _StoppedError
  done = False
  while not done:
    state, device_metrics = step_fn(state)
    metrics: Any = jax.device_get(device_metrics)
    # [agents, ...] from here on.
    metrics = jax.tree.map(
      lambda x: x.reshape(config.num_seeds, *x.shape[config.num_seeds > 1:]),
      metrics,
    )
    num_steps = _least(metrics.num_steps)
    _check_finite(metrics)
    means.add(metrics)
    if metrics.rollout is not None:
      progress.add_episodes(
        metrics.rollout.num_episodes.sum(), metrics.rollout.return_sum.sum()
      )
    # A signal that comes later than this takes another iteration.
    done = num_steps >= config.total_steps or bool(stop.signum)
    if progress.due() or done:
      progress.log(
        num_steps,
        {**_reanalysed(config, driver), **means.take()},
        num_updates=_least(metrics.num_updates),
        num_simulations=_num_simulations(config, driver, state),
        force=done,
      )
    is_due = time.monotonic() - last_save >= config.checkpoint_period
    # After a skipped update it may be the parameters that are beyond help.
    is_sound = not metrics.skips_in_a_row.any()
    if num_steps >= next_snapshot and is_sound:
      _save_snapshot(workdir, num_steps, state, progress)
      next_snapshot = _next_snapshot(config, num_steps)
    if done or is_due and is_sound:
      _save(config, workdir, driver, state, progress)
      last_save = time.monotonic()
  stop.deferred = False
  if stop.signum:
    raise _StoppedError
  return state


def _num_simulations(
  config: Config, driver: AnyDriver, state: TrainState
) -> int:
  """Returns the simulations of acting so far, of one agent; offline, those of
  Reanalyse."""
  iterations = _least(state.num_iterations)
  if config.dataset:
    searches = iterations * driver.searches_per_iteration
    return searches * config.num_simulations
  rows = iterations * config.rollout_length * config.num_envs
  return rows * config.num_simulations


def _reanalysed(config: Config, driver: AnyDriver) -> dict[str, float]:
  """Returns the exact share of reanalysed sequences, if there are any.

  With the age of their targets in updates, 0 within the batch: what is stale
  there is the target network. A stream tells its own.
  """
  count = build.num_reanalysed(config, driver.mesh.devices.size)
  if not count:
    return {}
  share = count / config.batch_size
  return dict(reanalysed_fraction=share, target_age=0.0)


def _least(count: Any) -> int:
  """Returns a count of the agent that is behind the others, if there are."""
  return int(np.min(jax.device_get(count)))


def _devices(count: int) -> str:
  return f'{count} device{"s" if count > 1 else ""}'


def _searches(config: Config, driver: AnyDriver) -> list[str]:
  """Returns a line on Reanalyse, if there is any."""
  count = build.num_reanalysed(config, driver.mesh.devices.size)
  if not count:
    return []
  return [
    f'{count} of {config.batch_size} sequences reanalysed, '
    f'{driver.searches_per_iteration:,} searches an iteration '
    f'({config.reanalyse_form})'
  ]


def _agents(config: Config) -> list[str]:
  """Returns a line on how many agents train, if more than one."""
  if config.num_seeds == 1:
    return []
  return [
    f'{config.num_seeds} agents side by side: steps and rates are those of '
    'each, the rest are means over all'
  ]


def _check_finite(metrics: IterationMetrics) -> None:
  """Raises FloatingPointError where a run cannot go on."""
  step = _least(metrics.num_steps)
  if metrics.rollout is not None and metrics.rollout.num_bad.any():
    _refuse_rows(step, int(metrics.rollout.num_bad.sum()))
  if (metrics.skips_in_a_row >= learner_state.MAX_SKIPS).any():
    raise NotFiniteError(
      f'step {step}: {learner_state.MAX_SKIPS} updates in a row had a loss or '
      'gradient that is not finite; the last checkpoint is untouched'
    )


def _refuse_rows(step: int, num_bad: int) -> None:
  raise NotFiniteError(
    f'step {step}: {num_bad} rows of the environment hold observations or '
    'rewards that are not finite; the last checkpoint is untouched'
  )


def _save(
  config: Config,
  workdir: str | os.PathLike,
  driver: AnyDriver,
  state: TrainState,
  progress: Progress,
) -> None:
  """Saves all that can be restored, and says so when it is done.

  Raises:
    NotFiniteError: the rows that the actors stand at are not finite; the
      iteration has not looked at them yet.
    RunError: the disk refuses.
  """
  start = time.monotonic()
  step = _least(state.num_steps)
  if state.actor is not None:
    row = jax.device_get(state.actor.timestep)
    if num_bad := _num_bad(row.observation, row.reward):
      _refuse_rows(step, num_bad)
  kept = state if driver.restorable else state._replace(actor=_NO_ACTORS)
  try:
    checkpoint.save(workdir, step, kept, max_to_keep=config.max_checkpoints)
  except OSError as error:
    raise RunError(
      f'step {step}: the checkpoint cannot be written: {error}'
    ) from error
  progress.note(
    f'saved the checkpoint of step {step:,} in '
    f'{time.monotonic() - start:.1f} s'
  )


def _next_snapshot(config: Config, num_steps: int) -> float:
  """Returns the steps at which a snapshot is due next: whole periods."""
  if not config.snapshot_period:
    return float('inf')
  return (num_steps // config.snapshot_period + 1) * config.snapshot_period


def _save_snapshot(
  workdir: str | os.PathLike,
  step: int,
  state: TrainState,
  progress: Progress,
) -> None:
  """Saves the parameters to play with.

  Raises:
    RunError: the disk refuses.
  """
  try:
    params = learner_state.final_params(state.learner)
    is_new = policy_checkpoints.save(workdir, step, params)
  except OSError as error:
    raise RunError(
      f'step {step}: the snapshot cannot be written: {error}'
    ) from error
  if is_new:
    progress.note(f'saved the snapshot of step {step:,}')


def _num_bad(observation: np.ndarray, reward: np.ndarray) -> int:
  """Returns how many of [..., B] rows hold a number that is not finite."""
  finite = np.isfinite(reward)
  if np.issubdtype(observation.dtype, np.floating):
    rows = observation.reshape(*reward.shape, -1)
    finite &= np.isfinite(rows).all(axis=-1)
  return int((~finite).sum())


def _evaluate(
  config: Config,
  workdir: str | os.PathLike,
  make_env: MakeEnv,
  spec: EnvSpec,
  state: TrainState,
  progress: Progress,
) -> None:
  """Evaluates the final agents, prints and stores their scores."""
  params = jax.device_put(
    learner_state.final_params(state.learner), jax.devices()[0]
  )
  step = _least(state.num_steps)
  each = [params]
  if config.num_seeds > 1:
    leaves, treedef = jax.tree.flatten(params)
    each = [
      jax.tree.unflatten(treedef, one) for one in zip(*leaves, strict=True)
    ]
  with progress.timed(
    f'evaluating over {config.eval_episodes} episodes without noise'
  ):
    reports = [
      report_lib.report(
        Agent(config, spec, one, step, make_env=make_env),
        num_episodes=config.eval_episodes,
        seed=index,  # Agents that met the same luck would seem to agree.
      )
      for index, one in enumerate(each)
    ]
  report = report_lib.over_agents(reports)
  for line in report_lib.describe(report):
    progress.note(line)
  progress.record(step, {'eval_return': report['mean']})
  path = pathlib.Path(workdir) / EVALUATION_FILE
  path.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
