"""Rate a run's snapshots against opponents and each other, in Elo.

muzero-jax ladder --workdir=runs/x --opponent=random,one_ply
"""

from absl import flags

from muzero_jax import console
from muzero_jax.commands import start
from muzero_jax.config import command_line
from muzero_jax.runs import run_dir


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags."""
  command_line.define_workdir(flag_values=flag_values)
  command_line.define_agent(flag_values=flag_values)
  flags.DEFINE_list(
    'opponent', ['random'], 'Whom all snapshots play, as in the command '
    'evaluate; several separated by commas. random, or else the first, is '
    'rated 0.', flag_values=flag_values)
  flags.DEFINE_integer(
    'num_games', 100, 'Games of each match; even.', lower_bound=2,
    flag_values=flag_values)
  flags.DEFINE_integer(
    'opening_moves', 4, 'Legal moves drawn at random at the start of each '
    'game, the same for both colours: agents play greedily, and would else '
    'play one game again and again.', lower_bound=0, flag_values=flag_values)
  flags.DEFINE_integer(
    'seed', 0, 'Of openings, searches and opponents.', lower_bound=0,
    flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Print the ratings and write them to the run directory; return 0."""
  run_dir.read_config(
    arguments.workdir, allow_imports=arguments.allow_imports)
  # Imported late: a mistake in the flags is told before jax is loaded.
  start.prepare()
  from muzero_jax.evaluation import elo, tournament

  found = tournament.run(
    arguments.workdir,
    opponent_names=flag_values.opponent,
    num_games=flag_values.num_games,
    opening_moves=flag_values.opening_moves,
    seed=flag_values.seed,
    index=flag_values.index,
    allow_imports=arguments.allow_imports,
    report=lambda line: console.say(line),
  )
  files = [tournament.write(arguments.workdir, found)]
  try:
    files.append(tournament.plot(arguments.workdir, found))
  except ImportError:
    console.say('no picture: matplotlib is not installed (extra "viz")')
  console.answer(elo.table(found.ladder))
  console.answer(f'written: {", ".join(map(str, files))}')
  return 0
