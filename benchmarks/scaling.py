"""How the whole step's speed grows with its batch, up to the memory.

python -m benchmarks.scaling [--flagfile=...] [--field=value ...] [--largest=N]

Takes the configuration as it is and then again and again with 4 times as many
environments, rows of a batch and rows of replay (updates stay as many, so that
each row is trained on as often), until the device's memory, or `largest`
environments, ends it. Times the compiled iteration (play, add, learn) at each
size, on one device, and its share of the best product of matrices; learning
starts with the second iteration whatever min_replay says. Prints a line for
each size and adds it to benchmarks/results/scaling.json.
"""

import dataclasses
import functools
import os
import pathlib
from typing import Any

from absl import flags as absl_flags

from muzero_jax.config import Config, command_line
from muzero_jax.errors import UserError
from muzero_jax.runs import run_dir

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'scaling.json'
_FACTOR = 4
_LARGEST = absl_flags.DEFINE_integer(
  'largest', 8_192, 'The most environments to try.', lower_bound=1)


def main(arguments: command_line.Arguments) -> int:
  base = run_dir.resolve(*arguments)
  if base.num_seeds > 1:
    raise UserError(
      f'num_seeds={base.num_seeds}: one agent is timed; allowed is 1')
  if base.num_devices > 1:
    raise UserError(
      f'num_devices={base.num_devices}: one device is timed; allowed are 0 and '
      '1')
  # Imported late: a mistake in the flags is told before jax is loaded.
  from benchmarks import common

  arguments_given = ' '.join(common.argv())
  xla_flags = os.environ.get('XLA_FLAGS', '')
  for config in sizes(base, _LARGEST.value):
    row = _try(config)
    print(line(row), flush=True)
    result = dict(
      environment=f'{base.family}/{base.env_id}',
      command=f'python -m benchmarks.scaling {arguments_given}',
      rollout_length=base.rollout_length,
      num_simulations=base.num_simulations,
      updates_per_iteration=base.updates_per_iteration,
      xla_flags=xla_flags,
      **row,
      **common.machine(),
    )
    # Each size by itself, and at once: one that is too large for its host may
    # take the process with it.
    devices = result['hardware']['devices']
    common.store(_RESULTS, ' '.join(filter(None, [
      f'{devices}, {row["num_envs"]} environments:', xla_flags,
      arguments_given])), result)
    if 'out_of_memory' in row:
      break
  return 0


def sizes(config: Config, largest: int) -> list[Config]:
  """Returns the configurations to time, smallest first."""
  found: list[Config] = []
  factor = 1
  while not found or config.num_envs * factor <= largest:
    found.append(dataclasses.replace(
      config,
      num_envs=config.num_envs * factor,
      batch_size=config.batch_size * factor,
      replay_capacity=config.replay_capacity * factor,
      # Learning starts with the second iteration, whatever the size.
      min_replay=config.num_envs * factor * config.rollout_length,
    ))
    factor *= _FACTOR
  return found


def _try(config: Config) -> dict[str, Any]:
  """Returns a size's rates, or that the device's memory is too small."""
  import jax

  try:
    return _measure(config)
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    return dict(
      num_envs=config.num_envs, batch_size=config.batch_size,
      out_of_memory=True)


def _measure(config: Config) -> dict[str, Any]:
  """Returns the rates of one size, once it learns."""
  from benchmarks import arithmetic, common
  from muzero_jax.drivers import build, by_environment

  found = common.iteration(config)
  spec = found.env.spec
  config = by_environment.resolve(config, spec)
  flops = arithmetic.flops(
    config, spec, build.make_system(config, spec), found.state.learner.params)
  _, seconds = common.time_iteration(found)
  memory = found.step.memory_analysis()
  return dict(
    num_envs=config.num_envs,
    batch_size=config.batch_size,
    compile_seconds=round(found.compile_seconds, 1),
    **common.rates(config, seconds),
    network_flops_per_second=flops / seconds,
    share_of_peak=flops / seconds / _peak(),
    memory_bytes=memory.argument_size_in_bytes + memory.temp_size_in_bytes,
  )


@functools.cache
def _peak() -> float:
  """Return the operations per second of the best product of matrices."""
  from benchmarks import arithmetic

  return arithmetic.peak()


def line(row: dict[str, Any]) -> str:
  """Returns what is printed of a size."""
  if 'out_of_memory' in row:
    return f'{row["num_envs"]:>9,} environments: out of memory'
  return (
    f'{row["num_envs"]:>9,} environments, batch {row["batch_size"]:>9,}: '
    f'{row["rows_per_second"]:>11,.0f} steps/s '
    f'{row["simulations_per_second"]:>12,.0f} simulations/s '
    f'{row["updates_per_second"]:>7.1f} updates/s '
    f'{row["memory_bytes"] / 2**30:.2f} GiB '
    f'{row["share_of_peak"]:.1%} of peak'
  )


if __name__ == '__main__':
  command_line.define(defaults='cartpole', workdir='runs/scaling')
  command_line.run(main)
