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

from muzero_jax import (
  checkpoint,
  drivers,
  envs,
  evaluate,
  factory,
  flags,
  learner,
  lock,
  replay,
  snapshots,
)
from muzero_jax.agent import Agent, MakeEnv
from muzero_jax.anakin import IterationMetrics, TrainState
from muzero_jax.config import Config
from muzero_jax.drivers import AnyDriver
from muzero_jax.progress import Progress
from muzero_jax.types import AnyEnvironment, EnvSpec

# Share of the free memory that a replay may take: the networks, their
# gradients and the search need the rest.
_MEMORY_SHARE = 0.8
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
    ValueError: if sizes do not fit together or into memory, or the directory
      is in use or belongs to another configuration; nothing was written then.
    FloatingPointError: if losses, observations or rewards are not finite.
    RuntimeError: if a checkpoint cannot be written, or environments of the
      host fail.
  """
  # Its settings come first: it decides how many devices there can be.
  probe = make_env(config, num_envs=1)
  memory = check_memory(config, probe.spec)
  factory.make_system(config, probe.spec)
  env, driver = drivers.make(config, make_env, probe)
  with lock.hold(workdir), _stop_on_signals() as stop:
    try:
      _run(config, workdir, make_env, env, driver, memory, stop)
    except _StoppedError:
      name = signal.Signals(stop.signum).name
      print(f'stopped by {name}; the same command resumes the run', flush=True)
      return 128 + stop.signum
  return 0


def check_memory(config: Config, spec: EnvSpec) -> str:
  """Returns a line on the replay's memory.

  Raises:
    ValueError: if it cannot fit; nothing was allocated.
  """
  needed = config.num_seeds * replay.num_bytes(
    spec, config.num_envs, config.capacity_rows_per_env
  )
  free = _free_memory()
  line = (
    f'replay: {config.replay_rows:,} rows of {spec.name} take '
    f'{_gigabytes(needed)}'
  )
  if config.num_seeds > 1:
    line += f' for {config.num_seeds} agents'
  if free is None:
    return line
  if needed > _MEMORY_SHARE * free:
    raise ValueError(
      f'replay_capacity = {config.replay_capacity}: the replay would take '
      f'{_gigabytes(needed)}, but {_gigabytes(free)} are free, of which it may '
      f'take {_MEMORY_SHARE:.0%}: at most '
      f'{int(config.replay_rows * _MEMORY_SHARE * free / needed)} rows'
    )
  return f'{line} of {_gigabytes(free)} free'


def _free_memory() -> int | None:
  """Returns the free bytes of the devices, or of the host for a CPU."""
  devices = jax.devices()
  if devices[0].platform != 'cpu':
    stats = [device.memory_stats() or {} for device in devices]
    limits = [s.get('bytes_limit', 0) - s.get('bytes_in_use', 0) for s in stats]
    return sum(limits) or None
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/meminfo').read_text().splitlines():
      if line.startswith('MemAvailable:'):
        return int(line.split()[1]) * 1024
  return None


def _gigabytes(num_bytes: float) -> str:
  return f'{num_bytes / 1e9:.2f} GB'


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
  env: AnyEnvironment,
  driver: AnyDriver,
  memory: str,
  stop: _Stop,
) -> None:
  flags.check_same_run(workdir, config)
  state, resumed = _start(config, workdir, env, driver)
  flags.store(workdir, config)
  with Progress(
    workdir,
    total_steps=config.num_steps,
    start_step=_least(state.num_steps),
    start_updates=_least(state.learner.num_updates),
    start_simulations=_num_simulations(config, state),
    log_period=config.log_period,
  ) as progress:
    devices = driver.mesh.devices.size
    progress.header(
      config,
      [
        f'{config.num_envs} environments and batches of {config.batch_size} '
        f'over {devices} device{"s" if devices > 1 else ""}',
        *_agents(config),
        memory,
        f'{driver.samples_per_row:g} sequences trained per row played',
        *resumed,
      ],
    )
    if _least(state.num_steps) < config.num_steps:
      with progress.timed():
        stepping = drivers.stepping(driver, state, progress.note)
      with stepping as step:
        state = _iterate(config, workdir, env, step, state, progress, stop)
    if config.eval_episodes:
      _evaluate(config, workdir, make_env, env.spec, state, progress)
    curves = progress.close()
    files = ['config.json', 'checkpoints/', 'metrics.jsonl']
    files += ['snapshots/'] if snapshots.steps(workdir) else []
    files += [curves.name] if curves else []
    files += [EVALUATION_FILE] if config.eval_episodes else []
    progress.note(f'all of the run is in {workdir}: {", ".join(files)}')


def _start(
  config: Config,
  workdir: str | os.PathLike,
  env: AnyEnvironment,
  driver: AnyDriver,
) -> tuple[TrainState, list[str]]:
  """Returns the state to go on from, and lines that say which that is."""
  rng_key = jax.random.key(config.seed)
  lines: list[str] = []
  abstract = driver.abstract()
  if not env.restorable:
    abstract = abstract._replace(actor=_NO_ACTORS)
  found = checkpoint.restore(workdir, abstract, report=lines.append)
  if found is None:
    return driver.init(rng_key), lines
  step, state = found
  lines.append(f'resumed from the checkpoint at step {step:,}')
  if not env.restorable:
    actor_key = jax.random.fold_in(rng_key, step)
    state = state._replace(
      actor=driver.init_actors(actor_key),
      replay=jax.jit(replay.close_episodes, donate_argnums=0)(state.replay),
    )
    lines.append(
      f'{env.spec.name} cannot be restored: its running episodes start anew'
    )
  return state, lines


def _iterate(
  config: Config,
  workdir: str | os.PathLike,
  env: AnyEnvironment,
  step_fn: Any,
  state: TrainState,
  progress: Progress,
  stop: _Stop,
) -> TrainState:
  """Iterates until all steps are made.

  Raises:
    _StoppedError: on a signal, once the state is saved.
  """
  means = _Means()
  last_save = time.monotonic()
  next_snapshot = _next_snapshot(config, _least(state.num_steps))
  stop.deferred = True
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
    progress.add_episodes(
      metrics.rollout.num_episodes.sum(), metrics.rollout.return_sum.sum()
    )
    # A signal that comes later than this takes another iteration.
    done = num_steps >= config.num_steps or bool(stop.signum)
    if progress.due() or done:
      progress.log(
        num_steps,
        means.take(),
        num_updates=_least(metrics.num_updates),
        num_simulations=_num_simulations(config, state),
        force=done,
      )
    is_due = time.monotonic() - last_save >= config.checkpoint_period
    # After a skipped update it may be the parameters that are beyond help.
    is_sound = not metrics.skips_in_a_row.any()
    if num_steps >= next_snapshot and is_sound:
      _save_snapshot(workdir, num_steps, state, progress)
      next_snapshot = _next_snapshot(config, num_steps)
    if done or is_due and is_sound:
      _save(config, workdir, env, state, progress)
      last_save = time.monotonic()
  stop.deferred = False
  if stop.signum:
    raise _StoppedError
  return state


def _num_simulations(config: Config, state: TrainState) -> int:
  """Returns the simulations of acting so far, of one agent."""
  iterations = _least(state.num_iterations)
  rows = iterations * config.rollout_length * config.num_envs
  return rows * config.num_simulations


def _least(count: Any) -> int:
  """Returns a count of the agent that is behind the others, if there are."""
  return int(np.min(jax.device_get(count)))


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
  if metrics.rollout.num_bad.any():
    _refuse_rows(step, int(metrics.rollout.num_bad.sum()))
  if (metrics.skips_in_a_row >= learner.MAX_SKIPS).any():
    raise FloatingPointError(
      f'step {step}: {learner.MAX_SKIPS} updates in a row had a loss or '
      'gradient that is not finite; the last checkpoint is untouched'
    )


def _refuse_rows(step: int, num_bad: int) -> None:
  raise FloatingPointError(
    f'step {step}: {num_bad} rows of the environment hold observations or '
    'rewards that are not finite; the last checkpoint is untouched'
  )


class _Means:
  """Metrics between two progress lines."""

  def __init__(self) -> None:
    self._all: list[IterationMetrics] = []

  def add(self, metrics: IterationMetrics) -> None:
    """Adds one iteration's."""
    self._all.append(metrics)

  def take(self) -> dict[str, float]:
    """Returns means by name, and forgets what they are made of."""
    taken, self._all = self._all, []
    if not taken:
      return {}
    learnt = [m.learner for m in taken if m.has_learnt.all()]
    row: dict[str, float] = {}
    if learnt:
      for name in learnt[0]._fields:
        mean = np.mean([getattr(m, name) for m in learnt], axis=(0, 1))
        if mean.ndim:
          row |= {f'{name}/{i}': float(x) for i, x in enumerate(mean)}
        else:
          row[name] = float(mean)
    sums = lambda name: np.sum([getattr(m.rollout, name) for m in taken], 0)
    total = lambda name: float(sums(name).sum())
    returns, counts = sums('return_sum'), sums('num_episodes')
    if len(counts) > 1:
      row |= {
        f'return_of_agent/{i}': float(returns[i] / counts[i])
        for i in np.flatnonzero(counts)
      }
    steps, episodes = max(total('num_steps'), 1), total('num_episodes')
    if episodes:
      row['episode_length'] = total('length_sum') / episodes
    row['search_entropy'] = total('policy_entropy_sum') / steps
    row['search_value'] = total('value_sum') / steps
    row['search_value_gap'] = total('network_value_gap') / steps
    row['skipped_updates'] = float(taken[-1].num_skipped.sum())
    return row


