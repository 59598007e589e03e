"""What a search for settings gains on a small environment, on other seeds.

python -m benchmarks.tune --workdir=runs/tune_cartpole

Searches with experiments.tune: CartPole for 16,384 steps, seeds 0 to 3, with a
small network, from a learning rate that is far too small. Then it trains
the settings that the search started from and the best ones on seeds 100 to 102,
which chose nothing, and writes benchmarks/results/tune_cartpole.json.
The same command goes on with a search that was interrupted.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks import common, learning

TRIALS = 6
SETTINGS = (
  '--preset=gymnasium', '--family=classic', '--env_id=cartpole',
  '--num_channels=32', '--num_simulations=4', '--min_replay=1024',
  '--batch_size=64', '--updates_per_iteration=8', '--learning_rate=3e-5',
  '--num_steps=16384', '--ema_decay=0.99', '--num_devices=1',
  '--checkpoint_period=3600', '--eval_episodes=32')
TUNED_ON = ('--seed=0', '--num_seeds=4')
REPORTED_ON = ('--seed=100', '--num_seeds=3', '--eval_episodes=64')
SPACE = (
  '--tune=learning_rate=1e-4:1e-2:log', '--tune=td_steps=5,10,20',
  '--tune=updates_per_iteration=8:64:log')


def search(workdir: pathlib.Path) -> list[str]:
  """Make the trials; return the command."""
  command = [
    '-m', 'experiments.tune', *SETTINGS, *TUNED_ON, *SPACE,
    f'--trials={TRIALS}', f'--workdir={workdir / "study"}']
  subprocess.run([sys.executable, *command], check=True)
  return [word.replace(str(workdir), 'runs/tune_cartpole') for word in command]


def train(workdir: pathlib.Path, flags: list[str]) -> dict[str, Any]:
  """Return the scores of some settings on seeds that chose nothing."""
  subprocess.run(
    [sys.executable, '-m', 'experiments.classic', f'--workdir={workdir}',
     *flags, *REPORTED_ON], check=True)
  found = json.loads((workdir / 'evaluation.json').read_text())
  return dict(
    mean=found['mean'], confidence=found['confidence'],
    means=[one['mean'] for one in found['agents']],
    random_play=found['agents'][0]['random_play']['mean'])


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('--workdir', default='runs/tune_cartpole')
  parser.add_argument('--note', default='', help='what else the machine did')
  args = parser.parse_args()
  workdir = pathlib.Path(args.workdir)
  start = time.monotonic()
  command = search(workdir)
  best = workdir / 'study' / 'best.flags'
  given = train(workdir / 'given', list(SETTINGS))
  tuned = train(workdir / 'best', [f'--flagfile={best}'])
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  result = dict(
    environment='classic/cartpole',
    command=f'python {" ".join(command)}',
    note=args.note,
    **common.machine(),
    optuna=common.versions(('optuna',))['optuna'],
    seconds=round(time.monotonic() - start),
    cpu_seconds=round(used.ru_utime + used.ru_stime),
    reported_on=[100, 101, 102],
    given=given, best=tuned,
    best_flags=best.read_text().splitlines(),
    study=json.loads((workdir / 'study' / 'tune.json').read_text()))
  path = learning.RESULTS / 'tune_cartpole.json'
  path.write_text(json.dumps(result, indent=1) + '\n')
  print(f'given {given["mean"]:.2f} +- {given["confidence"]:.2f}, best '
        f'{tuned["mean"]:.2f} +- {tuned["confidence"]:.2f}; written: {path}')


if __name__ == '__main__':
  main()
