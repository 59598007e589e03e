"""Evaluate a trained agent: whole episodes, or games, without noise.

muzero-jax evaluate --workdir=runs/x [--opponent=random,one_ply]
muzero-jax evaluate --workdir=runs/x --video=x.mp4 [--num_episodes=0]
muzero-jax evaluate --workdir=agent.safetensors
muzero-jax evaluate --workdir=cartpole
"""

import json
import os
from typing import Any

from absl import flags

from muzero_jax import console
from muzero_jax.commands import filming, start
from muzero_jax.config import command_line
from muzero_jax.runs import agent_source


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags."""
  command_line.define_workdir(flag_values=flag_values)
  flags.DEFINE_integer(
    'num_episodes', 32, 'Episodes, or games against each opponent. 0 for none '
    'but the one that --video or --svg shows.', lower_bound=0,
    flag_values=flag_values)
  flags.DEFINE_list(
    'opponent', [], 'In a game of two players, whom to play: random, one_ply, '
    'mcts:N (N simulations), perfect where there is one, in backgammon random '
    'and pip_count alone, in Go gnugo:LEVEL (1 to 10) if that is installed, '
    'snapshot:STEP (the run itself at that step), run:PATH (the agent of '
    'another run, a file, or the name of a shipped agent); several separated '
    'by commas. By default random, and perfect or pip_count where there is '
    'one.', flag_values=flag_values)
  flags.DEFINE_integer(
    'opening_moves', None, 'In a game of two players, legal moves drawn at '
    'random before the two play on; each such opening is played with both '
    'colours. By default 4 against gnugo, snapshot and run, which would else '
    'play one game again and again, and 0 against the others.', lower_bound=0,
    flag_values=flag_values)
  flags.DEFINE_string(
    'records', None, 'In a game of two players, the folder to write the games '
    'to: one JSON-lines file for each opponent, and in Go also SGF.',
    flag_values=flag_values)
  flags.DEFINE_integer(
    'seed', 0, 'Of environments and searches.', lower_bound=0,
    flag_values=flag_values)
  flags.DEFINE_bool(
    'json', False, 'Print one line of JSON instead.', flag_values=flag_values)
  command_line.define_snapshot(flag_values=flag_values)
  filming.define(flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Print the scores of each of the run's agents; return the exit status."""
  config = agent_source.read_config(
    arguments.workdir, allow_imports=arguments.allow_imports)
  wanted = filming.check(config, flag_values)
  # Imported late: a mistake in the flags is told before jax is loaded.
  start.prepare()
  from muzero_jax import agent

  agents = [
    agent.load(
      arguments.workdir, index=index, snapshot=flag_values.snapshot,
      allow_imports=arguments.allow_imports)
    for index in range(config.num_seeds)
  ]
  # First the film: what it refuses is told before a long evaluation.
  if wanted is not None:
    filming.record(wanted, agents[0], arguments, flag_values)
  if flag_values.num_episodes:
    _score(agents, arguments, flag_values)
  return 0


def _score(
  agents: list[Any], arguments: command_line.Arguments,
  flag_values: flags.FlagValues,
) -> None:
  """Print the scores of agents."""
  from muzero_jax.evaluation import random_play, report

  found = [
    report.report(
      one,
      num_episodes=flag_values.num_episodes,
      seed=flag_values.seed + index,
      opponent_names=flag_values.opponent,
      opening_moves=flag_values.opening_moves,
      workdir=arguments.workdir,
      index=index,
      records_folder=_records_folder(
        flag_values.records, index, len(agents)),
      allow_imports=arguments.allow_imports,
    )
    for index, one in enumerate(agents)
  ]
  found = random_play.add(
    found, agents[0].config, agents[0].spec, agents[0].make_env,
    workdir=arguments.workdir)
  result = report.over_agents(found)
  if flag_values.json:
    console.answer(json.dumps(result))
  else:
    verdict = random_play.verdict(found, arguments.workdir)
    console.answer('\n'.join([*report.describe(result), *verdict]))


def _records_folder(
  records: str | None, index: int, num_seeds: int
) -> str | None:
  """Return where the games of one of the run's agents go."""
  if not records or num_seeds == 1:
    return records
  return os.path.join(records, f'agent_{index}')
