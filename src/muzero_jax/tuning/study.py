"""A study: trials drawn by Optuna, run one after another, kept in one file.

All that it knows is in its directory: `study.json` says what is searched,
`study.db` is Optuna's storage in SQLite, `trials/` has one run directory for
each trial. It can end at any moment; whoever opens it again goes on.
"""

import importlib.util
import math
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from muzero_jax import config as config_lib
from muzero_jax import files
from muzero_jax.config import Config
from muzero_jax.errors import (
  Error,
  MissingPackageError,
  RunError,
  StoppedError,
  UserError,
)
from muzero_jax.runs import lock, run_dir
from muzero_jax.tuning import space as space_lib
from muzero_jax.tuning import storage
from muzero_jax.tuning.space import Setting
from muzero_jax.tuning.storage import DATABASE

STUDY_FILE, TRIALS = 'study.json', 'trials'
OBJECTIVES = ('evaluation', 'return')
# Failures one after another after which it is no longer the settings' fault.
_MOST_FAILURES = 5
_MOST_ATTEMPTS = 3  # Of a trial in which the process was killed.
_LONGEST_ERROR = 500


class Wanted(NamedTuple):
  """What is searched; the same in every life of a study."""

  base: Config
  space: tuple[Setting, ...]
  objective: str = 'evaluation'  # One of OBJECTIVES.
  prunes: bool = True  # As asked for.
  seed: int = 0  # Of what is drawn.


class Trial(NamedTuple):
  """One trial that is over."""

  name: str  # Of its folder.
  state: str  # 'complete', 'pruned' or 'failed'.
  value: float | None
  config: Config | None  # None where the settings did not fit together.
  drawn: dict[str, Any]  # By field, as in a configuration.
  error: str = ''


class PrunedError(Error):
  """A trial is worse than half of those before it, and was given up."""


# (tenth of the run, mean training return in it) -> None; raises PrunedError.
Report = Callable[[int, float], None]
# (configuration, run directory, report) -> what is to be large.
Objective = Callable[[Config, pathlib.Path, Report], float]
Say = Callable[[str], Any]


def run(
  workdir: pathlib.Path,
  wanted: Wanted,
  *,
  num_trials: int,
  objective: Objective,
  prunes: bool = True,
  check_stop: Callable[[], None] = lambda: None,
  after_trial: Callable[[list[Trial]], None] = lambda trials: None,
  say: Say = print,
) -> list[Trial]:
  """Make trials until there are so many, and return all of them.

  A trial that fails is recorded and costs a trial, nothing more.

  Args:
    workdir: of the study; made if need be.
    wanted: what is searched. In a directory that has a study it must be the
      same.
    num_trials: in all lives of the study together.
    objective: makes one trial.
    prunes: whether trials can be pruned, if that is asked for.
    check_stop: raises StoppedError where the study was asked to stop.
    after_trial: gets all trials so far, whenever one is over.
    say: prints a line.

  Raises:
    UserError: the directory is in use, or belongs to something else.
    MissingPackageError: Optuna is not installed.
    StoppedError: `check_stop` or the objective raised it; the study is whole.
    RunError: the storage cannot be read or written, or one trial after another
      failed.
  """
  optuna = storage.load()
  check(workdir, wanted)
  with lock.hold(workdir), storage.errors(optuna, workdir):
    with files.writing(str(workdir / STUDY_FILE)):
      files.write_json(workdir / STUDY_FILE, _facts(wanted))
    study = storage.open_study(optuna, workdir, prunes and wanted.prunes)
    _take_back(optuna, study)
    if not study.trials:
      _begin(study, wanted, say)
    in_a_row = 0
    over = trials(optuna, study, wanted)
    while len(over) < num_trials:
      check_stop()
      # A study that was interrupted must not draw the same again.
      study.sampler = optuna.samplers.TPESampler(
        seed=wanted.seed + len(study.trials))
      _make_trial(optuna, study, workdir, wanted, objective, say)
      over = trials(optuna, study, wanted)
      _drop_checkpoints(workdir, over)
      after_trial(over)
      in_a_row = in_a_row + 1 if over[-1].state == 'failed' else 0
      if in_a_row >= _MOST_FAILURES:
        raise RunError(
          f'{in_a_row} trials failed one after another, the last with: '
          f'{over[-1].error}; the same command goes on')
    return over


