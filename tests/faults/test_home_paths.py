"""`~` is a home directory in every path that a user gives."""

import pathlib
import pwd

import pytest
import tiny_run
from absl import flags as absl_flags

from muzero_jax import agent, paths
from muzero_jax import config as config_lib
from muzero_jax.commands import main
from muzero_jax.config import command_line
from muzero_jax.errors import UserError
from muzero_jax.replay import dataset
from muzero_jax.runs import run_dir


@pytest.fixture(name='home', autouse=True)
def _home(tmp_path, monkeypatch):
  """A home directory, beside the working directory."""
  home = tmp_path / 'home'
  home.mkdir()
  (tmp_path / 'here').mkdir()
  monkeypatch.chdir(tmp_path / 'here')
  monkeypatch.setenv('HOME', str(home))
  yield home
  assert not [*(tmp_path / 'here').iterdir()]  # No directory called ~.


def _parse(*argv):
  values = absl_flags.FlagValues()
  command_line.define(flag_values=values)
  return command_line.parse(['program', *argv], flag_values=values)


def test_expansion(home):
  user = pwd.getpwall()[0]
  for path, expected in [
    ('~/runs/x', f'{home}/runs/x'), ('~', str(home)), ('~/', f'{home}/'),
    (f'~{user.pw_name}/x', f'{user.pw_dir.rstrip("/")}/x'),
    ('runs/~x', 'runs/~x'), ('./~x', './~x'), ('x~', 'x~'), ('', ''),
    (pathlib.Path('~/x'), f'{home}/x'), (b'~/x', f'{home}/x'),
  ]:
    assert paths.expand(path, 'workdir') == expected


@pytest.mark.parametrize('path', ['~nobody_here/x', '~ /x', 'a\0b'])
def test_what_cannot_be_expanded_is_refused(path):
  with pytest.raises(UserError, match='workdir = '):
    paths.expand(path, 'workdir')
  with pytest.raises(UserError, match='workdir = '):
    run_dir.store(path, config_lib.Config())
  with pytest.raises(UserError, match='dataset = '):
    dataset.read_facts(path)


@pytest.mark.parametrize('home', ['', 'relative'], indirect=False)
def test_a_home_that_is_none(monkeypatch, home):
  monkeypatch.setenv('HOME', home)
  with pytest.raises(UserError, match='~ is no home directory'):
    paths.expand('~/x', 'workdir')


def test_flags(home):
  (home / 'x.flags').write_text(
    '--seed=5\n--workdir=~/runs/y\n--dataset=~/data\n')
  arguments = _parse('--flagfile=~/x.flags')
  assert arguments.workdir == f'{home}/runs/y'
  assert arguments.given == dict(seed=5, dataset=f'{home}/data')
  assert _parse('--workdir=~/runs/x').workdir == f'{home}/runs/x'
  assert _parse('--flagfile', '~/x.flags').given['seed'] == 5


@pytest.mark.parametrize('argv', [
  ['--workdir=~nobody_here/x'], ['--workdir=x', '--dataset=~nobody_here/x'],
  ['--workdir=x', '--flagfile=~nobody_here/x']])
def test_flags_that_cannot_be_expanded(argv):
  with pytest.raises(UserError, match='~nobody_here is no home directory'):
    _parse(*argv)


def test_a_run_directory_below_home(home):
  config = tiny_run.config()
  run_dir.store('~/run', config)
  assert (home / 'run/config.json').exists()
  assert run_dir.read_config('~/run') == config
  assert run_dir.resolve('~/run', {}, config) == config
  run_dir.check_same_run('~/run', config)
  with pytest.raises(UserError, match='no checkpoint yet'):
    agent.load('~/run')


def test_datasets_below_home(home):
  with pytest.raises(UserError, match=f'{home}/data is no dataset'):
    dataset.load('~/data')
  (home / 'data').mkdir()
  with pytest.raises(UserError, match='there already'):
    dataset.refuse_existing('~/data')


@pytest.mark.parametrize('argv', [
  ['dataset', '--workdir=~/run', '--output=~nobody_here/x'],
  ['evaluate', '--workdir=~nobody_here/run'],
  ['ladder', '--workdir=~/none'],
])
def test_commands(home, capsys, argv):
  run_dir.store('~/run', tiny_run.config())
  with pytest.raises(SystemExit) as exited:
    main.main(['muzero-jax', *argv])
  assert exited.value.code == 2
  assert capsys.readouterr().err.startswith('error: ')
