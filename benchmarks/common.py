"""What benchmarks share: machines, results, and an iteration to time."""

import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from muzero_jax import envs
from muzero_jax.config import Config
from muzero_jax.drivers import anakin, train_state
from muzero_jax.drivers import iteration as iteration_lib
from muzero_jax.errors import UserError
from muzero_jax.types import HostEnvironment

PACKAGES = ('jax', 'jaxlib', 'flax', 'mctx', 'optax', 'numpy')


def machine() -> dict[str, Any]:
  """Returns hardware and versions, without names of hosts or paths."""
  return {'hardware': hardware(), 'versions': versions(PACKAGES)}


def hardware() -> dict[str, Any]:
  """Returns the processor, its cores and jax's devices."""
  model = platform.processor() or platform.machine()
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  if cpuinfo.exists():
    for line in cpuinfo.read_text().splitlines():
      if line.startswith('model name'):
        model = line.split(':', 1)[1].strip()
        break
  devices = jax.devices()
  return {
    'cpu': model,
    'cores': os.cpu_count(),
    'devices': f'{len(devices)} x {devices[0].device_kind}',
  }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
  """Returns the installed versions of packages, and Python's."""
  found = {'python': platform.python_version()}
  for package in packages:
    found[package] = importlib.metadata.version(package)
  return found


def argv() -> list[str]:
  """Returns the command line's arguments."""
  return sys.argv[1:]


def store(path: pathlib.Path, name: str, result: dict[str, Any]) -> None:
  """Adds a result to a JSON file under its name."""
  results = json.loads(path.read_text()) if path.exists() else {}
  results[name] = result
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(results, indent=1) + '\n')


class Iteration(NamedTuple):
  """The compiled iteration (play, add, learn) of one agent, once it learns."""

  env: Any
  driver: iteration_lib.Driver
  state: train_state.TrainState
  step: Any  # Compiled; donates the state.
  compile_seconds: float


def iteration(config: Config) -> Iteration:
  """Returns the iteration of `anakin`, past the rows it starts with.

  Raises:
    ValueError: the environment is one of the host.
  """
  env: Any = envs.make(config)
  if isinstance(env, HostEnvironment):
    env.close()
    raise UserError(
      f'env_id: {env.spec.name} is stepped by the host; allowed are '
      'environments that run in JAX')
  driver = anakin.make_anakin(
    config, env, rows_per_env=config.capacity_rows_per_env)
  state = driver.init(iteration_lib.run_key(config))
  start = time.perf_counter()
  step = driver.step.lower(state).compile()
  compile_seconds = time.perf_counter() - start
  while int(state.replay.num_added) * config.num_envs < config.min_replay:
    state, _ = step(state)
  return Iteration(env, driver, state, step, compile_seconds)


def time_iteration(found: Iteration) -> tuple[Any, float]:
  """Returns the state afterwards, and the median seconds of an iteration."""
  state = found.state

  def iterate() -> Any:
    nonlocal state
    state, metrics = found.step(state)
    return metrics

  seconds = median_seconds(iterate)
  return state, seconds


def median_seconds(run: Callable[[], Any], repeats: int = 5) -> float:
  """Returns the median seconds of a call, after one that does not count."""
  jax.block_until_ready(run())
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(run())
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def rates(config: Config, seconds: float) -> dict[str, float]:
  """Returns what an iteration of so many seconds comes to by the second."""
  rows = config.num_envs * config.rollout_length
  return dict(
    iteration_seconds=seconds,
    rows_per_second=rows / seconds,
    simulations_per_second=rows * config.num_simulations / seconds,
    updates_per_second=config.updates_per_iteration / seconds,
  )
