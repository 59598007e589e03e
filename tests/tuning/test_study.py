"""A study's trials: recorded, pruned, resumed, whatever happens in them."""

import json
import subprocess
import sys

import pytest

from muzero_jax import config as config_lib
from muzero_jax.config import command_line
from muzero_jax.errors import (
  MissingPackageError,
  NotFiniteError,
  RunError,
  StoppedError,
  UserError,
)
from muzero_jax.tuning import results, space, study

pytest.importorskip('optuna')

_BASE = config_lib.from_preset('cartpole')
_TEXTS = ['learning_rate=1e-4:1e-2:log', 'td_steps=5,50']


def _wanted(texts=_TEXTS, **changes):
  return study.Wanted(_BASE, space.parse(texts, _BASE), **changes)


def _value(config, folder, report):
  """Best at a learning rate of 1e-2."""
  return 100 * config.learning_rate


def _run(workdir, objective=_value, *, num_trials=4, wanted=None, **kwargs):
  return study.run(
    workdir, wanted or _wanted(), num_trials=num_trials, objective=objective,
    say=lambda line: None, **kwargs)


def test_the_first_trial_is_what_was_given_and_the_best_wins(tmp_path):
  over = _run(tmp_path)
  assert [one.name for one in over] == ['0000', '0001', '0002', '0003']
  assert over[0].config == _BASE
  assert over[0].drawn == dict(learning_rate=0.001, td_steps=50)
  values = [one.value for one in over]
  assert values == [100 * one.config.learning_rate for one in over]
  assert study.best(over).value == max(values)
  assert len(set(values)) == 4


def test_the_same_command_goes_on(tmp_path):
  first = _run(tmp_path, num_trials=2)
  made = []

  def objective(config, folder, report):
    made.append(folder.name)
    return 0.0

  over = _run(tmp_path, objective, num_trials=4)
  assert over[:2] == first and made == ['0002', '0003']
  assert _run(tmp_path, objective, num_trials=3) == over
  assert made == ['0002', '0003']


def test_failures_are_recorded_and_cost_one_trial(tmp_path):
  errors = [NotFiniteError('loss is nan'), None, ZeroDivisionError('x'),
            UserError('td_steps = 5 does\nnot fit')]

  def objective(config, folder, report):
    if (error := errors[int(folder.name)]) is not None:
      raise error
    return 1.0

  over = _run(tmp_path, objective)
  assert [one.state for one in over] == [
    'failed', 'complete', 'failed', 'failed']
  assert [one.error for one in over] == [
    'loss is nan', '', 'ZeroDivisionError: x', 'td_steps = 5 does not fit']
  assert study.best(over).name == '0001'
  with pytest.raises(RunError, match='its value is nan'):
    _run(tmp_path, lambda *_: float('nan'), num_trials=20)


def test_trials_that_all_fail_end_the_study(tmp_path):
  def objective(*_):
    raise RunError('no disk')

  with pytest.raises(RunError, match='5 trials failed .* no disk'):
    _run(tmp_path, objective, num_trials=50)
  assert len(_run(tmp_path, num_trials=6)) == 6


def test_a_trial_below_the_median_is_pruned(tmp_path):
  def objective(config, folder, report):
    number = int(folder.name)
    for rung in range(3, 6):
      report(rung, rung * (1.0 if number == 5 else 10.0 + number))
    return float(number)

  over = _run(tmp_path / 'a', objective, num_trials=6)
  assert [one.state for one in over] == ['complete'] * 5 + ['pruned']
  assert over[5].value is None
  over = _run(tmp_path / 'b', objective, num_trials=6, prunes=False)
  assert over[5].state == 'complete'


class _Interrupts:
  """Is stopped in the trial of a number, at its third rung, once."""

  def __init__(self, name, error):
    self.name, self.error, self.seen = name, error, []

  def __call__(self, config, folder, report):
    self.seen.append((folder.name, config))
    for rung in range(1, 5):
      report(rung, float(rung))
      if folder.name == self.name and rung == 3 and self.error:
        error, self.error = self.error, None
        raise error
    return 1.0


@pytest.mark.parametrize('error', [
  StoppedError('SIGTERM'),
  # As a process that is killed: nothing more is recorded.
  SystemExit(9),
])
def test_an_interrupted_trial_goes_on_in_its_directory(tmp_path, error):
  objective = _Interrupts('0001', error)
  with pytest.raises(type(error)):
    _run(tmp_path, objective)
  over = _run(tmp_path, objective)
  assert [one.name for one in over] == ['0000', '0001', '0002', '0003'] or (
    sorted(one.name for one in over)[:2] == ['0000', '0001'])
  assert len({one.name for one in over}) == len(over) == 4
  configs = [config for name, config in objective.seen if name == '0001']
  assert len(configs) == 2 and configs[0] == configs[1]
  assert all(one.state == 'complete' for one in over)


