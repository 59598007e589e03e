"""What training runs have shown, as benchmarks/results/<name>.json holds it.

`seeds`, `collect` and `ablations` write such records; `report` reads them:

  environment  as evaluations name it, "classic/cartpole"
  command      trains it again
  note         what no figure says: what ran beside it, where it was stopped
  configuration  every field but the seed and log settings, as it was then
  hardware, versions  as `common.machine` has them
  seeds        one row for each agent:
    seed, agent, num_agents  the run's seed; which of how many agents that were
                             trained side by side in that run
    step, updates            made in training
    training_seconds         of its run until training ended, compiling included
    all_seconds              of its process, evaluation included
    num_episodes, num_simulations, mean, standard_error, min, max, ...
                             the noise-free evaluation, as `evaluate.report`
                             has it
    returns                  of each of its episodes; not in older records
    training_return_by_step  [[step, return], ...], at most 200 points
  ladder       of the first run that has one: its command, and what ladder.json
               holds (`tournament.to_json`)

What was not recorded is null or absent. Intervals and means over seeds are not
stored: `score` computes them.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags as absl_flags
from scipy import stats

from benchmarks import common
from muzero_jax import config as config_lib
from muzero_jax import train
from muzero_jax.config import Config, command_line, presets
from muzero_jax.errors import UserError
from muzero_jax.evaluation import tournament
from muzero_jax.runs import metrics, run_dir

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = pathlib.Path(__file__).parent / 'results'
MOST_POINTS = 200
FLAGFILES = ROOT / 'experiments/flagfiles'
# Fields that change neither what is learnt nor what is scored.
_BOOKKEEPING = (
  'log_period', 'checkpoint_period', 'max_checkpoints', 'env_threads',
  'snapshot_period',
)
# Where it is not named like the family.
_SCRIPTS = {'gymnax': 'classic', 'physics': 'continuous'}
_PACKAGES = {
  'atari': ('ale-py',), 'gymnax': ('gymnax',), 'board': ('pgx',),
  'minatar': ('pgx',), 'stochastic': ('pgx',), 'continuous': ('gymnax',),
  'physics': ('brax',), 'gymnasium': ('gymnasium',),
}


class Score(NamedTuple):
  """A mean over seeds and how far it can be trusted."""

  mean: float
  # Half the 95 % confidence interval over seeds by Student's t; of one seed
  # the standard error over its episodes, or None where there is none.
  spread: float | None
  num_seeds: int


def score(rows: Sequence[dict[str, Any]]) -> Score:
  """Returns the mean score of a record's `seeds` with its interval."""
  means = [row['mean'] for row in rows]
  if len(rows) == 1:
    return Score(means[0], rows[0].get('standard_error'), 1)
  half = confidence(np.array(means)[:, None])[0]
  return Score(float(np.mean(means)), float(half), len(rows))


def confidence(samples: np.ndarray) -> np.ndarray:
  """Returns half the 95 % confidence interval of the mean, by Student's t.

  Args:
    samples: [N, T], N independent ones of T quantities, N at least 2.

  Returns:
    [T]
  """
  count = len(samples)
  error = samples.std(axis=0, ddof=1) / np.sqrt(count)
  return stats.t.ppf(0.975, count - 1) * error


