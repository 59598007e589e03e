"""Runs one flagfile with several seeds, one after the other, from nothing.

python -m benchmarks.seeds --script=classic \\
  --flagfile=experiments/flagfiles/classic/cartpole.flags --seeds=0,1,2,3,4

Each seed is a new process with an empty compile cache. The training seconds
count from the process's start to its last checkpoint, so Python, compiling and
saving are in them; the evaluation is not. Flags after `--` go to the script.
Writes benchmarks/results/<flagfile>.json.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import common

_RESULTS = pathlib.Path(__file__).parent / 'results'


def run_seed(
  script: str, flagfile: str, seed: int, extra: list[str]
) -> dict[str, Any]:
  """Returns the score and the seconds of one seed."""
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / 'run'
    command = [
      sys.executable, '-m', f'experiments.{script}', f'--flagfile={flagfile}',
      f'--workdir={workdir}', f'--seed={seed}', *extra,
    ]
    environment = {
      **os.environ, 'JAX_COMPILATION_CACHE_DIR': f'{folder}/cache'
    }
    start = time.monotonic()
    trained = None
    process = subprocess.Popen(
      command, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
      if line.startswith('saved the checkpoint'):
        trained = time.monotonic() - start
    if process.wait():
      sys.exit(f'seed {seed} ended with status {process.returncode}')
    result = json.loads((workdir / 'evaluation.json').read_text())
    rows = (workdir / 'metrics.jsonl').read_text().splitlines()
    result.pop('returns', None)
    curve = [
      [row['step'], row['return']]
      for row in map(json.loads, rows) if row.get('return') is not None
    ]
  return dict(
    seed=seed,
    training_seconds=round(trained or 0.0, 1),
    all_seconds=round(time.monotonic() - start, 1),
    **result,
    training_return_by_step=curve,
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--script', required=True)
  parser.add_argument('--flagfile', required=True)
  parser.add_argument('--seeds', default='0,1,2')
  args, extra = parser.parse_known_args()
  extra = [flag for flag in extra if flag != '--']
  results = []
  for seed in map(int, args.seeds.split(',')):
    result = run_seed(args.script, args.flagfile, seed, extra)
    results.append(result)
    told = {k: v for k, v in result.items() if k != 'training_return_by_step'}
    print(json.dumps(told), flush=True)
  name = pathlib.Path(args.flagfile).stem
  path = _RESULTS / f'{name}.json'
  path.write_text(json.dumps(dict(
    command='python -m benchmarks.seeds ' + ' '.join(common.argv()),
    **common.machine(),
    seeds=results,
  ), indent=1) + '\n')


if __name__ == '__main__':
  main()
