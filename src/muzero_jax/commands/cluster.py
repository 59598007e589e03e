"""Train with players and reanalysers as separate jobs, through Ray.

muzero-jax cluster --preset=cartpole --workdir=runs/x --num_actors=4
muzero-jax cluster --flagfile=x.flags --workdir=/shared/x --num_actors=64
  --num_reanalyse_actors=8 --ray_address=10.0.0.1:6379
"""

from absl import flags

from muzero_jax.commands import train
from muzero_jax.config import command_line
from muzero_jax.drivers.cluster import runtime
from muzero_jax.errors import StoppedError
from muzero_jax.runs import signals


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags: those of a training, and of its jobs."""
  train.define_run(flag_values)
  flags.DEFINE_integer(
    'num_actors', 2, 'Jobs that play, each with num_envs / num_actors '
    'environments.', lower_bound=1, upper_bound=100_000,
    flag_values=flag_values)
  flags.DEFINE_integer(
    'num_reanalyse_actors', 0, 'Jobs that search stored stretches again; with '
    'reanalyse_form = stream.', lower_bound=0, upper_bound=100_000,
    flag_values=flag_values)
  flags.DEFINE_string(
    'ray_address', '', 'host:port of a Ray cluster to join; empty for this '
    'machine alone.', flag_values=flag_values)
  flags.DEFINE_float(
    'job_timeout', 300.0, 'Seconds without a result after which a job is '
    'replaced; compiling is part of its first.', lower_bound=1.0,
    flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Train and return the exit status."""
  asked = train.wanted(arguments, flag_values)
  jobs = runtime.Wanted(
    flag_values.num_actors, flag_values.num_reanalyse_actors,
    flag_values.ray_address, flag_values.job_timeout)
  runtime.check()
  with signals.as_a_command() as stop:
    try:
      train.check_environment(asked, stop)
      # Before jax has a device.
      with runtime.connected(jobs):
        return train.train(asked, stop, jobs=jobs)
    except StoppedError:
      return stop.end(restart=asked.restart)
