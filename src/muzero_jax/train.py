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

from muzero_jax import anakin as anakin_lib
from muzero_jax import checkpoint, envs, evaluate, factory, flags, replay
from muzero_jax.agent import Agent
from muzero_jax.anakin import Anakin, IterationMetrics, TrainState
from muzero_jax.config import Config
from muzero_jax.learner import MAX_SKIPS
from muzero_jax.progress import Progress
from muzero_jax.types import Environment, EnvSpec

# Share of the free memory that a replay may take: the networks, their
# gradients and the search need the rest.
_MEMORY_SHARE = 0.8
# What a checkpoint holds of actors that cannot be restored.
_NO_ACTORS: Any = None
EVALUATION_FILE = 'evaluation.json'


class _Stop:
  """Remembers that SIGTERM or Ctrl-C asked the run to end."""

  signum: int = 0

  def __call__(self, signum: int, frame: Any) -> None:
    self.signum = signum
    # The second one ends the process at once.
    signal.signal(signum, signal.SIG_DFL)


def run(config: Config, workdir: str | os.PathLike) -> int:
  """Trains, or goes on training, in a run directory, then evaluates.

  Args:
    config: of the run; stored in the directory, if it is not there yet.
    workdir: the run directory.

  Returns:
    The exit status: 0, or 128 + the signal that stopped the run.

  Raises:
    ValueError: if sizes do not fit together or into memory; nothing was
      written then.
    FloatingPointError: if losses, observations or rewards are not finite.
  """
  # Its settings come first: it decides how many devices there can be.
  env_spec = envs.make(config, num_envs=1).spec
  memory = check_memory(config, env_spec)
  factory.make_system(config, env_spec)
  probe = envs.make(config, num_envs=1)
  num_devices = anakin_lib.choose_num_devices(config, probe.restorable)
  env = envs.make(config, num_envs=config.num_envs // num_devices)
  driver = anakin_lib.make_anakin(
    config,
    env,
    num_devices=num_devices,
    rows_per_env=config.capacity_rows_per_env,
  )
  flags.store(workdir, config)
  with _stop_on_signals() as stop:
    return _run(config, workdir, env, driver, memory, stop)


def check_memory(config: Config, spec: EnvSpec) -> str:
  """Returns a line on the replay's memory.

  Raises:
    ValueError: if it cannot fit; nothing was allocated.
  """
  needed = replay.num_bytes(
    spec, config.num_envs, config.capacity_rows_per_env
  )
  free = _free_memory()
  line = (
    f'replay: {config.replay_rows:,} rows of {spec.name} take '
    f'{_gigabytes(needed)}'
  )
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
  env: Environment,
  driver: Anakin,
  memory: str,
  stop: _Stop,
) -> int:
  state, resumed = _start(config, workdir, env, driver)
  with Progress(
    workdir,
    total_steps=config.num_steps,
    start_step=int(state.num_steps),
    start_updates=int(state.learner.num_updates),
    start_simulations=_num_simulations(config, state),
    log_period=config.log_period,
  ) as progress:
    devices = driver.mesh.devices.size
    progress.header(
      config,
      [
        f'{config.num_envs} environments and batches of {config.batch_size} '
        f'over {devices} device{"s" if devices > 1 else ""}',
        memory,
        f'{driver.samples_per_row:g} sequences trained per row played',
        *resumed,
      ],
    )
    if int(state.num_steps) < config.num_steps:
      with progress.timed():
        step = driver.step.lower(state).compile()
      state = _iterate(config, workdir, env, step, state, progress, stop)
    if stop.signum:
      progress.note(
        f'stopped by {signal.Signals(stop.signum).name}; the same command '
        'resumes the run'
      )
      return 128 + stop.signum
    if config.eval_episodes:
      _evaluate(config, workdir, env.spec, state, progress)
    curves = progress.close()
    progress.note(
      f'all of the run is in {workdir}: config.json, checkpoints/, '
      f'metrics.jsonl{", " + curves.name if curves else ""}, {EVALUATION_FILE}'
    )
  return 0


