"""Compares what a trained agent's model imagines with what really follows.

python -m experiments.diagnose --workdir=runs/x
"""

from absl import flags as absl_flags

from muzero_jax.config import command_line
from muzero_jax.runs import run_dir

_NUM_STEPS = absl_flags.DEFINE_integer(
  'num_steps', 512, 'Rows played in each environment.', lower_bound=8)
_NUM_ENVS = absl_flags.DEFINE_integer(
  'num_envs', 32, 'Environments.', lower_bound=1)
_INDEX = absl_flags.DEFINE_integer(
  'index', 0, 'Which agent of a run of several.', lower_bound=0)


def main(arguments: command_line.Arguments) -> int:
  config = run_dir.read_config(arguments.workdir)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from muzero_jax import agent, envs
  from muzero_jax.evaluation import diagnose

  num_envs = _NUM_ENVS.value
  result = diagnose.diagnose(
    agent.load(arguments.workdir, index=_INDEX.value),
    envs.make(config, num_envs=num_envs, evaluation=True),
    num_envs=num_envs,
    num_steps=_NUM_STEPS.value,
  )
  print('\n'.join(diagnose.describe(result)))
  return 0


if __name__ == '__main__':
  command_line.define_workdir()
  command_line.run(main)
