"""A run directory runs no code: what its env_id imports needs consent."""

import os
import pathlib
import sys

import pytest
import tiny_run

from muzero_jax import agent
from muzero_jax import config as config_lib
from muzero_jax.commands import main, train
from muzero_jax.config import command_line, imports
from muzero_jax.errors import UserError
from muzero_jax.evaluation import gtp, opponents
from muzero_jax.runs import dataset_export, run_dir

pytest.importorskip('gymnasium')
ENV_ID = 'gift.evil:Foo-v0'
# What runs when the module is imported.
EVIL = '''
import pathlib
pathlib.Path({marker!r}).write_text('ran')
'''


@pytest.fixture(name='gift')
def _gift(tmp_path, monkeypatch):
  """A run directory `gift` below the working directory, and its marker."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(str(tmp_path))
  marker = tmp_path / 'marker'
  config = config_lib.from_preset('gymnasium', env_id=ENV_ID)
  run_dir.store('gift', config)
  pathlib.Path('gift/evil.py').write_text(EVIL.format(marker=str(marker)))
  pathlib.Path('gift/checkpoints/000000000001').mkdir(parents=True)
  yield marker
  for name in ('gift', 'gift.evil'):
    sys.modules.pop(name, None)


def _call(name, *argv):
  with pytest.raises(SystemExit) as exited:
    main.main(['muzero-jax', name, '--workdir=gift', *argv])
  return exited.value.code


def _check_line(text):
  assert text.startswith('error: ') and text.count('\n') == 1
  assert "'gift.evil'" in text and '--allow_import=gift.evil' in text


@pytest.mark.parametrize('name, argv', [
  ('train', []), ('evaluate', []), ('ladder', []), ('diagnose', []),
  ('dataset', ['--output=data']),
  # Another module, a parent of it or a part of its name is no consent.
  ('evaluate', ['--allow_import=gift']),
  ('diagnose', ['--allow_import=gift.evil2,evil']),
  ('train', ['--env_id=other:Foo-v0']),
])
def test_commands_import_nothing_that_was_stored(gift, capsys, name, argv):
  assert _call(name, *argv) == 2
  _check_line(capsys.readouterr().err)
  assert not gift.exists() and 'gift.evil' not in sys.modules


def test_the_script_of_the_family_imports_nothing_either(
    gift, capsys, monkeypatch):
  monkeypatch.setattr('sys.argv', ['gymnasium', '--workdir=gift'])
  with pytest.raises(SystemExit) as exited:
    train.main(families=('gymnasium',), preset='gymnasium')
  assert exited.value.code == 2
  _check_line(capsys.readouterr().err)
  assert not gift.exists()


@pytest.mark.parametrize('read', [
  lambda: agent.load('gift'),
  lambda: agent.load('gift', snapshot=1),
  lambda: agent.load('gift', allow_imports=('gift', 'evil')),
  lambda: agent.load('gift', allow_imports='gift.evil.more'),
  lambda: run_dir.read_config('gift'),
  lambda: dataset_export.export('gift', 'data'),
  lambda: config_lib.from_json(pathlib.Path('gift/config.json').read_text()),
  lambda: opponents.make('run:gift', 'board/tic_tac_toe'),
])
def test_functions_import_nothing_that_was_stored(gift, read):
  with pytest.raises(UserError, match='--allow_import=gift.evil'):
    read()
  assert not gift.exists() and not pathlib.Path('data').exists()


@pytest.mark.parametrize('argv', [
  ['--allow_import=gift.evil'],
  ['--allow_import=other,gift.evil'],
  ['--allow_import=gift.evil', '--allow_import=other'],
])
@pytest.mark.parametrize('name', ['evaluate', 'train'])
def test_a_user_may_allow_it(gift, capsys, name, argv):
  # It registers nothing, so that nothing more happens.
  assert _call(name, *argv) == 2
  assert "no gymnasium environment 'gift.evil:Foo-v0'" in (
    capsys.readouterr().err)
  assert gift.exists()


def test_what_is_typed_is_allowed(gift, capsys):
  argv = ['--preset=gymnasium', f'--env_id={ENV_ID}']
  assert _call('train', *argv) == 2
  assert 'no gymnasium environment' in capsys.readouterr().err
  assert gift.exists()


def test_what_a_typed_flagfile_says_is_typed(gift, capsys):
  # Wherever it lies.
  pathlib.Path('gift/x.flags').write_text(f'--env_id={ENV_ID}\n')
  assert _call('train', '--flagfile=gift/x.flags') == 2
  assert 'no gymnasium environment' in capsys.readouterr().err
  assert gift.exists()


def test_python_may_allow_it(gift):
  for allowed in (('gift.evil',), 'gift.evil', ['other', 'gift.evil']):
    assert run_dir.read_config('gift', allow_imports=allowed).env_id == ENV_ID
  config = run_dir.read_config('gift', allow_imports='gift.evil')
  run_dir.check_same_run('gift', config)
  with pytest.raises(UserError, match='no gymnasium environment'):
    agent.load('gift', allow_imports=('gift.evil',))
  assert gift.exists()


@pytest.mark.parametrize('name', ['', 'a b', '../x', 'a.', 'x;y', 'a,,b'])
def test_names_of_modules(name):
  with pytest.raises(UserError, match='allow_import'):
    imports.check_names(name)


@pytest.mark.parametrize('env_id', [
  ':Foo-v0', '..x:Foo-v0', 'a:b:Foo-v0', 'a b:Foo-v0', '.:Foo-v0'])
def test_typed_modules_that_are_none(env_id):
  from muzero_jax import envs
  with pytest.raises(UserError, match='is no name of a module'):
    envs.check_env_id('gymnasium', env_id)


@pytest.mark.parametrize('text', [
  'raise KeyError(1)', 'import sys; sys.exit(0)', 'not python', 'import nil_'])
def test_a_typed_module_that_fails_is_one_line(
    tmp_path, monkeypatch, capsys, text):
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(str(tmp_path))
  (tmp_path / 'failing_module.py').write_text(text)
  argv = ['--preset=gymnasium', '--env_id=failing_module:Foo-v0']
  assert _call('train', *argv) == 1
  shown = capsys.readouterr().err
  assert shown.count('\n') == 1 and "'failing_module' cannot be" in shown
  sys.modules.pop('failing_module', None)


def test_engines_are_not_looked_for_in_the_working_directory(
    tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  program = tmp_path / 'gnugo_of_a_stranger'
  program.write_text('#!/bin/sh\n')
  program.chmod(0o755)
  for path in ('', os.pathsep, f'/nowhere{os.pathsep}'):
    monkeypatch.setenv('PATH', path)
    with pytest.raises(gtp.NotInstalledError):
      gtp.find(program.name)
  monkeypatch.setenv('PATH', str(tmp_path))
  assert gtp.find(program.name) == str(program)


def test_deep_configurations_are_refused(tmp_path):
  (tmp_path / 'config.json').write_text('[' * 200_000)
  with pytest.raises(UserError, match='nested'):
    run_dir.read_config(tmp_path)


@pytest.mark.slow
def test_a_process_of_its_own_imports_nothing(gift):
  done = tiny_run.call(
    [sys.executable, '-m', 'muzero_jax.commands.main', 'evaluate',
     '--workdir=gift'])
  assert done.returncode == 2 and tiny_run.is_plain_line(done.stderr)
  assert not gift.exists()


def test_a_configuration_of_another_family_imports_nothing():
  config = config_lib.Config(env_id='gift.evil:Foo-v0')
  assert config_lib.from_json(config_lib.to_json(config)) == config
  assert command_line.Arguments('x', {}, config).allow_imports == ()
