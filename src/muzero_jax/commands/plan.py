"""Forecast a run: how long it takes, and what holds it back first.

muzero-jax plan --preset=atari_100k_v2 --hosts=8 --devices=4 --rates=gpu.json
muzero-jax plan --flagfile=x.flags --num_actors=8 --measure=here.json
"""

from typing import TYPE_CHECKING

from absl import flags

from muzero_jax import console
from muzero_jax.commands import start
from muzero_jax.config import Config, command_line
from muzero_jax.errors import UserError

if TYPE_CHECKING:
  from muzero_jax.planning.forecast import Layout
  from muzero_jax.planning.needs import Needs
  from muzero_jax.planning.rates import Rates

# Steps of the paper's runs: 200 million and 20 billion frames, 4 a step.
_PAPER = (50_000_000, 5_000_000_000)
_LAYOUTS = ((1, 1), (8, 1))  # Hosts, devices of each.


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags: those of a training, and of the machines."""
  command_line.define(
    defaults=Config(), workdir='runs/plan', flag_values=flag_values)
  flags.DEFINE_integer(
    'hosts', 1, 'Machines.', lower_bound=1, flag_values=flag_values)
  flags.DEFINE_integer(
    'devices', 1, 'Devices of each machine.', lower_bound=1,
    flag_values=flag_values)
  flags.DEFINE_integer(
    'num_actors', 0, 'Jobs that play; 0 for play and learning in lockstep.',
    lower_bound=0, flag_values=flag_values)
  flags.DEFINE_integer(
    'num_reanalyse_actors', 0, 'Jobs that search stored stretches again.',
    lower_bound=0, flag_values=flag_values)
  flags.DEFINE_float(
    'network_gbits', 10.0, 'Gigabits a second between machines.',
    lower_bound=1e-3, flag_values=flag_values)
  flags.DEFINE_string(
    'rates', None, 'File of measured rates, as --measure writes it.',
    flag_values=flag_values)
  flags.DEFINE_string(
    'measure', None, 'Measure the rates of this machine with these settings, '
    'and write them into this file.', flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Print the forecast and a table of larger runs; return the status."""
  if not flag_values['preset'].value:
    raise UserError('--preset is needed, or a --flagfile that has it')
  if bool(flag_values.rates) == bool(flag_values.measure):
    raise UserError(
      'rates, measure: give one of them, the file of rates that were measured '
      'before or the one in which to write those of this machine')
  config = command_line.config_of(arguments)
  if config.dataset:
    raise UserError(
      f'dataset = {config.dataset!r}: only runs that play are planned')
  start.prepare()
  # Imported late: a mistake in the flags is told before jax is loaded.
  from muzero_jax import envs
  from muzero_jax.drivers import by_environment
  from muzero_jax.planning import forecast, needs, rates

  envs.check_env_id(config.family, config.env_id)
  spec = envs.spec(config)
  config = by_environment.resolve(config, spec)
  wanted = needs.of(config, spec, flag_values.num_actors)
  if flag_values.rates:
    found = rates.read(flag_values.rates)
  else:
    console.say(f'measuring {config.family}/{config.env_id} on this machine')
    found = rates.measure(config, envs.make)
    rates.write(flag_values.measure, found)
  layout = forecast.Layout(
    hosts=flag_values.hosts, devices=flag_values.devices,
    num_actors=flag_values.num_actors,
    num_reanalyse_actors=flag_values.num_reanalyse_actors,
    network=flag_values.network_gbits * 1e9)
  console.answer('\n'.join([
    f'rates of {found.device}, {found.cores} cores',
    *forecast.lines(forecast.make(wanted, found, layout), wanted),
    *_table(wanted, found, layout)]))
  return 0


def _table(
  wanted: 'Needs', found: 'Rates', layout: 'Layout'
) -> list[str]:
  """Return lines on the paper's runs, in lockstep."""
  from muzero_jax.planning import forecast

  lines = ['', 'hosts x devices: hours of 200M and of 20,000M frames']
  for hosts, devices in _LAYOUTS:
    hours = [
      forecast.make(
        wanted._replace(rows=rows), found,
        layout._replace(hosts=hosts, devices=devices, num_actors=0)).hours
      for rows in _PAPER]
    lines.append(
      f'{hosts} x {devices}: ' + ', '.join(f'{x:,.0f}' for x in hours))
  return lines
