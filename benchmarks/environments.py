"""Whether each environment by its name alone trains, evaluates and resumes.

  python -m benchmarks.environments [--only=gymnasium,board]

Each is trained for 2,000 steps at the defaults of its script (with a smaller
`min_replay`, so that the network is updated too), evaluated over 4 episodes,
and resumed to 2,500 steps; or it is refused in one line. The results are kept
as they come in, so that the same command goes on where it stopped; it ends by
writing docs/environments.md.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import common

_ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULT = _ROOT / 'benchmarks/results/environments.json'
PAGE = _ROOT / 'docs/environments.md'
STEPS, MORE_STEPS = 2_000, 2_500
# A refusal comes within so many seconds.
LONGEST_REFUSAL = 5.0
_FIELDS = dict(min_replay=512, eval_episodes=4, log_period=5)

# Script -> environments, where '!' stands before those that are refused.
ENVIRONMENTS = {
  'classic': ('cartpole',),
  'gymnasium': (
    'CartPole-v1', 'Acrobot-v1', 'MountainCar-v0', 'MountainCarContinuous-v0',
    'Pendulum-v1', 'FrozenLake-v1', 'FrozenLake8x8-v1', 'CliffWalking-v1',
    'CliffWalkingSlippery-v1', 'Taxi-v4', 'Blackjack-v1', 'LunarLander-v3',
    'LunarLanderContinuous-v3', 'BipedalWalker-v3', 'CarRacing-v3', 'Ant-v5',
    'HalfCheetah-v5', 'Hopper-v5', 'Humanoid-v5', 'HumanoidStandup-v5',
    'InvertedPendulum-v5', 'InvertedDoublePendulum-v5', 'Pusher-v5',
    'Reacher-v5', 'Swimmer-v5', 'Walker2d-v5', '!ALE/Pong-v5',
    '!PongNoFrameskip-v4', '!Taxi-v3', '!Ant-v2', '!CartPoel-v1'),
  'gymnax': (
    'CartPole-v1', 'Acrobot-v1', 'MountainCar-v0', 'Asterix-MinAtar',
    'Breakout-MinAtar', 'Freeway-MinAtar', 'SpaceInvaders-MinAtar',
    'Catch-bsuite', 'DeepSea-bsuite', 'MemoryChain-bsuite',
    'UmbrellaChain-bsuite', 'DiscountingChain-bsuite', 'SimpleBandit-bsuite',
    'FourRooms-misc', 'MetaMaze-misc', 'BernoulliBandit-misc',
    'GaussianBandit-misc', 'Pong-misc', 'FrozenLake-misc'),
  'continuous': (
    'Pendulum-v1', 'MountainCarContinuous-v0', 'PointRobot-misc',
    'Reacher-misc', 'Swimmer-misc', '!CartPole-v1'),
  'physics': ('inverted_pendulum', 'reacher', 'halfcheetah'),
  'minatar': (
    'asterix', 'breakout', 'freeway', 'seaquest', 'space_invaders'),
  'board': (
    'tic_tac_toe', 'connect_four', 'othello', 'hex', 'animal_shogi',
    'gardner_chess', 'chess', 'shogi', 'go_9x9', 'go_19x19', '!kuhn_poker'),
  'pettingzoo': ('tictactoe_v3', 'connect_four_v3', 'chess_v6'),
  'stochastic': ('2048', 'backgammon'),
  'atari': ('pong', 'Breakout', 'ALE/MsPacman-v5', '!pongg'),
}
# Scripts and flags of families that have no script of their own.
_SCRIPTS = {
  'gymnax': ('classic', ['--family=gymnax']),
  'pettingzoo': ('board', ['--family=pettingzoo']),
  'physics': ('continuous', ['--family=physics']),
}


def command(family: str, name: str, workdir: pathlib.Path, steps: int
            ) -> list[str]:
  """Returns the command line of a run."""
  script, flags = _SCRIPTS.get(family, (family, []))
  return [
    sys.executable, '-m', f'experiments.{script}', *flags, f'--env_id={name}',
    f'--workdir={workdir}', f'--num_steps={steps}',
    *(f'--{key}={value}' for key, value in _FIELDS.items())]


def attempt(family: str, name: str, limit: float) -> dict[str, Any]:
  """Returns what became of an environment, and whether that is right."""
  is_refused = name.startswith('!')
  name = name.removeprefix('!')
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / 'run'
    first = _run(command(family, name, workdir, STEPS), limit)
    found = dict(
      family=family, env_id=name, seconds=round(first['seconds'], 1),
      status=first['status'])
    if is_refused:
      found['line'] = first['error'].replace(str(workdir), 'runs/x')
      found['right'] = (
        first['status'] in (1, 2) and first['lines'] == 1
        and first['seconds'] <= LONGEST_REFUSAL and not workdir.exists())
      return found
    if first['status']:
      return {**found, 'line': first['error'], 'right': False}
    found |= _facts(first['text'], workdir)
    again = _run(command(family, name, workdir, MORE_STEPS), limit)
    resumed = 'resumed from the checkpoint' in again['text']
    found |= dict(resumed=resumed and again['status'] == 0)
    found['right'] = found['resumed'] and 'score' in found
    return found


def _run(argv: list[str], limit: float) -> dict[str, Any]:
  """Returns status, time and text of a command."""
  start = time.monotonic()
  try:
    done = subprocess.run(
      argv, cwd=_ROOT, text=True, capture_output=True, timeout=limit,
      stdin=subprocess.DEVNULL)
  except subprocess.TimeoutExpired:
    return dict(
      status=-1, seconds=limit, text='', lines=0,
      error=f'not done within {limit:.0f} s')
  errors = [
    line for line in done.stderr.splitlines() if line.startswith('error: ')]
  return dict(
    status=done.returncode, seconds=time.monotonic() - start,
    text=done.stdout, error=(errors or done.stderr.splitlines() or [''])[-1],
    lines=len(errors))


def _facts(text: str, workdir: pathlib.Path) -> dict[str, Any]:
  """Returns what a run says of itself."""
  found: dict[str, Any] = {}
  config = json.loads((workdir / 'config.json').read_text())
  found['network'] = config['network']
  took = re.search(r'compiling the training step \.\.\. took (\S+) s', text)
  if took:
    found['compiling'] = float(took[1])
  evaluation = json.loads((workdir / 'evaluation.json').read_text())
  found['score'] = evaluation['mean']
  random = evaluation.get('random_play', evaluation.get('random', {}))
  found['random'] = random.get('mean') if isinstance(random, dict) else None
  if 'better_than_random' in evaluation:
    found['nothing_learnt'] = 'was learnt: not better' in text
  return found


def page(results: dict[str, Any]) -> str:
  """Returns docs/environments.md."""
  trials = results['trials']
  right = sum(x['right'] for x in trials)
  lines = [
    '# Environments by name', '',
    f'{right} of {len(trials)} names do what they should: train for '
    f'{STEPS:,} steps, are evaluated, and resume to {MORE_STEPS:,}; or are '
    'refused in one line. Nothing is learnt in so few steps: scores only show '
    'that they are measured. Written by `python -m benchmarks.environments` '
    f'({results["hardware"]["cpu"]}, one core; jax '
    f'{results["versions"]["jax"]}).', '',
    '| Family | `env_id` | Network | Seconds in all | Score | Random play | '
    'Resumes |', '|---|---|---|---|---|---|---|']
  refused = []
  for one in trials:
    if 'line' in one:
      refused.append(one)
      continue
    score, random = (
      '' if one.get(key) is None else f'{one[key]:.4g}'
      for key in ('score', 'random'))
    lines.append(
      f'| {one["family"]} | {one["env_id"]} | {one["network"]} | '
      f'{one["seconds"]:.0f} | {score} | {random} | '
      f'{"yes" if one["resumed"] else "NO"} |')
  lines += ['', '## Refused', '', '| Family | `env_id` | Seconds | Line |',
            '|---|---|---|---|']
  for one in refused:
    line = one['line'].replace('|', '\\|')
    lines.append(
      f'| {one["family"]} | {one["env_id"]} | {one["seconds"]:.1f} | {line} |')
  return '\n'.join(lines) + '\n'


def _trials() -> dict[tuple[str, str], dict[str, Any]]:
  """Returns what was tried already, by family and name."""
  if not RESULT.exists():
    return {}
  trials = json.loads(RESULT.read_text())['trials']
  return {(x['family'], x['env_id']): x for x in trials}


def _ordered(trials: Any) -> list[tuple[str, str]]:
  """Returns what was tried, in the order of ENVIRONMENTS."""
  return [
    (family, name.removeprefix('!'))
    for family, names in ENVIRONMENTS.items() for name in names
    if (family, name.removeprefix('!')) in trials]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--only', default='', help='families, by commas')
  parser.add_argument(
    '--limit', type=float, default=600.0, help='seconds of one command')
  args = parser.parse_args()
  only = args.only.split(',') if args.only else list(ENVIRONMENTS)
  for family in only:
    for name in ENVIRONMENTS[family]:
      key = family, name.removeprefix('!')
      if _trials().get(key, {}).get('right'):
        continue
      one = attempt(family, name, args.limit)
      print(
        f'{family}/{key[1]}: {"right" if one["right"] else "WRONG"} after '
        f'{one["seconds"]} s {one.get("line", "")}', flush=True)
      # Read anew: other families may be tried at the same time.
      trials = {**_trials(), key: one}
      RESULT.write_text(json.dumps(dict(
        command='python -m benchmarks.environments', **common.machine(),
        trials=[trials[key] for key in _ordered(trials)]), indent=1) + '\n')
  trials = _trials()
  PAGE.write_text(page(json.loads(RESULT.read_text())), encoding='utf-8')
  wrong = [key for key, one in trials.items() if not one['right']]
  if wrong:
    sys.exit(f'wrong: {", ".join("/".join(key) for key in wrong)}')


if __name__ == '__main__':
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')
  main()
