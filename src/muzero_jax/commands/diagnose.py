"""Compare what an agent's model imagines with what really follows.

muzero-jax diagnose --workdir=runs/x
"""

import sys

from absl import flags

from muzero_jax import console
from muzero_jax.commands import start
from muzero_jax.config import command_line
from muzero_jax.errors import RunError
from muzero_jax.runs import agent_source


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags."""
  command_line.define_workdir(flag_values=flag_values)
  command_line.define_agent(flag_values=flag_values)
  flags.DEFINE_integer(
    'num_steps', 512, 'Rows played in each environment.', lower_bound=8,
    flag_values=flag_values)
  flags.DEFINE_integer(
    'num_envs', 32, 'Environments.', lower_bound=1, flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Print the comparison and return the exit status."""
  config = agent_source.read_config(
    arguments.workdir, allow_imports=arguments.allow_imports)
  # Imported late: a mistake in the flags is told before jax is loaded.
  start.prepare()
  from muzero_jax import agent, envs
  from muzero_jax.evaluation import diagnose

  num_envs = flag_values.num_envs
  one = agent.load(
    arguments.workdir, index=flag_values.index,
    allow_imports=arguments.allow_imports)
  result = diagnose.diagnose(
    one,
    envs.make(config, num_envs=num_envs, evaluation=True),
    num_envs=num_envs,
    num_steps=flag_values.num_steps,
  )
  console.answer('\n'.join(diagnose.describe(result)))
  if agent_source.find_file(arguments.workdir):
    return 0
  # For `report`; a directory that cannot be written has been diagnosed too.
  try:
    diagnose.write(arguments.workdir, result, one.step)
  except RunError as error:
    console.say(f'note: {error}', sys.stderr)
  return 0
