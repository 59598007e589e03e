"""The suite: what the defaults learn, on environments that are named alone.

  python -m benchmarks.suite --seeds=100,101,102 [--only=cartpole,taxi]

Each run gets the environment, the budget and a seed, and nothing else; what a
preset is made for chooses the rest. Runs follow one another on one core each
(start a second command with another --only for a second core). Each result is
kept as it comes in, so that the same command goes on where it stopped. `--set`
changes settings of all runs, under a name of their own, for a comparison:

  python -m benchmarks.suite --name=td_5 --set=td_steps=5 --seeds=0,1,2

`--keep=runs` keeps the run directories, as runs/NAME_TASK_SEED: a run that was
interrupted is then resumed, and can be looked at or exported afterwards.

Scores are normalised: 0 is random play, 1 the reference beside each task. Over
tasks they are aggregated with the interquartile mean and its interval by
stratified bootstrap (Agarwal et al. 2021, with rliable).
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import common, learning

RESULT = learning.RESULTS / 'suite.json'
PAGE = learning.ROOT / 'docs/suite.md'
_EPISODES = 64
_OWN = 'benchmarks/suite_envs.py'
_REPETITIONS = 2000  # Of the bootstrap.


class Task(NamedTuple):
  """One environment with its budget."""

  script: str
  env_id: str
  num_steps: int
  reference: float  # A score that counts as 1.
  source: str  # Where that is from.
  flags: tuple[str, ...] = ()
  opponent: str = ''  # Whose share of the points is the score.
  random: float | None = None  # Score of random play, if none is measured.


_PPO = 'PPO at 20M steps'
_SOLVED = 'counts as solved'
TASKS = {
  'cartpole': Task('gymnasium', 'CartPole-v1', 150_000, 500, 'the most'),
  'acrobot': Task('gymnasium', 'Acrobot-v1', 500_000, -70, 'about the best'),
  'mountain_car': Task(
    'gymnasium', 'MountainCar-v0', 300_000, -105, 'about the best'),
  'lunar_lander': Task(
    'gymnasium', 'LunarLander-v3', 800_000, 200, _SOLVED),
  'pendulum': Task('gymnasium', 'Pendulum-v1', 300_000, -150, 'about the best'),
  'mountain_car_continuous': Task(
    'gymnasium', 'MountainCarContinuous-v0', 300_000, 90, _SOLVED),
  'taxi': Task('gymnasium', 'Taxi-v4', 300_000, 7.9, 'about the best'),
  'key_and_door': Task(
    'gymnasium', f'{_OWN}:KeyAndDoor', 200_000, 0.92, 'the best mean'),
  'berries': Task('gymnasium', f'{_OWN}:Berries', 200_000, 3, 'the most'),
  'catch': Task(
    'classic', 'Catch-bsuite', 100_000, 1, 'the most', ('--family=gymnax',)),
  'deep_sea': Task(
    'classic', 'DeepSea-bsuite', 200_000, 0.99, 'the most',
    ('--family=gymnax',)),
  'asterix': Task('minatar', 'asterix', 5_000_000, 25, _PPO),
  'breakout': Task('minatar', 'breakout', 5_000_000, 57, 'ours, tuned by hand'),
  'freeway': Task('minatar', 'freeway', 5_000_000, 63, _PPO),
  'seaquest': Task('minatar', 'seaquest', 5_000_000, 54, _PPO),
  'space_invaders': Task('minatar', 'space_invaders', 5_000_000, 167, _PPO),
  'tic_tac_toe': Task(
    'board', 'tic_tac_toe', 560_000, 0.5, 'perfect play', opponent='perfect',
    random=0.1),
  'connect_four': Task(
    'board', 'connect_four', 1_000_000, 0.95, 'our goal',
    opponent='mcts:1000', random=0.0),
  '2048': Task('stochastic', '2048', 1_000_000, 10_000, 'our goal'),
}


def commands(
  task: Task, seed: int, changes: Sequence[str], workdir: pathlib.Path
) -> tuple[list[str], list[str]]:
  """Returns the command lines that train and that evaluate."""
  train = [
    sys.executable, '-m', f'experiments.{task.script}', *task.flags,
    f'--env_id={task.env_id}', f'--num_steps={task.num_steps}',
    f'--seed={seed}', f'--workdir={workdir}', *(f'--{x}' for x in changes)]
  evaluate = [
    sys.executable, '-m', 'experiments.evaluate', f'--workdir={workdir}',
    f'--num_episodes={_EPISODES}', '--seed=1', '--json']
  if task.opponent:
    evaluate.append(f'--opponent={task.opponent}')
  if _module(task):
    evaluate.append(f'--allow_import={_module(task)}')
  return train, evaluate


def _module(task: Task) -> str:
  """Returns the file of an environment of our own, or nothing."""
  return task.env_id.rpartition(':')[0]


def run(
  name: str, seed: int, changes: Sequence[str], workdir: pathlib.Path
) -> dict[str, Any]:
  """Trains a run to its end; returns what is kept of it.

  Raises:
    RuntimeError: a command failed.
  """
  task = TASKS[name]
  train, evaluate = commands(task, seed, changes, workdir)
  start = time.monotonic()
  _call(train)
  seconds = time.monotonic() - start
  config, [row] = learning.read_run(workdir, allow_imports=_module(task))
  found = json.loads(_call(evaluate).splitlines()[-1])
  random = found.get('random_play', {})
  return dict(
    task=name, seed=seed, step=row['step'], updates=row['updates'],
    seconds=round(seconds, 1), score=score(task, found),
    standard_error=found.get('standard_error'),
    random=task.random if task.random is not None else random.get('mean'),
    configuration=learning.configuration(config),
    training_return_by_step=row['training_return_by_step'])


def score(task: Task, found: dict[str, Any]) -> float:
  """Returns the score of an evaluation: a return, or a share of the points."""
  if task.opponent:
    return (1 + found[task.opponent]['mean']) / 2
  return found['mean']


def _call(argv: list[str]) -> str:
  done = subprocess.run(
    argv, cwd=learning.ROOT, text=True, capture_output=True,
    stdin=subprocess.DEVNULL)
  if done.returncode:
    raise RuntimeError(
      f'{" ".join(argv[1:])}: status {done.returncode}: {done.stderr[-500:]}')
  return done.stdout


def normalised(row: dict[str, Any]) -> float:
  """Returns a score of which random play has 0 and the reference 1."""
  low, high = row['random'], TASKS[row['task']].reference
  return (row['score'] - low) / (high - low)


def matrix(rows: Sequence[dict[str, Any]]) -> np.ndarray:
  """Returns normalised scores [seeds, tasks], of as many seeds as all have."""
  by_task = {
    name: [normalised(row) for row in rows if row['task'] == name]
    for name in TASKS}
  scores = [each for each in by_task.values() if each]
  count = min(map(len, scores))
  return np.array([each[:count] for each in scores]).T


def interquartile_mean(scores: np.ndarray) -> tuple[float, float, float]:
  """Returns the IQM of scores [seeds, tasks], and its 95 % interval."""
  from rliable import library, metrics

  aggregate = lambda x: np.array([metrics.aggregate_iqm(x)])
  points, intervals = library.get_interval_estimates(
    {'x': scores}, aggregate, reps=_REPETITIONS,
    random_state=np.random.RandomState(0))
  low, high = intervals['x'][:, 0]
  return float(points['x'][0]), float(low), float(high)


def page(results: dict[str, Any]) -> str:
  """Returns docs/suite.md."""
  lines = [
    '# The suite', '',
    'What the defaults learn where nothing but the environment, the budget and '
    'the seed is given. Noise-free scores, each of '
    f'{_EPISODES} episodes or games; of board games the share of the points. '
    'Written by `python -m benchmarks.suite`.']
  for name, one in results.items():
    rows = one['runs']
    changes = ', '.join(f'`{x}`' for x in one['changes'])
    lines += [
      '', f'## {name}', '',
      (f'With {changes}. ' if changes else '')
      + f'{one["hardware"]["cpu"]}, one core a run, jax '
      f'{one["versions"]["jax"]}.', '',
      '| Task | Steps | Seeds | Scores | Median | Random play | Reference | '
      'Normalised | Minutes |', '|---|---|---|---|---|---|---|---|---|']
    for key, task in TASKS.items():
      own = [row for row in rows if row['task'] == key]
      if not own:
        continue
      scores = [row['score'] for row in own]
      lines.append('| ' + ' | '.join([
        key, f'{task.num_steps:,}', ', '.join(str(x['seed']) for x in own),
        ', '.join(f'{x:.4g}' for x in scores), f'{np.median(scores):.4g}',
        f'{np.mean([x["random"] for x in own]):.4g}',
        f'{task.reference:g} ({task.source})',
        f'{np.median([normalised(x) for x in own]):.2f}',
        f'{np.mean([x["seconds"] for x in own]) / 60:.0f}']) + ' |')
    scores = matrix(rows)
    if len(scores) > 1:
      mean, low, high = interquartile_mean(scores)
      lines += [
        '', f'Interquartile mean over {scores.shape[1]} tasks of '
        f'{scores.shape[0]} seeds: {mean:.2f}, 95 % interval {low:.2f} to '
        f'{high:.2f}.']
  return '\n'.join(lines) + '\n'


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--name', default='defaults')
  parser.add_argument('--seeds', default='100,101,102')
  parser.add_argument('--only', default='', help='tasks, by commas')
  parser.add_argument(
    '--set', action='append', default=[], help='field=value, of all runs')
  parser.add_argument(
    '--keep', type=pathlib.Path, help='where run directories are kept')
  args = parser.parse_args()
  names = args.only.split(',') if args.only else list(TASKS)
  for name in names:
    if name not in TASKS:
      sys.exit(f'error: no task {name!r}; there are {", ".join(TASKS)}')
  for seed in map(int, args.seeds.split(',')):
    for name in names:
      with tempfile.TemporaryDirectory() as folder:
        parent = args.keep or pathlib.Path(folder)
        _run_once(
          args.name, args.set, name, seed,
          parent.resolve() / f'{args.name}_{name}_{seed}')
  PAGE.write_text(page(json.loads(RESULT.read_text())), encoding='utf-8')


def _run_once(
  label: str, changes: list[str], name: str, seed: int, workdir: pathlib.Path
) -> None:
  """Run a task with a seed, unless that was done before; keep the result."""
  results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
  one = results.get(label, dict(common.machine(), changes=changes, runs=[]))
  if one['changes'] != changes:
    sys.exit(f'error: {label!r} has runs with --set={one["changes"]}')
  if any((x['task'], x['seed']) == (name, seed) for x in one['runs']):
    return
  row = run(name, seed, changes, workdir)
  # Read again: another process may have added something meanwhile.
  results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
  results.setdefault(label, one)['runs'].append(row)
  results[label]['runs'].sort(
    key=lambda x: (list(TASKS).index(x['task']), x['seed']))
  RESULT.write_text(json.dumps(results, indent=1) + '\n')
  print(f'{name} seed {seed}: {row["score"]:.4g} (random {row["random"]:.4g}) '
        f'in {row["seconds"]:.0f} s', flush=True)


if __name__ == '__main__':
  main()
