"""What one part of the algorithm is worth: the same training with and without.

python -m benchmarks.ablations [--num_seeds=3] [--num_steps=...] \\
  [--minutes=...] --which=search|reanalyse|priority|targets|prior

Each variant trains `num_seeds` agents side by side and evaluates them without
noise. One that is done is added at once to
benchmarks/results/ablation_<which>.json: the same command goes on after an
interruption, keeps the variants that stand there with the same configuration,
and resumes the one that was cut off from its checkpoint. `learnt` in that file
is for two sentences, written by hand when the figures are there and kept from
then on. `python -m benchmarks.report` shows all of it. --num_steps is for
trying it out; with --results elsewhere it leaves published figures alone.
"""

import argparse
import json
import pathlib
import re
import sys
import time
from typing import Any, NamedTuple

from benchmarks import common, learning
from muzero_jax import config as config_lib
from muzero_jax import train
from muzero_jax.config import Config


class Ablation(NamedTuple):
  """Variants of one training."""

  question: str
  preset: str
  fields: dict[str, Any]  # Of all variants, on top of the preset.
  variants: dict[str, dict[str, Any]]  # Fields by the variant's name.


# At temperature 5, the preset's, visit counts would be nearly random play.
_PUCT = dict(
  search='muzero', q_normalisation='tree', dirichlet_alpha=1.0,
  temperature=(1.0,),
)
_SIMULATIONS = (2, 4, 8, 16, 32)

ABLATIONS = {
  'search': Ablation(
    'How many simulations do Gumbel and pUCT need? The score is the mean '
    'outcome against perfect play, 0 at best, with as many simulations as '
    'trained.', 'tic_tac_toe',
    dict(num_steps=150_000, eval_simulations=0, eval_episodes=400,
         eval_envs=400),
    {
      f'{name}, {n} simulations': dict(fields, num_simulations=n)
      for name, fields in (('Gumbel', dict(search='gumbel')), ('pUCT', _PUCT))
      for n in _SIMULATIONS
    },
  ),
  # Short of where all stand upright, with values that bootstrap after 5 steps:
  # those of the first rows, stored when nothing was known, are far off. A
  # stream searches as many rows as the batch form.
  'reanalyse': Ablation(
    'What do fresh targets gain over those that were stored, at equal '
    'environment steps and updates?', 'pendulum',
    dict(num_steps=50_000, batch_size=128, target_period=32,
         ema_decay=0.99, eval_episodes=128, eval_envs=128),
    {
      **{
        f'{fraction:.0%} reanalysed': dict(reanalyse_fraction=fraction)
        for fraction in (0.0, 0.5, 0.8, 1.0)
      },
      '80% as a stream': dict(
        reanalyse_fraction=0.8, reanalyse_form='stream'),
    },
  ),
  'priority': Ablation(
    'Does it help to replay by priority?', 'minatar',
    dict(num_steps=300_000, eval_episodes=64, eval_envs=64),
    {
      'prioritised': dict(priority_alpha=0.6),
      'uniform': dict(priority_alpha=0.0),
    },
  ),
  # The horizon of the lambda-return is that of the longest n-step return.
  'targets': Ablation(
    'Which value target learns fastest?', 'cartpole',
    dict(num_steps=100_000, eval_episodes=100, eval_envs=100),
    {
      'n-step, n = 10': dict(value_target='n_step', td_steps=10),
      'n-step, n = 50': dict(value_target='n_step', td_steps=50),
      'lambda-return, lambda = 0.95': dict(
        value_target='td_lambda', td_lambda=0.95, td_steps=50),
    },
  ),
  # Where a policy that is certain too early would show.
  'prior': Ablation(
    'Should the policy target keep all of the prior, as in the paper?',
    'minatar', dict(num_steps=3_000_000, eval_episodes=64, eval_envs=64),
    {
      f'prior weight {weight:g}': dict(gumbel_prior_weight=weight)
      for weight in (1.0, 0.9, 0.5)
    },
  ),
}


