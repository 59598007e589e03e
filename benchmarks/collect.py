"""Publishes finished runs as benchmarks/results/<name>.json.

python -m benchmarks.collect --workdir=runs/acrobot --name=acrobot \\
  [--note='other jobs beside it']

A run of several agents (num_seeds) is one directory; seeds that were run apart
are several: --workdir=runs/a --workdir=runs/b. Each must have come to its end,
with its evaluation; what experiments.ladder has found there goes with it.
Collect on the machine that trained, with the versions that did: both are
recorded. `learning` says what the file holds; afterwards
`python -m benchmarks.report` shows it.
"""

import argparse
import pathlib
import sys

from benchmarks import learning
from muzero_jax.errors import UserError


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--workdir', action='append', required=True)
  parser.add_argument('--name', required=True)
  parser.add_argument('--note', default='')
  parser.add_argument('--results', type=pathlib.Path, default=learning.RESULTS)
  args = parser.parse_args(argv)
  path = args.results / f'{args.name}.json'
  try:
    if path.parent != args.results:
      raise UserError(f'--name={args.name}: must be a name, without folders')
    runs = [learning.read_run(workdir) for workdir in args.workdir]
    record = learning.make_record(runs, note=args.note)
    ladders = [
      learning.read_ladder(workdir, record['environment'])
      for workdir in args.workdir
    ]
    if any(ladders):
      record['ladder'] = next(filter(None, ladders))
    learning.store(path, record)
  except ValueError as error:
    sys.exit(f'error: {error}')
  found = learning.score(record['seeds'])
  print(
    f'{path}: {record["environment"]}, {found.num_seeds} seeds, mean '
    f'{found.mean:.2f}; now run python -m benchmarks.report'
  )


if __name__ == '__main__':
  main()
