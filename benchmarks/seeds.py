"""Runs one flagfile with several seeds, one after the other, from nothing.

python -m benchmarks.seeds --script=classic \\
  --flagfile=experiments/flagfiles/classic/cartpole.flags --seeds=0,1,2,3,4

Each seed is a new process with an empty compile cache. Its training seconds
count from the process's start to its last checkpoint, so Python, compiling and
saving are in them; the evaluation is not. Other flags, and those after `--`, go
to the script. Writes benchmarks/results/<flagfile>.json, as `learning` says.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import learning
from muzero_jax.config import Config


def run_seed(
  script: str, flagfile: str, seed: int, extra: list[str]
) -> tuple[Config, list[dict[str, Any]]]:
  """Returns the configuration of one seed and the rows of its agents."""
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
    trained = 0.0
    process = subprocess.Popen(
      command, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
      if line.startswith('saved the checkpoint'):
        trained = time.monotonic() - start
    if process.wait():
      sys.exit(f'seed {seed} ended with status {process.returncode}')
    config, rows = learning.read_run(workdir)
  seconds = dict(
    training_seconds=round(trained, 1),
    all_seconds=round(time.monotonic() - start, 1),
  )
  return config, [row | seconds for row in rows]


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,  # --seed is the script's, not short for --seeds.
  )
  parser.add_argument('--script', required=True)
  parser.add_argument('--flagfile', required=True)
  parser.add_argument('--seeds', default='0,1,2')
  parser.add_argument(
    '--name', help='Of the result; by default the flagfile\'s.')
  parser.add_argument('--note', default='')
  parser.add_argument('--results', type=pathlib.Path, default=learning.RESULTS)
  args, extra = parser.parse_known_args()
  extra = [flag for flag in extra if flag != '--']
  name = args.name or pathlib.Path(args.flagfile).stem
  command = 'python -m benchmarks.seeds ' + shlex.join(
    [f'--script={args.script}', f'--flagfile={args.flagfile}',
     f'--seeds={args.seeds}', *extra])
  runs = []
  for seed in map(int, args.seeds.split(',')):
    runs.append(run_seed(args.script, args.flagfile, seed, extra))
    for row in runs[-1][1]:
      row = {k: v for k, v in row.items() if k != 'training_return_by_step'}
      print(json.dumps(row), flush=True)
    # After each seed: what is done survives a later one that fails.
    learning.store(
      args.results / f'{name}.json',
      learning.make_record(runs, command=command, note=args.note),
    )


if __name__ == '__main__':
  main()
