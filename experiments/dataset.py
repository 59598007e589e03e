"""Saves a run's trajectories as a dataset, to train from it offline.

python -m experiments.dataset --workdir=runs/x --output=runs/x_data
"""

from absl import flags as absl_flags

from muzero_jax.config import command_line
from muzero_jax.errors import UserError
from muzero_jax.runs import run_dir

_OUTPUT = absl_flags.DEFINE_string(
  'output', None, 'Directory of the dataset; must not be there yet.')
_INDEX = absl_flags.DEFINE_integer(
  'index', 0, 'Which agent of a run of several.', lower_bound=0)


def main(arguments: command_line.Arguments) -> int:
  if not _OUTPUT.value:
    raise UserError('--output is needed: the directory of the dataset')
  run_dir.read_config(arguments.workdir)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from muzero_jax.replay import dataset
  from muzero_jax.runs import dataset_export

  data = dataset_export.export(
    arguments.workdir, _OUTPUT.value, index=_INDEX.value)
  print(f'wrote {_OUTPUT.value}: {dataset.describe(data)}')
  return 0


if __name__ == '__main__':
  command_line.define_workdir()
  command_line.run(main)
