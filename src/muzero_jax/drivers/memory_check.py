"""Whether a run's data fit into memory, before any of it is taken."""

import contextlib
import pathlib

import jax

from muzero_jax.config import Config
from muzero_jax.drivers import build
from muzero_jax.errors import UserError
from muzero_jax.replay import reanalyse_buffer, ring
from muzero_jax.replay.dataset import Dataset
from muzero_jax.types import EnvSpec

# Share of the free memory that a replay may take: the networks, their
# gradients and the search need the rest.
_SHARE = 0.8


def check_replay(config: Config, spec: EnvSpec) -> str:
  """Returns a line on the replay's memory.

  Args:
    config: of the run.
    spec: of its environment.

  Raises:
    UserError: if it cannot fit; nothing was allocated.
  """
  needed = config.num_seeds * (
    ring.num_bytes(
      spec, config.num_envs, config.capacity_rows_per_env,
      config.num_sampled_actions)
    + _stream_bytes(config, spec)
  )
  free = free_bytes()
  rounded = ' (whole rollouts)'
  line = (
    f'replay: {config.replay_rows:,} rows'
    f'{rounded if config.replay_rows != config.replay_capacity else ""} of '
    f'{spec.name} take {_gigabytes(needed)}'
  )
  if config.num_seeds > 1:
    line += f' for {config.num_seeds} agents'
  if free is None:
    return line
  if needed > _SHARE * free:
    raise UserError(
      f'replay_capacity = {config.replay_capacity}: the replay would take '
      f'{_gigabytes(needed)}, but {_gigabytes(free)} are free, of which it may '
      f'take {_SHARE:.0%}: at most '
      f'{int(config.replay_rows * _SHARE * free / needed)} rows'
    )
  return f'{line} of {_gigabytes(free)} free, and as much in a checkpoint'


def check_dataset(config: Config, data: Dataset) -> str:
  """Returns a line on the memory of an offline run's data.

  Args:
    config: of the run.
    data: its dataset, not in memory yet.

  Raises:
    UserError: if it cannot fit; nothing was allocated.
  """
  priorities = 4 * config.num_seeds * data.rows.reward.size
  needed = sum(x.nbytes for x in jax.tree.leaves(data.rows)) + priorities
  needed += config.num_seeds * _stream_bytes(
    config, data.spec, rows_per_env=len(data.rows.reward),
    num_envs=data.rows.reward.shape[1])
  free = free_bytes()
  line = f'the dataset takes {_gigabytes(needed)}'
  if free is None:
    return line
  if needed > _SHARE * free:
    raise UserError(
      f'dataset = {config.dataset!r}: its rows would take '
      f'{_gigabytes(needed)}, but {_gigabytes(free)} are free, of which they '
      f'may take {_SHARE:.0%}'
    )
  return f'{line} of {_gigabytes(free)} free'


def _stream_bytes(config: Config, spec: EnvSpec, **size: int) -> int:
  """Returns the bytes of a second ring, as one device alone would have it."""
  plan = build.stream_plan(config, **size)
  if plan is None:
    return 0
  return reanalyse_buffer.num_bytes(spec, plan, 1, config.num_sampled_actions)


def free_bytes() -> int | None:
  """Returns the free bytes of the devices, or of the hosts for CPUs.

  Of several processes each is taken to have as much as this one.
  """
  devices = jax.local_devices()
  if devices[0].platform != 'cpu':
    stats = [device.memory_stats() or {} for device in devices]
    limits = [s.get('bytes_limit', 0) - s.get('bytes_in_use', 0) for s in stats]
    return sum(limits) * jax.process_count() or None
  found = free_host_bytes()
  return None if found is None else found * jax.process_count()


def free_host_bytes() -> int | None:
  """Returns the free bytes of this machine; None where it does not say."""
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/meminfo').read_text().splitlines():
      if line.startswith('MemAvailable:'):
        return int(line.split()[1]) * 1024
  return None


def _gigabytes(num_bytes: float) -> str:
  return f'{num_bytes / 1e9:.2f} GB'
