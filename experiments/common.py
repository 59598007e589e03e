"""What every training script does with its arguments."""

import os

from muzero_jax.config import command_line
from muzero_jax.errors import UserError
from muzero_jax.runs import run_dir


def main(families: tuple[str, ...], preset: str) -> None:
  """Trains from the command line.

  Args:
    families: environment families that the script is for.
    preset: where fields without a flag take their values.
  """
  command_line.define(defaults=preset)

  def train(arguments: command_line.Arguments) -> int:
    config = run_dir.resolve(*arguments)
    if config.family not in families:
      raise UserError(
        f'family = {config.family!r} is not one of {", ".join(families)}, '
        'which this script is for'
      )
    # Before environments, of which some start jax's devices when imported.
    _divide_cpu(config.num_devices)
    # Imported late: a mistake in the flags is told before jax is loaded.
    from muzero_jax import envs

    if config.eval_episodes or not config.dataset:
      envs.check_env_id(config.family, config.env_id)
    _cache_compilations()
    from muzero_jax import train as train_lib

    return train_lib.run(config, arguments.workdir)

  command_line.run(train)


def _cache_compilations() -> None:
  """Keeps compiled steps, so that resuming a run does not compile again."""
  folder = os.path.join(
    os.environ.get('XDG_CACHE_HOME', os.path.expanduser('~/.cache')),
    'muzero_jax',
  )
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', folder)


def _divide_cpu(num_devices: int) -> None:
  """Lets the processor count as so many devices, as far as it has cores.

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