def check(workdir: pathlib.Path, wanted: Wanted) -> None:
  """Check that a directory is new, or holds this study; write nothing.

  Raises:
    UserError: it belongs to something else.
    MissingPackageError: Optuna is not installed.
  """
  _check_place(workdir)
  _check_same(workdir, wanted)
  if importlib.util.find_spec('optuna') is None:
    raise MissingPackageError(storage.NEEDED)


def best(over: list[Trial]) -> Trial | None:
  """Return the trial with the largest value; None if none came to its end."""
  complete = [one for one in over if one.state == 'complete']
  return max(complete, key=lambda one: one.value or 0.0, default=None)


def trials(optuna: Any, study: Any, wanted: Wanted) -> list[Trial]:
  """Return the trials that are over, in the order in which they ended."""
  found = [one for one in study.get_trials(deepcopy=False) if _is_over(one)]
  found.sort(key=lambda one: (one.datetime_complete, one.number))
  return [_as_trial(optuna, one, wanted) for one in found]


def _as_trial(optuna: Any, one: Any, wanted: Wanted) -> Trial:
  states = {'COMPLETE': 'complete', 'PRUNED': 'pruned', 'FAIL': 'failed'}
  config = None
  try:
    drawn = {
      setting.name: setting.value(one.params[setting.name])
      for setting in wanted.space if setting.name in one.params}
    config = space_lib.apply(wanted.base, wanted.space, one.params)
  except (UserError, KeyError):
    pass
  is_complete = one.state == optuna.trial.TrialState.COMPLETE
  return Trial(
    one.user_attrs['folder'], states[one.state.name],
    one.value if is_complete else None, config, drawn,
    one.user_attrs.get('error', ''))


def _is_over(one: Any) -> bool:
  """Return whether a trial of Optuna's needs no further attempt."""
  return 'folder' in one.user_attrs and (
    one.state.name in ('COMPLETE', 'PRUNED')
    or one.state.name == 'FAIL' and 'error' in one.user_attrs)


def _make_trial(
  optuna: Any, study: Any, workdir: pathlib.Path, wanted: Wanted,
  objective: Objective, say: Say,
) -> None:
  """Draw settings, run the objective on them and record what came of it."""
  state = optuna.trial.TrialState
  trial = study.ask()
  name = trial.user_attrs.get('folder', f'{trial.number:04d}')
  trial.set_user_attr('folder', name)
  start = time.monotonic()
  try:
    drawn = {one.name: _draw(trial, one) for one in wanted.space}
    config = space_lib.apply(wanted.base, wanted.space, drawn)
    say(f'trial {name}: ' + ' '.join(
      f'{one.name}={config_lib.text(getattr(config, one.name))}'
      for one in wanted.space))
    if trial.user_attrs.get('attempts', 1) > _MOST_ATTEMPTS:
      raise RunError(f'the process was ended {_MOST_ATTEMPTS} times in it')
    value = float(objective(
      config, workdir / TRIALS / name, _reporter(trial)))
    if not math.isfinite(value):
      raise RunError(f'its value is {value}')
  except StoppedError:
    study.tell(trial, state=state.FAIL)
    raise
  except PrunedError as error:
    study.tell(trial, state=state.PRUNED)
    say(f'  pruned: {error}')
  except Exception as error:  # noqa: B902 - of whatever kind, it is recorded.
    text = ' '.join(str(error).split())[:_LONGEST_ERROR]
    if not isinstance(error, Error):
      text = f'{type(error).__name__}: {text}'
    trial.set_user_attr('error', text)
    study.tell(trial, state=state.FAIL)
    say(f'  failed: {text}')
  else:
    study.tell(trial, value)
    say(f'  {wanted.objective} {value:.4g} after '
        f'{time.monotonic() - start:.0f} s; the best is {study.best_value:.4g}')


def _draw(trial: Any, setting: Setting) -> Any:
  """Return what Optuna draws for a setting."""
  if setting.choices:
    return trial.suggest_categorical(setting.name, setting.choices)
  suggest = trial.suggest_int if setting.is_whole else trial.suggest_float
  return suggest(setting.name, setting.low, setting.high, log=setting.is_log)