def _start(
  config: Config,
  workdir: str | os.PathLike,
  env: Environment,
  driver: Anakin,
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
  env: Environment,
  step_fn: Any,
  state: TrainState,
  progress: Progress,
  stop: _Stop,
) -> TrainState:
  """Iterates until all steps are made or a signal asks to stop."""
  means = _Means()
  last_save = time.monotonic()
  num_steps = int(state.num_steps)
  while num_steps < config.num_steps and not stop.signum:
    state, device_metrics = step_fn(state)
    metrics: IterationMetrics = jax.device_get(device_metrics)
    num_steps = int(metrics.num_steps)
    _check_finite(metrics)
    means.add(metrics)
    progress.add_episodes(
      int(metrics.rollout.num_episodes), float(metrics.rollout.return_sum)
    )
    done = num_steps >= config.num_steps or bool(stop.signum)
    if progress.due() or done:
      progress.log(
        num_steps,
        means.take(),
        num_updates=int(metrics.num_updates),
        num_simulations=_num_simulations(config, state),
        force=done,
      )
    if done or time.monotonic() - last_save >= config.checkpoint_period:
      _save(config, workdir, env, state, progress)
      last_save = time.monotonic()
  return state


def _num_simulations(config: Config, state: TrainState) -> int:
  """Returns the simulations of acting so far."""
  rows = int(state.num_iterations) * config.rollout_length * config.num_envs
  return rows * config.num_simulations


def _check_finite(metrics: IterationMetrics) -> None:
  """Raises FloatingPointError where a run cannot go on."""
  step = int(metrics.num_steps)
  if metrics.rollout.num_bad:
    raise FloatingPointError(
      f'step {step}: {int(metrics.rollout.num_bad)} observations or rewards '
      'of the environment are not finite'
    )
  if metrics.skips_in_a_row >= MAX_SKIPS:
    raise FloatingPointError(
      f'step {step}: {MAX_SKIPS} updates in a row had a loss or gradient that '
      'is not finite; the last checkpoint is untouched'
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
    learnt = [m.learner for m in taken if m.has_learnt]
    row = {}
    if learnt:
      row = {
        name: float(np.mean([getattr(m, name) for m in learnt]))
        for name in learnt[0]._fields
      }
    total = lambda name: sum(float(getattr(m.rollout, name)) for m in taken)
    steps, episodes = max(total('num_steps'), 1), total('num_episodes')
    if episodes:
      row['episode_length'] = total('length_sum') / episodes
    row['search_entropy'] = total('policy_entropy_sum') / steps
    row['search_value'] = total('value_sum') / steps
    row['search_value_gap'] = total('network_value_gap') / steps
    row['skipped_updates'] = float(taken[-1].num_skipped)
    return row


def _save(
  config: Config,
  workdir: str | os.PathLike,
  env: Environment,
  state: TrainState,
  progress: Progress,
) -> None:
  """Saves all that can be restored, and says so when it is done."""
  start = time.monotonic()
  kept = state if env.restorable else state._replace(actor=_NO_ACTORS)
  step = int(state.num_steps)
  checkpoint.save(workdir, step, kept, max_to_keep=config.max_checkpoints)
  progress.note(
    f'saved the checkpoint of step {step:,} in '
    f'{time.monotonic() - start:.1f} s'
  )


def _evaluate(
  config: Config,
  workdir: str | os.PathLike,
  spec: EnvSpec,
  state: TrainState,
  progress: Progress,
) -> None:
  """Evaluates the final agent, prints and stores its score."""
  params = jax.device_put(state.learner.params, jax.devices()[0])
  agent = Agent(config, spec, params, int(state.num_steps))
  with progress.timed(
    f'evaluating over {config.eval_episodes} episodes without noise'
  ):
    report = evaluate.report(agent, num_episodes=config.eval_episodes)
  for line in evaluate.describe(report):
    progress.note(line)
  progress.record(agent.step, {'eval_return': report['mean']})
  path = pathlib.Path(workdir) / EVALUATION_FILE
  path.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
