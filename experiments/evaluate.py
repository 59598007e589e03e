"""Plays a trained agent: python -m experiments.evaluate --workdir=runs/x."""

import json

from absl import flags as absl_flags

from muzero_jax import flags

_NUM_EPISODES = absl_flags.DEFINE_integer(
  'num_episodes', 32, 'Episodes, or games against each opponent.',
  lower_bound=1)
_OPPONENTS = absl_flags.DEFINE_list(
  'opponent', [], 'In a game of two players, whom to play: random, one_ply, '
  'mcts:N (N simulations), perfect where there is one; several separated by '
  'commas. By default random, and perfect where there is one.')
_SEED = absl_flags.DEFINE_integer(
  'seed', 0, 'Of environments and searches.', lower_bound=0)
_JSON = absl_flags.DEFINE_bool('json', False, 'Print one line of JSON instead.')


def main(arguments: flags.Arguments) -> int:
  config = flags.read_config(arguments.workdir)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from muzero_jax import agent, evaluate

  result = evaluate.over_agents([
    evaluate.report(
      agent.load(arguments.workdir, index=index),
      num_episodes=_NUM_EPISODES.value,
      seed=_SEED.value + index,
      opponent_names=_OPPONENTS.value,
    )
    for index in range(config.num_seeds)
  ])
  if _JSON.value:
    print(json.dumps(result))
  else:
    print('\n'.join(evaluate.describe(result)))
  return 0


if __name__ == '__main__':
  flags.define_workdir()
  flags.run(main)
