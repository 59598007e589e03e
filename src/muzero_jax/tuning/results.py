"""What a study found, for people: a flagfile, a table and tune.json."""

import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from muzero_jax import config as config_lib
from muzero_jax import files
from muzero_jax.config import Config
from muzero_jax.tuning import study as study_lib
from muzero_jax.tuning.study import Trial, Wanted

BEST_FILE, RESULTS_FILE = 'best.flags', 'tune.json'
_FALLBACK_PRESET = 'cartpole'
_MOST_SHOWN = 5


def flagfile(config: Config, tuned: Sequence[str], notes: Sequence[str]) -> str:
  """Return settings as the text of a flagfile; --flagfile makes them again.

  Args:
    config: the settings, which the flagfile holds as a preset and what differs
      from it.
    tuned: fields that stand together, at the end.
    notes: lines of comment above.
  """
  preset = config_lib.nearest_preset(config) or _FALLBACK_PRESET
  lines = [f'# {note}' for note in notes] + [f'--preset={preset}']
  given = {
    name: pair[0] for name, pair in config_lib.diff(
      config, config_lib.from_preset(preset)).items()}
  given |= {name: getattr(config, name) for name in tuned}
  first = [name for name in given if name not in tuned]
  lines += [_line(name, given[name]) for name in first]
  return '\n'.join([*lines, '# Found:', *(
    _line(name, given[name]) for name in tuned)]) + '\n'


def write(
  workdir: pathlib.Path, wanted: Wanted, over: Sequence[Trial]
) -> None:
  """Write tune.json, and best.flags if a trial came to its end.

  Raises:
    RunError: they cannot be written.
  """
  with files.writing(str(workdir)):
    files.write_json(
      workdir / RESULTS_FILE, as_json(wanted, over), allow_nan=False)
    if text := best_flags(wanted, over):
      files.write_whole(workdir / BEST_FILE, text.encode())


def best_flags(wanted: Wanted, over: Sequence[Trial]) -> str:
  """Return the flagfile of the best trial; '' if none came to its end."""
  found = study_lib.best(list(over))
  if found is None or found.config is None:
    return ''
  seeds = wanted.base.num_seeds
  of = f'seeds {wanted.base.seed} to {wanted.base.seed + seeds - 1}' if (
    seeds > 1) else f'seed {wanted.base.seed}'
  return flagfile(found.config, [one.name for one in wanted.space], [
    f'The best of {len(over)} trials of experiments.tune on '
    f'{wanted.base.family}/{wanted.base.env_id}:',
    f'{wanted.objective} {found.value:.5g} over {of}; the value that chose it '
    'is too high an estimate.'])


def as_json(wanted: Wanted, over: Sequence[Trial]) -> dict[str, Any]:
  """Return all trials as plain numbers by name."""
  found = study_lib.best(list(over))
  return dict(
    objective=wanted.objective,
    tune=[one.text for one in wanted.space],
    tune_seed=wanted.seed,
    prune=wanted.prunes,
    seeds=[wanted.base.seed + i for i in range(wanted.base.num_seeds)],
    best=found.name if found else None,
    trials=[
      dict(trial=one.name, state=one.state, value=one.value,
           **({'error': one.error} if one.error else {}), settings=one.drawn)
      for one in over])


def describe(
  workdir: pathlib.Path, wanted: Wanted, over: Sequence[Trial]
) -> list[str]:
  """Return lines on what was found."""
  count = lambda state: sum(one.state == state for one in over)
  lines = [f'{len(over)} trials: {count("complete")} complete, '
           f'{count("pruned")} pruned, {count("failed")} failed']
  ranked = sorted(
    (one for one in over if one.value is not None),
    key=lambda one: -(one.value or 0.0))
  for one in ranked[:_MOST_SHOWN]:
    drawn = ' '.join(
      f'{name}={config_lib.text(value)}' for name, value in one.drawn.items())
    lines.append(f'  {one.name}  {wanted.objective} {one.value:.5g}  {drawn}')
  if not ranked:
    return [*lines, 'no trial came to its end, so there is no best one; '
            f'{workdir / RESULTS_FILE} says why']
  path = shlex.quote(str(workdir / BEST_FILE))
  return [
    *lines, '', best_flags(wanted, over),
    f'written to {workdir / BEST_FILE}; train with it on seeds that chose '
    'nothing:',
    f'muzero-jax train --flagfile={path} --seed=100 --workdir=runs/best']


def _line(name: str, value: Any) -> str:
  return f'--{name}={config_lib.text(value)}'
