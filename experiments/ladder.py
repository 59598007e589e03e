"""Rates the snapshots of a run against opponents and each other, in Elo.

python -m experiments.ladder --workdir=runs/x --opponent=random,one_ply
"""

from absl import flags as absl_flags

from muzero_jax.config import command_line
from muzero_jax.runs import run_dir

_OPPONENTS = absl_flags.DEFINE_list(
  'opponent', ['random'], 'Whom all snapshots play, as in '
  'experiments.evaluate; several separated by commas. random, or else the '
  'first, is rated 0.')
_NUM_GAMES = absl_flags.DEFINE_integer(
  'num_games', 100, 'Games of each match; even.', lower_bound=2)
_OPENING_MOVES = absl_flags.DEFINE_integer(
  'opening_moves', 4, 'Legal moves drawn at random at the start of each game, '
  'the same for both colours: agents play greedily, and would else play one '
  'game again and again.', lower_bound=0)
_SEED = absl_flags.DEFINE_integer(
  'seed', 0, 'Of openings, searches and opponents.', lower_bound=0)
_INDEX = absl_flags.DEFINE_integer(
  'index', 0, 'Which agent of a run of several.', lower_bound=0)


def main(arguments: command_line.Arguments) -> int:
  run_dir.read_config(arguments.workdir)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from muzero_jax.evaluation import elo, tournament

  found = tournament.run(
    arguments.workdir,
    opponent_names=_OPPONENTS.value,
    num_games=_NUM_GAMES.value,
    opening_moves=_OPENING_MOVES.value,
    seed=_SEED.value,
    index=_INDEX.value,
    report=lambda line: print(line, flush=True),
  )
  print(elo.table(found.ladder))
  files = [tournament.write(arguments.workdir, found)]
  try:
    files.append(tournament.plot(arguments.workdir, found))
  except ImportError:
    print('no picture: matplotlib is not installed (extra "viz")')
  print(f'written: {", ".join(map(str, files))}')
  return 0


if __name__ == '__main__':
  command_line.define_workdir()
  command_line.run(main)
