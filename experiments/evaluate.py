"""Plays a trained agent: python -m experiments.evaluate --workdir=runs/x."""

import json
import os

from absl import flags as absl_flags

from muzero_jax.config import command_line
from muzero_jax.runs import run_dir

_NUM_EPISODES = absl_flags.DEFINE_integer(
  'num_episodes', 32, 'Episodes, or games against each opponent.',
  lower_bound=1)
_OPPONENTS = absl_flags.DEFINE_list(
  'opponent', [], 'In a game of two players, whom to play: random, one_ply, '
  'mcts:N (N simulations), perfect where there is one, in backgammon random '
  'and pip_count alone, in Go gnugo:LEVEL (1 to 10) if that is installed, '
  'snapshot:STEP (the run itself at that step), run:PATH (the agent of another '
  'run); several separated by commas. By default random, and perfect or '
  'pip_count where there is one.')
_OPENING_MOVES = absl_flags.DEFINE_integer(
  'opening_moves', None, 'In a game of two players, legal moves drawn at '
  'random before the two play on; each such opening is played with both '
  'colours. By default 4 against gnugo, snapshot and run, which would else '
  'play one game again and again, and 0 against the others.', lower_bound=0)
_RECORDS = absl_flags.DEFINE_string(
  'records', None, 'In a game of two players, the folder to write the games '
  'to: one JSON-lines file for each opponent, and in Go also SGF.')
_SEED = absl_flags.DEFINE_integer(
  'seed', 0, 'Of environments and searches.', lower_bound=0)
_JSON = absl_flags.DEFINE_bool('json', False, 'Print one line of JSON instead.')


def _records_folder(index: int, num_seeds: int) -> str | None:
  """Returns where the games of one of the run's agents go."""
  if not _RECORDS.value or num_seeds == 1:
    return _RECORDS.value
  return os.path.join(_RECORDS.value, f'agent_{index}')


def main(arguments: command_line.Arguments) -> int:
  config = run_dir.read_config(arguments.workdir)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from muzero_jax import agent
  from muzero_jax.evaluation import report

  result = report.over_agents([
    report.report(
      agent.load(arguments.workdir, index=index),
      num_episodes=_NUM_EPISODES.value,
      seed=_SEED.value + index,
      opponent_names=_OPPONENTS.value,
      opening_moves=_OPENING_MOVES.value,
      workdir=arguments.workdir,
      index=index,
      records_folder=_records_folder(index, config.num_seeds),
    )
    for index in range(config.num_seeds)
  ])
  if _JSON.value:
    print(json.dumps(result))
  else:
    print('\n'.join(report.describe(result)))
  return 0


if __name__ == '__main__':
  command_line.define_workdir()
  command_line.run(main)
