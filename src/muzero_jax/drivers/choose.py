"""Which driver a run has: `anakin`, `sebulba` or `offline`."""

from collections.abc import Callable

from muzero_jax.config import Config
from muzero_jax.drivers import anakin, build, iteration, sebulba
from muzero_jax.drivers.build import Extensions
from muzero_jax.drivers.iteration import Driver
from muzero_jax.envs import shapes
from muzero_jax.errors import UserError
from muzero_jax.types import AnyEnvironment, HostEnvironment


def make_driver(
  config: Config,
  make_env: Callable[..., AnyEnvironment],
  probe: AnyEnvironment,
  extensions: Extensions = build.NONE,
) -> Driver:
  """Make the driver of a run that plays.

  Args:
    config: of the run.
    make_env: builds environments, as `envs.make` does.
    probe: one of them, which says where they are stepped.
    extensions: a user's own parts.

  Raises:
    UserError: as the drivers do, or if `config.driver` is the other one.
  """
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
  num_devices = iteration.choose_num_devices(config, probe.restorable)
  local_envs = config.num_envs // num_devices
  env = make_env(config, num_envs=local_envs)
  assert not isinstance(env, HostEnvironment)
  if env.restorable:
    shapes.check_arrays(env, local_envs)
  return anakin.make_anakin(
    config, env, num_devices=num_devices, rows_per_env=rows_per_env,
    extensions=extensions)