def configs(ablation: Ablation, **overrides: Any) -> dict[str, Config]:
  """Returns the configuration of each variant; `overrides` come last."""
  return {
    name: config_lib.from_preset(
      ablation.preset, **{**ablation.fields, **fields, **overrides})
    for name, fields in ablation.variants.items()
  }


def run(
  ablation: Ablation,
  path: pathlib.Path,
  runs: pathlib.Path,
  *,
  command: str,
  seconds: float = float('inf'),
  **overrides: Any,
) -> int:
  """Trains the variants that are not done yet.

  Args:
    ablation: what to train.
    path: the JSON file, made or added to.
    runs: for the run directories.
    command: to be recorded.
    seconds: after which no other variant is started.
    **overrides: fields of all variants.

  Returns:
    0, or the exit status of a variant that was stopped.
  """
  stop = time.monotonic() + seconds
  wanted = configs(ablation, **overrides)
  for name, config in wanted.items():
    if name in _done(path, wanted):
      print(f'{name}: done already', flush=True)
      continue
    if time.monotonic() >= stop:
      print(f'{name}: left for the next time', flush=True)
      continue
    print(f'{name}:', flush=True)
    slug = re.sub(r'\W+', '_', name.lower())
    workdir = runs / f'{slug}-{learning.fingerprint(config)}'
    if status := train.run(config, workdir):
      return status
    record = learning.make_record([learning.read_run(workdir)])
    record['varied'] = ablation.variants[name]
    # Of other settings none is kept: a picture shows what can be compared.
    _write(path, ablation, command, _done(path, wanted) | {name: record})
  return 0


def _read(path: pathlib.Path) -> dict[str, Any]:
  """Returns what the JSON file holds; nothing, if there is none."""
  return json.loads(path.read_text('utf-8')) if path.exists() else {}


def _done(
  path: pathlib.Path, wanted: dict[str, Config]
) -> dict[str, dict[str, Any]]:
  """Returns the variants that the JSON file holds as they are wanted."""
  stored = _read(path).get('variants', {})
  return {
    name: stored[name] for name, config in wanted.items()
    if learning.is_of(stored.get(name, {}), config)
  }


def _write(
  path: pathlib.Path,
  ablation: Ablation,
  command: str,
  variants: dict[str, dict[str, Any]],
) -> None:
  """Writes the JSON file, variants in the table's order."""
  stored = _read(path)
  # What was learnt of figures that are replaced is not learnt of the new ones.
  kept = set(stored.get('variants', {})) <= set(variants)
  learnt = stored.get('learnt', '') if kept else ''
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(dict(
    question=ablation.question,
    command=command,
    learnt=learnt,
    variants={
      name: variants[name] for name in ablation.variants if name in variants
    },
  ), indent=1) + '\n', encoding='utf-8')


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--which', choices=list(ABLATIONS), required=True)
  parser.add_argument('--num_seeds', type=int, default=3)
  parser.add_argument('--num_steps', type=float)
  parser.add_argument('--minutes', type=float, default=float('inf'))
  parser.add_argument('--workdir', type=pathlib.Path, default='runs/ablations')
  parser.add_argument('--results', type=pathlib.Path, default=learning.RESULTS)
  args = parser.parse_args()
  overrides: dict[str, Any] = dict(num_seeds=args.num_seeds)
  if args.num_steps is not None:
    overrides['num_steps'] = int(args.num_steps)
  try:
    status = run(
      ABLATIONS[args.which],
      args.results / f'ablation_{args.which}.json',
      args.workdir / args.which,
      command='python -m benchmarks.ablations ' + ' '.join(common.argv()),
      seconds=60 * args.minutes,
      **overrides,
    )
  except ValueError as error:
    sys.exit(f'error: {error}')
  sys.exit(status)


if __name__ == '__main__':
  main()
