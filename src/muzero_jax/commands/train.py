"""Train an agent in a run directory, or go on training there.

muzero-jax train --preset=cartpole --workdir=runs/x [--field=...]
muzero-jax train --flagfile=x.flags --workdir=runs/x [--field=...]
muzero-jax train --workdir=runs/x
"""

import importlib.util
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags

from muzero_jax import config as config_lib
from muzero_jax import console
from muzero_jax.commands import start
from muzero_jax.config import Config, command_line
from muzero_jax.errors import MissingPackageError, StoppedError, UserError
from muzero_jax.runs import joining, run_dir, signals
from muzero_jax.runs.writers import NAMED


def main(families: tuple[str, ...], preset: str) -> None:
  """Train from the command line of a script for some environment families.

  Args:
    families: environment families that the script is for.
    preset: where fields without a flag take their values.
  """
  with signals.as_a_command():
    flag_values = flags.FlagValues()
    define(flag_values, preset)
    command_line.run(
      lambda arguments: run(arguments, flag_values, families),
      flag_values=flag_values)


def define(flag_values: flags.FlagValues, preset: str = '') -> None:
  """Define the flags: each field of the configuration, --preset, --workdir.

  Args:
    flag_values: where the flags live.
    preset: where fields without a flag take their values; if empty, a new run
      has to be given --preset.
  """
  define_run(flag_values, preset)
  _define_processes(flag_values)


def define_run(flag_values: flags.FlagValues, preset: str = '') -> None:
  """Define the flags of any command that trains; as `define`."""
  command_line.define(defaults=preset or Config(), flag_values=flag_values)
  flags.DEFINE_list(
    'log_to', ['tensorboard'], 'Where metrics go besides metrics.jsonl: '
    f'{", ".join(NAMED)}; several separated by commas, empty for nowhere.',
    flag_values=flag_values)
  flags.DEFINE_bool(
    'restart', False, 'Start anew in a directory that holds a run: its record '
    'is renamed to before-restart, and nothing is deleted.',
    flag_values=flag_values)


def _define_processes(flag_values: flags.FlagValues) -> None:
  """Define the flags of a run of several processes."""
  flags.DEFINE_integer(
    'num_processes', 1, 'Processes of the run, each started by the same '
    'command with its own process_id.', lower_bound=1, upper_bound=100_000,
    flag_values=flag_values)
  flags.DEFINE_integer(
    'process_id', 0, 'Which of num_processes this one is, from 0.',
    lower_bound=0, upper_bound=100_000, flag_values=flag_values)
  flags.DEFINE_string(
    'coordinator_address', '', 'host:port of process 0, which the others '
    'reach; auto where the cluster says all three (Slurm, Open MPI, '
    'Kubernetes, TPU pods); empty for a run of one process.',
    flag_values=flag_values)
  flags.DEFINE_float(
    'collective_timeout', 600.0, 'Seconds that a process of several waits for '
    'the others before it ends.', lower_bound=1.0, flag_values=flag_values)


class Wanted(NamedTuple):
  """What a command that trains was asked for."""

  config: Config
  workdir: str
  writers: tuple[str, ...] | None
  restart: bool


def wanted(
  arguments: command_line.Arguments,
  flag_values: flags.FlagValues,
  families: tuple[str, ...] = (),
) -> Wanted:
  """Return what is asked for, as far as the flags of `define_run` say it.

  Args:
    arguments: what the command line says.
    flag_values: the flags that `define` defined, parsed.
    families: environment families that may be trained; if empty, any.

  Raises:
    UserError: a new run without a preset, or another family.
    MissingPackageError: a writer needs one.
  """
  config = run_dir.resolve(*arguments)
  stored = pathlib.Path(arguments.workdir) / run_dir.CONFIG_FILE
  if not flag_values['preset'].value and not stored.exists():
    raise UserError(
      f'--preset is needed, or a --flagfile that has it: workdir '
      f'{arguments.workdir} holds no run to resume')
  if families and config.family not in families:
    raise UserError(
      f'family = {config.family!r} is not one of {", ".join(families)}, '
      'which this script is for'
    )
  return Wanted(
    config, arguments.workdir, _writers(flag_values['log_to'].value or ()),
    bool(flag_values['restart'].value))


