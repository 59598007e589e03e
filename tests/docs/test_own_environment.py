"""docs/own_environment.md: each of its files and commands, in small."""

import dataclasses
import json
import pathlib
import re
import runpy
import shlex
import sys

import pytest

from muzero_jax import train

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / 'docs/own_environment.md').read_text(encoding='utf-8')
_SMALL = dict(
  num_steps=200, num_envs=8, rollout_length=8, min_replay=64,
  replay_capacity=1024, batch_size=8, updates_per_iteration=1,
  num_simulations=2, num_channels=16, eval_episodes=4, eval_envs=4,
  eval_simulations=2, num_devices=1)


def _blocks(language):
  return re.findall(
    rf'^```{language}\n(.*?)^```$', _TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(name='files', scope='module')
def _files(tmp_path_factory):
  folder = tmp_path_factory.mktemp('own')
  for block in _blocks('python'):
    name = block.splitlines()[0].removeprefix('# ')
    assert name.endswith('.py')
    (folder / name).write_text(block, encoding='utf-8')
  return folder


def _run(command, folder, monkeypatch):
  """Runs a command line in this process, with sizes for a test."""
  monkeypatch.chdir(folder)
  monkeypatch.syspath_prepend(folder)
  program, *argv = shlex.split(command)
  assert program == 'python'
  run = train.run
  monkeypatch.setattr(
    train, 'run', lambda config, *args, **kwargs: run(
      dataclasses.replace(config, **_SMALL), *args, **kwargs))
  if argv[0] != '-m':
    runpy.run_path(argv[0], run_name='__main__')
    return
  monkeypatch.setattr(sys, 'argv', argv[1:])
  with pytest.raises(SystemExit) as ended:
    runpy.run_module(argv[1], run_name='__main__')
  assert ended.value.code == 0


@pytest.mark.slow
@pytest.mark.parametrize('command, workdir, network', [
  (_blocks('sh')[1], 'runs/key', 'mlp'),
  pytest.param(
    _blocks('sh')[2], 'runs/chase', 'mlp', marks=pytest.mark.thorough),
  pytest.param(
    _blocks('sh')[3], 'runs/nim', 'mlp', marks=pytest.mark.thorough),
])
def test_the_commands_train(files, monkeypatch, command, workdir, network):
  _run(command, files, monkeypatch)
  found = json.loads((files / workdir / 'evaluation.json').read_text())
  assert 'better_than_random' in found
  stored = json.loads((files / workdir / 'config.json').read_text())
  assert stored['network'] == network
  if workdir == 'runs/key':
    runpy.run_path('play.py')
  if workdir == 'runs/nim':
    monkeypatch.setattr('builtins.input', lambda text: '1')
    runpy.run_path('play_nim.py')


def test_each_command_is_one_of_those():
  assert len(_blocks('sh')) == 4 and len(_blocks('python')) == 5


def test_the_flags_of_the_table_are_there():
  from muzero_jax import config

  for flag in re.findall(r'--([a-z_]+)', _TEXT):
    assert flag in (
      *config.FIELDS, 'allow_import', 'workdir', 'num_episodes'), flag