def on_common_steps(
  curves: Sequence[Sequence[Sequence[float]]],
) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps [T] and the curves [N, T] there, where all of them reach.

  Args:
    curves: N times [[step, return], ...]; between points they are straight.
  """
  points = [np.asarray(curve, float) for curve in curves]
  steps = np.unique(np.concatenate([curve[:, 0] for curve in points]))
  first = max(curve[0, 0] for curve in points)
  last = min(curve[-1, 0] for curve in points)
  steps = steps[(steps >= first) & (steps <= last)]
  return steps, np.stack([np.interp(steps, *curve.T) for curve in points])


def read_run(
  workdir: str | pathlib.Path, *, allow_imports: str = ''
) -> tuple[Config, list[dict]]:
  """Returns the configuration of a run directory and a row for each agent.

  Raises:
    ValueError: there is no finished, evaluated run.
  """
  workdir = pathlib.Path(workdir)
  config = run_dir.read_config(workdir, allow_imports=allow_imports)
  path = workdir / train.EVALUATION_FILE
  if not path.exists():
    raise UserError(
      f'workdir {workdir} has no {path.name}: the run must come to its end, '
      'with eval_episodes of at least 1'
    )
  try:
    found = json.loads(path.read_text(encoding='utf-8'))
    agents = found.get('agents', [found])
    step = int(agents[0]['step'])
    for one in agents:
      float(one['mean'])
  except (
    OSError, ValueError, TypeError, LookupError, AttributeError
  ) as error:
    raise UserError(
      f'{path}: not what an evaluation writes ({error!r})') from error
  log = [row for row in metrics.read_metrics(workdir) if 'updates' in row]
  if not log or log[-1]['step'] != step:
    raise UserError(
      f'workdir {workdir}: {path.name} is of step {step:,}, but '
      f'the run went to step {log[-1]["step"] if log else 0:,}'
    )
  return config, [
    dict(
      seed=config.seed, agent=index, num_agents=config.num_seeds,
      updates=log[-1]['updates'], training_seconds=log[-1]['seconds'],
      **one,
      training_return_by_step=_curve(log, index, config.num_seeds),
    )
    for index, one in enumerate(agents)
  ]


def read_ladder(
  workdir: str | pathlib.Path, environment: str
) -> dict[str, Any] | None:
  """Returns what `experiments.ladder` found and its command, None if it has
  not been run.

  Args:
    workdir: of a run that has come to its end.
    environment: of that run.

  Raises:
    ValueError: the file is none of its ladders, or not one of this run's last
      step.
  """
  workdir = pathlib.Path(workdir)
  path = workdir / tournament.LADDER_FILE
  if not path.exists():
    return None
  try:
    found = json.loads(path.read_text(encoding='utf-8'))
    told = found['environment']
    last = max(int(row['step'] or 0) for row in found['ratings'])
    words = [
      f'python -m experiments.ladder --workdir={workdir}',
      f'--opponent={",".join(found["opponents"])}',
      *(f'--{name}={found[name]}' for name in ('num_games', 'opening_moves')),
      *(f'--{name}={found[name]}' for name in ('seed', 'index') if found[name]),
    ]
    complete = all(name in found for name in (
      'anchor', 'matches', 'num_simulations'))
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    raise UserError(
      f'{path}: not what experiments.ladder writes ({error!r})') from error
  if not complete or told != environment:
    raise UserError(
      f'{path}: a ladder of {told}, not a whole one of {environment}')
  end = list(metrics.read_metrics(workdir))[-1]['step']
  if last != end:
    raise UserError(
      f'workdir {workdir}: {path.name} goes to step {last:,}, the run to step '
      f'{end:,}: run experiments.ladder again')
  return dict(command=' '.join(words), **found)


def _curve(log: list[dict], index: int, num_agents: int) -> list[list[float]]:
  """Returns the training returns of an agent, thinned evenly."""
  name = f'return_of_agent/{index}' if num_agents > 1 else 'return'
  points = [
    [row['step'], row[name]] for row in log if row.get(name) is not None
  ]
  if len(points) <= MOST_POINTS:
    return points
  kept = np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)
  return [points[i] for i in kept]


def make_record(
  runs: Sequence[tuple[Config, list[dict[str, Any]]]],
  *,
  command: str = '',
  note: str = '',
) -> dict[str, Any]:
  """Returns the record of runs that differ in nothing but the seed.

  Args:
    runs: as `read_run` returns them.
    command: that made them; by default the one that trains them again.
    note: what no figure says.

  Raises:
    ValueError: the runs differ in more than their seeds, or not in them.
  """
  first = runs[0][0]
  for config, _ in runs[1:]:
    names = [
      name for name, (a, b) in config_lib.diff(first, config).items()
      if name != 'seed' and name not in _BOOKKEEPING
    ]
    if names:
      raise UserError(
        'the runs are of different configuration: ' + ', '.join(
          f'{name} is {getattr(first, name)!r} and {getattr(config, name)!r}'
          for name in names
        )
      )
  chosen = [config.seed for config, _ in runs]
  if len(set(chosen)) < len(chosen):
    raise UserError(
      f'seeds {", ".join(map(str, chosen))}: every run needs another seed'
    )
  rows = [row for _, agents in runs for row in agents]
  environment = rows[0]['environment']
  if not command:
    command = training_command(first, tell_seed=len(runs) == 1)
  packages = common.PACKAGES + _PACKAGES.get(first.family, ())
  return dict(
    environment=environment,
    command=command,
    **({'note': note} if note else {}),
    configuration=configuration(first),
    hardware=common.hardware(),
    versions=common.versions(packages),
    seeds=[
      {name: x for name, x in row.items() if name != 'environment'}
      for row in rows
    ],
  )


def store(path: pathlib.Path, record: dict[str, Any]) -> None:
  """Writes a record, in place of an older one of the same environment.

  Raises:
    ValueError: the file holds another environment, or something else.
  """
  if path.exists():
    there = json.loads(path.read_text(encoding='utf-8')).get('environment')
    if there != record['environment']:
      raise UserError(
        f'{path.name} holds {there or "something else"}, not '
        f'{record["environment"]}: choose another --name'
      )
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')
  except OSError as error:
    raise UserError(f'{path} cannot be written: {error.strerror}') from None


def configuration(config: Config) -> dict[str, Any]:
  """Return all that decides what a run learns and scores, but the seed.

  As JSON has it, so that it equals what was stored.
  """
  fields = json.loads(config_lib.to_json(config))
  return {
    name: value for name, value in fields.items()
    if name not in ('seed', *_BOOKKEEPING)
  }


def is_of(record: dict[str, Any], config: Config) -> bool:
  """Return whether a record is of a configuration, seed apart.

  Fields that were added or renamed since the record was made count as they
  would if it were a run that is resumed.
  """
  try:
    stored = config_lib.from_fields(record['configuration'])
  except (KeyError, UserError):
    return False
  return configuration(stored) == configuration(config)


def fingerprint(config: Config) -> str:
  """Return a short digest of a configuration, for names of folders."""
  text = json.dumps(configuration(config), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def training_command(config: Config, *, tell_seed: bool) -> str:
  """Returns the shortest command that trains a configuration.

  Args:
    config: of the run.
    tell_seed: False to leave the seed out.
  """
  starts = {
    f'--flagfile={path.relative_to(ROOT)}': read_flagfile(path)
    for path in sorted(FLAGFILES.glob('*/*.flags'))
  } | {
    f'--preset={name}': config_lib.from_preset(name)
    for name in presets.PRESETS
  }
  start = min(starts, key=lambda name: len(_changes(config, starts[name])))
  changes = _changes(config, starts[start])
  if tell_seed and config.seed != starts[start].seed:
    changes['seed'] = config.seed
  script = _SCRIPTS.get(config.family, config.family)
  words = [f'python -m experiments.{script}', start]
  return ' '.join(
    words + [f'--{name}={_text(value)}' for name, value in changes.items()]
  )


def _changes(config: Config, base: Config) -> dict[str, Any]:
  """Returns the fields in which `config` differs from `base`, seed apart."""
  return {
    name: value for name, (value, _) in config_lib.diff(config, base).items()
    if name != 'seed' and name not in _BOOKKEEPING
  }


def read_flagfile(path: pathlib.Path) -> Config:
  """Returns the configuration of a flagfile."""
  values = absl_flags.FlagValues()
  command_line.define(flag_values=values)
  arguments = command_line.parse(
    ['', f'--flagfile={path}', '--workdir=unused'], flag_values=values
  )
  return dataclasses.replace(arguments.base, **arguments.given)


def _text(value: Any) -> str:
  """Returns a field's value as a flag has it."""
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, tuple):
    return ','.join(map(str, value))
  return str(value)
