"""Both drivers on the same environment, side by side.

python -m benchmarks.drivers [--flagfile=...] [--field=value ...]

CartPole in JAX through `anakin`, and Gymnasium's CartPole, which has the same
dynamics, through `sebulba`: as it lags and threads. The same networks, searches
and updates everywhere. Prints a table and adds it to
benchmarks/results/drivers.json.
"""

import dataclasses
import pathlib
import statistics
import time
from typing import Any

from muzero_jax.config import command_line
from muzero_jax.runs import run_dir

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'drivers.json'
_REPEATS = 5
_ITERATIONS = 8  # Of each repeat; actors that run ahead pay off in a row.
_JAX = dict(family='classic', env_id='cartpole')
_HOST = dict(family='gymnasium', env_id='CartPole-v1')
_VARIANTS: dict[str, dict[str, Any]] = {
  'anakin': _JAX,
  'sebulba, lag 1': _HOST,
  'sebulba, lag 2': dict(_HOST, policy_lag=2),
  'sebulba, lag 2, 2 threads': dict(_HOST, policy_lag=2, actor_threads=2),
  'sebulba, lag 2, own vectorisation': dict(
    _HOST, policy_lag=2, vectorisation='own'),
}


def main(arguments: command_line.Arguments) -> int:
  config = run_dir.resolve(*arguments)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from benchmarks import common

  rows = {}
  for name, fields in _VARIANTS.items():
    rows[name] = _measure(dataclasses.replace(config, **fields))
    print(_line(name, rows[name], rows['anakin']), flush=True)
  common.store(_RESULTS, 'cartpole', dict(
    command='python -m benchmarks.drivers ' + ' '.join(common.argv()),
    num_envs=config.num_envs,
    rollout_length=config.rollout_length,
    num_simulations=config.num_simulations,
    batch_size=config.batch_size,
    updates_per_iteration=config.updates_per_iteration,
    drivers=rows,
    **common.machine(),
  ))
  return 0


def _measure(config: Any) -> dict[str, float]:
  """Returns the rates of one driver, once it learns."""
  import jax

  from benchmarks import common
  from muzero_jax import envs
  from muzero_jax.drivers import choose, iteration

  probe = envs.make(config, num_envs=1)
  driver = choose.make_driver(config, envs.make, probe)
  state = driver.init(iteration.run_key(config))
  start = time.perf_counter()
  session = driver.session(state)
  compile_seconds = time.perf_counter() - start
  times = []
  with session as step:
    has_learnt = False
    while not has_learnt:
      state, metrics = step(state)
      has_learnt = bool(metrics.has_learnt)
    for _ in range(_REPEATS):
      start = time.perf_counter()
      for _ in range(_ITERATIONS):
        state, metrics = step(state)
        # As a run does, which looks at each iteration's metrics.
        jax.device_get(metrics)
      times.append((time.perf_counter() - start) / _ITERATIONS)
  return dict(
    compile_seconds=round(compile_seconds, 1),
    **common.rates(config, statistics.median(times)),
  )


def _line(name: str, row: dict[str, float], first: dict[str, float]) -> str:
  share = first['iteration_seconds'] / row['iteration_seconds']
  return (
    f'{name:34} {row["iteration_seconds"]:7.3f} s/iteration '
    f'{row["rows_per_second"]:8.0f} rows/s {row["updates_per_second"]:7.1f} '
    f'updates/s {share:6.0%} of anakin'
  )


if __name__ == '__main__':
  command_line.define(defaults='cartpole', workdir='runs/throughput')
  command_line.run(main)
