"""Trials as whole runs: what they report, and the command around them."""

import json
import math

import pytest
import tiny_run

from muzero_jax.runs import plots
from muzero_jax.tuning import trial


def test_the_return_of_each_tenth_is_told_once():
  told = []
  rungs = trial.Rungs(100, lambda *what: told.append(what))
  rungs(5, 2, 10.0)
  assert math.isnan(rungs.last)
  rungs(12, 1, 20.0)
  rungs(15, 1, 7.0)
  rungs(48, 0, 0.0)
  rungs(52, 0, 0.0)  # No episode has ended: the one before counts.
  rungs(104, 4, 8.0)
  rungs(130, 1, 99.0)
  assert told == [(1, 10.0), (4, 7.0), (5, 7.0), (10, 2.0)]
  assert rungs.last == 2.0


@pytest.mark.thorough
def test_the_command_makes_a_trial_of_a_whole_run(
    tmp_path, capsys, monkeypatch):
  """What was given is the first trial: the tiny run that all tests share."""
  pytest.importorskip('optuna')
  # The picture would take longer than the training.
  monkeypatch.setattr(plots, 'plot_curves', lambda workdir: None)
  fields = {**tiny_run.FIELDS, 'eval_episodes': 0,
            'checkpoint_period': 3600.0}
  flags = [f'--{name}={value}' for name, value in fields.items()]
  done = tiny_run.answer(
    capsys, 'tune', f'--workdir={tmp_path}', '--preset=cartpole', *flags,
    '--tune=ema_decay=0.5,0.9994', '--trials=1')
  assert done.returncode == 0, done.stderr
  assert '--ema_decay=' in done.stdout and (tmp_path / 'best.flags').exists()
  found = json.loads((tmp_path / 'tune.json').read_text())
  assert found['objective'] == 'return'
  assert found['trials'][0]['state'] == 'complete'
  folder = tmp_path / 'trials/0000'
  assert tiny_run.rows(folder)[-1]['step'] >= 9600
  assert 'training step' in (folder / 'train.log').read_text()
  assert not (folder / 'tensorboard').exists()
