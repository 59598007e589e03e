"""Which driver a run has: `anakin`, `sebulba` or `offline`; what it needs."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from muzero_jax import envs
from muzero_jax.config import Config
from muzero_jax.drivers import (
  anakin,
  build,
  by_environment,
  memory_check,
  offline,
  sebulba,
)
from muzero_jax.drivers import placement as placement_lib
from muzero_jax.drivers.build import Extensions
from muzero_jax.drivers.cluster import driver as cluster
from muzero_jax.drivers.cluster.runtime import Wanted
from muzero_jax.drivers.iteration import Driver
from muzero_jax.envs import checks, shapes
from muzero_jax.errors import UserError
from muzero_jax.replay import dataset
from muzero_jax.replay.dataset import Dataset
from muzero_jax.types import AnyEnvironment, HostEnvironment

_STEPS_OF_A_CHECK = 10


def make_driver(
  config: Config,
  make_env: Callable[..., AnyEnvironment],
  probe: AnyEnvironment,
  extensions: Extensions = build.NONE,
  jobs: Wanted | None = None,
) -> Driver:
  """Make the driver of a run that plays.

  Args:
    config: of the run.
    make_env: builds environments, as `envs.make` does.
    probe: one of them, which says where they are stepped.
    extensions: a user's own parts.
    jobs: what plays and reanalyses elsewhere; None for a run of its own.

  Raises:
    UserError: as the drivers do, or if `config.driver` is the other one.
  """
  config = by_environment.resolve(config, probe.spec)
  if jobs is not None:
    return cluster.make_cluster(
      config, probe.spec, make_env, jobs, extensions)
  rows_per_env = config.capacity_rows_per_env
  is_host = isinstance(probe, HostEnvironment)
  if config.driver == ('anakin' if is_host else 'sebulba'):
    place = 'the host' if is_host else 'JAX'
    raise UserError(
      f'driver = {config.driver!r} is not for {probe.spec.name}, an '
      f'environment of {place}; take auto'
    )
  if is_host:
    return sebulba.make_sebulba(
      config, probe.spec, make_env, rows_per_env=rows_per_env,
      extensions=extensions)
  num_devices = placement_lib.choose_num_devices(config, probe.restorable)
  local_envs = config.num_envs // num_devices
  env = make_env(config, num_envs=local_envs)
  assert not isinstance(env, HostEnvironment)
  if env.restorable:
    shapes.check_arrays(env, local_envs)
  return anakin.make_anakin(
    config, env, num_devices=num_devices, rows_per_env=rows_per_env,
    extensions=extensions)


class Prepared(NamedTuple):
  """The driver of a run, and what was found out on the way."""

  driver: Driver
  config: Config  # With what it left to the environment.
  data: Dataset | None  # Of an offline run.
  lines: list[str]  # What a user is told of them.


def prepare(
  config: Config,
  make_env: Callable[..., AnyEnvironment],
  extensions: Extensions = build.NONE,
  jobs: Wanted | None = None,
) -> Prepared:
  """Make the driver of any run, after a look at whether it fits into memory.

  Args:
    config: of the run.
    make_env: builds environments, as `envs.make` does.
    extensions: a user's own parts.
    jobs: what plays and reanalyses elsewhere; None for a run of its own.

  Raises:
    UserError: sizes do not fit together or into memory.
  """
  if config.dataset and jobs is not None:
    raise UserError(
      f'dataset = {config.dataset!r}: a run with jobs plays; allowed is none')
  if config.dataset:
    return _prepare_offline(config, make_env, extensions)
  # Its settings come first: it decides how many devices there can be.
  probe = make_env(config, num_envs=1)
  _check_own(make_env, probe)
  given, config = config, by_environment.resolve(config, probe.spec)
  needed = memory_check.check_replay(config, probe.spec)
  build.make_system(config, probe.spec, extensions)
  driver = make_driver(config, make_env, probe, extensions, jobs)
  return Prepared(driver, config, None, [
    *by_environment.describe(given, config, probe.spec),
    f'{config.num_envs} environments and batches of {config.batch_size} '
    f'over {_devices(driver.num_devices)}',
    *_agents(config),
    needed,
    f'{driver.samples_per_row:g} sequences trained per row played',
    *_searches(config, driver),
  ])


def _check_own(
  make_env: Callable[..., AnyEnvironment], probe: AnyEnvironment
) -> None:
  """Play a user's own environment for a moment, before anything is compiled.

  The library's own keep the contract; those of the host are checked row by row.

  Raises:
    UserError: says which part of the contract is broken.
  """
  checks.check_bounds(probe.spec)
  if make_env is envs.make or isinstance(probe, HostEnvironment):
    return
  shapes.check_arrays(probe, 1)
  checks.check_environment(
    probe, jax.random.key(0), num_steps=_STEPS_OF_A_CHECK)


def _prepare_offline(
  config: Config,
  make_env: Callable[..., AnyEnvironment],
  extensions: Extensions,
) -> Prepared:
  """Make the driver of a run that plays nothing, and load its data."""
  spec = None
  if config.eval_episodes:
    spec = envs.spec_of(config, make_env)
  data = dataset.load(config.dataset, window=config.window_rows, spec=spec)
  given, config = config, by_environment.resolve(config, data.spec)
  needed = memory_check.check_dataset(config, data)
  num_envs = data.rows.reward.shape[1]
  num_devices = placement_lib.choose_num_devices(config, num_envs=num_envs)
  driver = offline.make_offline(
    config, data, num_devices=num_devices, extensions=extensions)
  return Prepared(driver, config, data, [
    *by_environment.describe(given, config, data.spec),
    f'offline, batches of {config.batch_size} over {_devices(num_devices)}',
    *_agents(config),
    f'dataset {config.dataset}: {dataset.describe(data)}',
    needed,
    *_searches(config, driver),
  ])


def _devices(count: int) -> str:
  return f'{count} device{"s" if count > 1 else ""}'


def _searches(config: Config, driver: Driver) -> list[str]:
  """Return a line on Reanalyse, if there is any."""
  count = build.num_reanalysed(config, driver.num_devices)
  if not count:
    return []
  return [
    f'{count} of {config.batch_size} sequences reanalysed, '
    f'{driver.searches_per_iteration:,} searches an iteration '
    f'({config.reanalyse_form})'
  ]


def _agents(config: Config) -> list[str]:
  """Return a line on how many agents train, if more than one."""
  if config.num_seeds == 1:
    return []
  return [
    f'{config.num_seeds} agents side by side: steps and rates are those of '
    'each, the rest are means over all'
  ]
