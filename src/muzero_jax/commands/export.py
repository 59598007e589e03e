"""Write a trained agent as one file with a card, to share or to keep.

muzero-jax export --workdir=runs/x --output=agent.safetensors
muzero-jax export --workdir=runs/x --output=agent.safetensors \\
  --push_to_hub=user/name
"""

import os

from absl import flags

from muzero_jax import console
from muzero_jax.commands import start
from muzero_jax.config import command_line
from muzero_jax.errors import UserError
from muzero_jax.runs import agent_file, agent_source, run_dir


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags."""
  command_line.define_workdir(flag_values=flag_values)
  command_line.define_agent(snapshot=True, flag_values=flag_values)
  flags.DEFINE_string(
    'output', None, 'The file, which ends in .safetensors; its card is written '
    'beside it as .md.', flag_values=flag_values)
  flags.DEFINE_enum(
    'dtype', 'float32', agent_file.DTYPES, 'What parameters are rounded to. '
    'The others than float32 halve the file; how much they change parameters '
    'is printed, and the card\'s score is that of the rounded ones.',
    flag_values=flag_values)
  flags.DEFINE_integer(
    'episodes', 64, 'Episodes of the evaluation, or games against each '
    'opponent. The run\'s own evaluation is taken where it is of the same '
    'parameters and opponents and of as many.', lower_bound=1,
    flag_values=flag_values)
  flags.DEFINE_list(
    'opponent', [], 'In a game of two players, whom to play, as in the command '
    'evaluate.', flag_values=flag_values)
  flags.DEFINE_integer(
    'seed', 0, 'Of the evaluation.', lower_bound=0, flag_values=flag_values)
  flags.DEFINE_string(
    'commit', None, 'Of the sources that trained the agent; by default of '
    'those that are running, as far as git knows them.',
    flag_values=flag_values)
  flags.DEFINE_string(
    'hub_folder', None, 'Folder to write README.md and the file to, as the '
    'Hugging Face Hub expects a model.', flag_values=flag_values)
  flags.DEFINE_string(
    'push_to_hub', None, 'Upload that folder to this repository, user/name; '
    'needs the extra "hub", and to be logged in there.',
    flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Write the file and its card; return the exit status."""
  output = flag_values.output
  if not output:
    raise UserError('--output is needed: the file, agent.safetensors')
  repository = flag_values.push_to_hub
  path = agent_source.find_file(arguments.workdir)
  if path:
    raise UserError(
      f'workdir = {arguments.workdir!r} is an agent in one file already: '
      f'{path}')
  run_dir.read_config(
    arguments.workdir, allow_imports=arguments.allow_imports)
  if repository:
    from muzero_jax.evaluation import hub

    hub.check_repository(repository)
  # Imported late: a mistake in the flags is told before jax is loaded.
  start.prepare()
  from muzero_jax.evaluation import agent_export, agent_pages, hub

  done = agent_export.export(
    arguments.workdir, output, index=flag_values.index,
    snapshot=flag_values.snapshot, dtype=flag_values.dtype,
    num_episodes=flag_values.episodes, opponent_names=flag_values.opponent,
    seed=flag_values.seed, commit=flag_values.commit,
    allow_imports=arguments.allow_imports)
  stem = done.path.removesuffix(agent_file.SUFFIX)
  name = os.path.basename(stem)
  card = agent_export.write_card(done, name)
  whence = 'the run\'s own evaluation' if done.is_stored_score else 'measured'
  lines = [f'wrote {done.path}: {done.num_bytes:,} bytes, SHA-256 '
           f'{done.sha256}; its card is {card}']
  if done.rounding:
    lines.append(
      f'parameters are rounded to {flag_values.dtype}: by at most '
      f'{done.rounding:.1e} of the largest of their array')
  lines += [
    f'score ({whence}): {agent_pages.describe(score)}'
    for score in done.found.card.scores]
  if flag_values.hub_folder or repository:
    folder = hub.write_folder(
      flag_values.hub_folder or f'{stem}_hub', done,
      name=repository.split('/')[1] if repository else name)
    lines.append(f'wrote {folder}, as the Hub expects it')
    if repository:
      lines.append(f'uploaded to {hub.push(folder, repository)}')
  console.answer('\n'.join(lines))
  return 0
