"""Save a run's trajectories as a dataset, to train from it offline.

muzero-jax dataset --workdir=runs/x --output=runs/x_data
"""

from absl import flags

from muzero_jax import console, paths
from muzero_jax.commands import start
from muzero_jax.config import command_line
from muzero_jax.errors import UserError
from muzero_jax.runs import run_dir


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags."""
  command_line.define_workdir(flag_values=flag_values)
  command_line.define_agent(flag_values=flag_values)
  flags.DEFINE_string(
    'output', None, 'Directory of the dataset; must not be there yet.',
    flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Write the dataset and return the exit status."""
  output = flag_values.output
  if not output:
    raise UserError('--output is needed: the directory of the dataset')
  output = paths.expand(output, 'output')
  run_dir.read_config(
    arguments.workdir, allow_imports=arguments.allow_imports)
  # Imported late: a mistake in the flags is told before jax is loaded.
  start.prepare()
  from muzero_jax.replay import dataset
  from muzero_jax.runs import dataset_export

  data = dataset_export.export(
    arguments.workdir, output, index=flag_values.index,
    allow_imports=arguments.allow_imports)
  console.answer(f'wrote {output}: {dataset.describe(data)}')
  return 0