def _save(
  config: Config,
  workdir: str | os.PathLike,
  env: AnyEnvironment,
  state: TrainState,
  progress: Progress,
) -> None:
  """Saves all that can be restored, and says so when it is done.

  Raises:
    FloatingPointError: the rows that the actors stand at are not finite; the
      iteration has not looked at them yet.
    RuntimeError: the disk refuses.
  """
  start = time.monotonic()
  step = _least(state.num_steps)
  if state.actor is not _NO_ACTORS:
    row = jax.device_get(state.actor.timestep)
    if num_bad := _num_bad(row.observation, row.reward):
      _refuse_rows(step, num_bad)
  kept = state if env.restorable else state._replace(actor=_NO_ACTORS)
  try:
    checkpoint.save(workdir, step, kept, max_to_keep=config.max_checkpoints)
  except OSError as error:
    raise RuntimeError(
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
    RuntimeError: the disk refuses.
  """
  try:
    is_new = snapshots.save(workdir, step, learner.final_params(state.learner))
  except OSError as error:
    raise RuntimeError(
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
    learner.final_params(state.learner), jax.devices()[0]
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
      evaluate.report(
        Agent(config, spec, one, step, make_env=make_env),
        num_episodes=config.eval_episodes,
        seed=index,  # Agents that met the same luck would seem to agree.
      )
      for index, one in enumerate(each)
    ]
  report = evaluate.over_agents(reports)
  for line in evaluate.describe(report):
    progress.note(line)
  progress.record(step, {'eval_return': report['mean']})
  path = pathlib.Path(workdir) / EVALUATION_FILE
  path.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