def _reporter(trial: Any) -> Report:
  """Return what reports a trial's returns, and ends it where it is pruned."""
  earlier = trial.user_attrs.get('reported', {})
  for rung, value in earlier.items():
    trial.report(value, int(rung))

  def report(rung: int, value: float) -> None:
    if str(rung) in earlier:
      return
    trial.report(value, rung)
    if trial.should_prune():
      raise PrunedError(
        f'return {value:.4g} after {10 * rung} % of it is below the median')

  return report


def _begin(study: Any, wanted: Wanted, say: Say) -> None:
  """Let the first trial be the settings that the search starts from."""
  start = space_lib.starting_point(wanted.base, wanted.space)
  if start is None:
    say('the settings that were given lie outside the search space, and are '
        'not a trial')
  else:
    study.enqueue_trial(start)


def _take_back(optuna: Any, study: Any) -> None:
  """Queue the trials that a process left unfinished.

  Each goes on in its run directory, under the next number.
  """
  state = optuna.trial.TrialState
  was_killed = set()
  for one in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
    was_killed.add(one.number)
    study.tell(one.number, state=state.FAIL)
  latest: dict[str, Any] = {}
  for one in study.get_trials(deepcopy=False):
    name = one.user_attrs.get('folder')
    # Later attempts have later numbers.
    if name and not (name in latest and _is_over(latest[name])):
      latest[name] = one
  for name, one in latest.items():
    if one.state == state.FAIL and not _is_over(one):
      attempts = one.user_attrs.get('attempts', 1)
      study.enqueue_trial(one.params, user_attrs=dict(
        folder=name, attempts=attempts + (one.number in was_killed),
        reported={str(k): v for k, v in one.intermediate_values.items()}))


def _drop_checkpoints(workdir: pathlib.Path, over: list[Trial]) -> None:
  """Remove the checkpoints of all trials that are over but the best."""
  # Imported late, as all that loads jax is.
  from muzero_jax.runs import checkpoint

  kept = best(over)
  for one in over:
    if kept is None or one.name != kept.name:
      shutil.rmtree(
        workdir / TRIALS / one.name / checkpoint.CHECKPOINTS,
        ignore_errors=True)


def _check_place(workdir: pathlib.Path) -> None:
  """Raise UserError where a directory is none for a study."""
  files.check_path('workdir', workdir)
  if '?' in str(workdir.absolute()):
    raise UserError(
      f'workdir = {str(workdir)!r} has a question mark, which Optuna would '
      'read as the end of the path')
  if (workdir / run_dir.CONFIG_FILE).exists():
    raise UserError(
      f'workdir {workdir} is the directory of a run: a study needs one of its '
      'own; give --workdir=runs/tune after the flagfile')
  for name in (STUDY_FILE, DATABASE, TRIALS):
    if files.is_link(workdir / name):
      raise UserError(
        f'workdir {workdir}: {name} is a symbolic link, which is not written '
        'through; remove it')


def _facts(wanted: Wanted) -> dict[str, Any]:
  """Return what study.json holds."""
  return dict(
    objective=wanted.objective, prune=wanted.prunes, tune_seed=wanted.seed,
    tune=[setting.text for setting in wanted.space],
    base=files.parse_json(config_lib.to_json(wanted.base)))


def _check_same(workdir: pathlib.Path, wanted: Wanted) -> None:
  """Raise UserError where a directory holds another study."""
  path = workdir / STUDY_FILE
  try:
    there = files.read_json(path)
  except FileNotFoundError:
    if (workdir / DATABASE).exists():
      raise UserError(
        f'workdir {workdir} holds {DATABASE} but no {STUDY_FILE}: it may be '
        'another study; choose another --workdir') from None
    return
  except (OSError, ValueError) as error:
    raise UserError(f'{path} cannot be read: {error}') from None
  different = list(_differences(there, _facts(wanted)))
  if different:
    raise UserError(
      f'workdir {workdir} belongs to another study: {", ".join(different)}; '
      'give the same command, or another --workdir')


def _differences(there: Any, here: Mapping[str, Any]) -> Iterator[str]:
  """Yield what two studies differ in."""
  if not isinstance(there, dict) or not isinstance(there.get('base'), dict):
    yield f'its {STUDY_FILE} is damaged'
    return
  for name in ('objective', 'prune', 'tune_seed', 'tune'):
    if there.get(name) != here[name]:
      yield f'{name} is {there.get(name)} there and {here[name]} here'
  for name, value in here['base'].items():
    if there['base'].get(name) != value:
      yield f'{name} is {there["base"].get(name)} there and {value} here'