@pytest.mark.thorough
def test_a_trial_that_kills_the_process_again_and_again_is_given_up(tmp_path):
  def objective(config, folder, report):
    if folder.name == '0001':
      raise SystemExit(9)
    return 1.0

  for _ in range(3):
    with pytest.raises(SystemExit):
      _run(tmp_path, objective)
  over = _run(tmp_path, objective)
  failed = [one for one in over if one.state == 'failed']
  assert [one.name for one in failed] == ['0001']
  assert '3 times' in failed[0].error


def test_another_study_is_refused_and_nothing_written(tmp_path):
  _run(tmp_path, num_trials=1)
  before = (tmp_path / 'study.json').read_bytes()
  for wanted, words in (
    (_wanted(['td_steps=5,50']), 'tune is'), (_wanted(seed=3), 'tune_seed'),
    (study.Wanted(config_lib.from_preset('cartpole', num_steps=9),
                  _wanted().space), 'num_steps is 145000 there and 9 here'),
  ):
    with pytest.raises(UserError, match=words):
      _run(tmp_path, wanted=wanted)
  assert (tmp_path / 'study.json').read_bytes() == before


def test_other_directories_are_refused(tmp_path):
  for name, words in (('config.json', 'a run'), ('study.db', 'study.json')):
    folder = tmp_path / name.replace('.', '_')
    folder.mkdir()
    (folder / name).write_text('{}')
    with pytest.raises(UserError, match=words):
      _run(folder)
  with pytest.raises(UserError, match='question mark'):
    _run(tmp_path / 'a?b')


def test_damaged_files_are_one_line(tmp_path):
  for text in ('', '{', '[]', '{"base": 1}'):
    (tmp_path / 'study.json').write_text(text)
    with pytest.raises(UserError, match=r'study\.json'):
      _run(tmp_path)


def test_a_damaged_storage_is_one_line(tmp_path):
  _run(tmp_path, num_trials=1)
  (tmp_path / 'study.db').write_bytes(b'no database' * 100)
  with pytest.raises(RunError, match=r'study\.db') as error:
    _run(tmp_path)
  assert '\n' not in str(error.value)


def test_only_the_best_keeps_its_checkpoints(tmp_path):
  def objective(config, folder, report):
    (folder / 'checkpoints').mkdir(parents=True)
    (folder / 'metrics.jsonl').write_text('')
    return {'0000': 1.0, '0001': 3.0, '0002': 2.0}[folder.name]

  _run(tmp_path, objective, num_trials=3)
  kept = [path.parent.name for path in tmp_path.glob('trials/*/checkpoints')]
  assert kept == ['0001']
  assert len(list(tmp_path.glob('trials/*/metrics.jsonl'))) == 3


def test_the_best_flagfile_makes_the_best_settings_again(tmp_path):
  wanted = _wanted()
  over = _run(tmp_path, after_trial=lambda over: results.write(
    tmp_path, wanted, over))
  found = study.best(over)
  values = command_line.flags.FlagValues()
  command_line.define(flag_values=values)
  arguments = command_line.parse(
    ['x', f'--flagfile={tmp_path}/best.flags', '--workdir=y'],
    flag_values=values)
  assert command_line.config_of(arguments) == found.config
  told = json.loads((tmp_path / 'tune.json').read_text())
  assert told['best'] == found.name and len(told['trials']) == 4
  assert told['trials'][0]['settings'] == dict(
    learning_rate=0.001, td_steps=50)
  text = '\n'.join(results.describe(tmp_path, wanted, over))
  assert (tmp_path / 'best.flags').read_text() in text
  assert '4 trials: 4 complete, 0 pruned, 0 failed' in text


def test_without_optuna_one_line_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setattr(
    study.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(MissingPackageError, match=r'muzero_jax\[tune\]'):
    study.check(tmp_path / 'new', _wanted())


def test_a_mistake_is_told_before_jax_is_loaded(tmp_path):
  code = (
    'import sys\nfrom muzero_jax.commands import main\ntry:\n  main.main()\n'
    'except SystemExit as e:\n'
    '  sys.exit(99 if "jax" in sys.modules else e.code)')
  done = subprocess.run(
    [sys.executable, '-c', code, 'tune', '--preset=cartpole',
     f'--workdir={tmp_path}/x', '--tune=td_stepz=1:5'],
    text=True, capture_output=True)
  assert done.returncode == 2
  assert done.stderr.startswith('error: --tune=td_stepz') and (
    done.stderr.count('\n') == 1)
  assert not (tmp_path / 'x').exists()
