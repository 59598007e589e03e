"""Offline against its data: a short run, its replay, and agents made of that.

python -m benchmarks.offline --which=cartpole|minatar_breakout [--num_seeds=3]

Trains a run that stops early, saves its replay as a dataset, trains `num_seeds`
agents side by side from that alone, as experiments/flagfiles/offline has it,
and evaluates them without noise. What is there already is not made again, so
the same command goes on after an interruption. Writes
benchmarks/results/offline_<which>.json, a record as `learning` has it, with
`data`: the mean return of the data's complete episodes, which the agents have
to surpass, and how many these are. There `step` counts updates.
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import Any, NamedTuple

from benchmarks import common, learning
from muzero_jax import config as config_lib
from muzero_jax import train
from muzero_jax.replay import dataset
from muzero_jax.runs import dataset_export


class Source(NamedTuple):
  """A run that makes data."""

  preset: str
  fields: dict[str, Any]
  flagfile: str  # Of the offline run.


SOURCES = {
  'cartpole': Source(
    'cartpole', dict(num_steps=40_000), 'offline/cartpole.flags'),
  # The data are those of the preset as it was when they were recorded.
  'minatar_breakout': Source(
    'minatar', dict(
      num_steps=1_000_000, replay_capacity=204_800, gumbel_min_range=1.0,
      gumbel_prior_weight=0.5, noise_steps=(1,), policy_gradient_weight=0.0,
      fresh_values=False, augment_symmetry=False, batch_size=256,
      updates_per_iteration=32),
    'offline/minatar_breakout.flags'),
}


def run(
  source: Source,
  path: pathlib.Path,
  runs: pathlib.Path,
  *,
  command: str,
  num_seeds: int,
  online: dict[str, Any] | None = None,
  **overrides: Any,
) -> int:
  """Makes the data and the agents that are not there yet, and the record.

  Args:
    source: of the data.
    path: the JSON file.
    runs: for the two run directories and the dataset.
    command: to be recorded.
    num_seeds: agents.
    online: fields of the run that makes the data.
    **overrides: fields of the offline run.

  Returns:
    0, or the exit status of a run that was stopped.
  """
  data = runs / 'data'
  if not data.exists():
    config = config_lib.from_preset(
      source.preset, **{**source.fields, 'eval_episodes': 0, **(online or {})})
    if status := train.run(config, runs / 'online'):
      return status
    dataset_export.export(runs / 'online', data)
  config = dataclasses.replace(
    learning.read_flagfile(learning.FLAGFILES / source.flagfile),
    dataset=str(data), num_seeds=num_seeds, **overrides)
  if status := train.run(config, runs / 'offline'):
    return status
  facts = dataset.read_facts(data)
  record = learning.make_record(
    [learning.read_run(runs / 'offline')], command=command,
    note='offline: steps are updates')
  record['data'] = dict(
    mean_return=facts['mean_return'], num_episodes=facts['num_episodes'],
    step=facts['source']['step'])
  learning.store(path, record)
  found = learning.score(record['seeds'])
  print(
    f'{path}: mean {found.mean:.2f} of {found.num_seeds} agents, of the data '
    f'{facts["mean_return"]:.2f}')
  return 0


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--which', choices=list(SOURCES), required=True)
  parser.add_argument('--num_seeds', type=int, default=3)
  parser.add_argument('--workdir', type=pathlib.Path, default='runs/offline')
  parser.add_argument('--results', type=pathlib.Path, default=learning.RESULTS)
  args = parser.parse_args()
  try:
    status = run(
      SOURCES[args.which],
      args.results / f'offline_{args.which}.json',
      args.workdir / args.which,
      command='python -m benchmarks.offline ' + ' '.join(common.argv()),
      num_seeds=args.num_seeds,
    )
  except ValueError as error:
    sys.exit(f'error: {error}')
  sys.exit(status)


if __name__ == '__main__':
  main()