def run(
  arguments: command_line.Arguments,
  flag_values: flags.FlagValues,
  families: tuple[str, ...] = (),
) -> int:
  """Train and return the exit status; arguments as of `wanted`.

  Raises:
    UserError: as `wanted` does, or what `muzero_jax.train.run` refuses.
  """
  asked = wanted(arguments, flag_values, families)
  processes = joining.Wanted(
    flag_values.num_processes, flag_values.process_id,
    flag_values.coordinator_address, flag_values.collective_timeout)
  joining.check(processes)
  with signals.as_a_command() as stop:
    try:
      # Before environments, of which some start jax's devices when imported.
      if not processes.coordinator_address:
        divide_cpu(asked.config.num_devices)
      check_environment(asked, stop)
      with joining.joined(processes, asked.workdir):
        return train(asked, stop)
    except StoppedError:
      return stop.end(restart=asked.restart)


def _writers(names: Sequence[str]) -> tuple[str, ...] | None:
  """Return which writers are asked for; None for what is so by default.

  Raises:
    UserError: there is no such writer.
    MissingPackageError: it was asked for by name, and is not installed.
  """
  for name in names:
    if name not in NAMED:
      raise UserError(
        f'log_to = {name!r} is not one of {", ".join(NAMED)}'
        + config_lib.nearest(name, NAMED))
  if 'wandb' in names and importlib.util.find_spec('wandb') is None:
    raise MissingPackageError(
      "log_to = 'wandb' needs wandb: pip install 'muzero_jax[wandb]'")
  return None if tuple(names) == ('tensorboard',) else tuple(names)


def check_environment(asked: Wanted, stop: signals.Stop) -> None:
  """Load jax, and check that there is such an environment.

  Raises:
    UserError: there is none.
    StoppedError: a signal has come meanwhile.
  """
  config = asked.config
  # The first word comes at once: what follows is silent for seconds.
  console.say(
    f'muzero_jax: training on {config.family}/{config.env_id} in '
    f'{asked.workdir}; loading jax and the environment ...')
  start.prepare()
  # Imported late: a mistake in the flags is told before jax is loaded.
  from muzero_jax import envs

  if config.eval_episodes or not config.dataset:
    envs.check_env_id(config.family, config.env_id)
  stop.check()


def train(asked: Wanted, stop: signals.Stop, **options: Any) -> int:
  """Train, and return the exit status.

  Args:
    asked: for what.
    stop: how the command is stopped.
    options: as `muzero_jax.train.run` takes them; scripts of users, which may
      stand in for it, need not know any.
  """
  from muzero_jax import train as train_lib

  stop.check()
  return train_lib.run(
    asked.config, asked.workdir, writers=asked.writers, restart=asked.restart,
    **options)


def divide_cpu(num_devices: int) -> None:
  """Let the processor count as so many devices, as far as it has cores.

  Each then steps a share of the environments and learns from a share of the
  batch. Whoever sets their number by XLA_FLAGS or JAX_NUM_CPU_DEVICES has
  decided it.
  """
  decided = (
    'JAX_NUM_CPU_DEVICES' in os.environ or
    '--xla_force_host_platform_device_count' in os.environ.get('XLA_FLAGS', ''))
  if num_devices < 2 or decided:
    return
  # Imported late, as all that loads jax is.
  import jax

  if hasattr(os, 'sched_getaffinity'):
    cores = len(os.sched_getaffinity(0))
  else:
    cores = os.cpu_count() or 1
  jax.config.update('jax_num_cpu_devices', min(num_devices, cores))
