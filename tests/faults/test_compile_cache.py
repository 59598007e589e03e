"""Where commands keep compiled functions, and what they do without jit."""

import os
import re
import stat
import sys

import jax
import pytest
import tiny_run

from muzero_jax.commands import start
from muzero_jax.errors import UserError


@pytest.fixture(name='cache', autouse=True)
def _cache(tmp_path, monkeypatch):
  """The directory that a user without settings of any kind gets."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  return tmp_path / 'home/.cache/muzero_jax'


@pytest.fixture(name='settings')
def _settings():
  """jax's settings, put back at the end."""
  names = ['jax_compilation_cache_dir', *start._LEAST]
  before = {name: getattr(jax.config, name) for name in names}
  jax.config.update('jax_compilation_cache_dir', None)
  yield jax.config
  for name, value in before.items():
    jax.config.update(name, value)


def _mode(path):
  return stat.S_IMODE(path.stat().st_mode)


def _check_note(capsys, words):
  shown = capsys.readouterr().err
  assert shown.startswith('note: ') and shown.count('\n') == 1
  assert re.search(words, shown)


def test_the_directory_is_the_users_alone(cache, capsys):
  old = os.umask(0)
  try:
    assert start.cache_folder() == cache
  finally:
    os.umask(old)
  assert _mode(cache) == 0o700 == _mode(cache.parent)
  # Older versions made it readable for everyone.
  cache.chmod(0o755)
  assert start.cache_folder() == cache and _mode(cache) == 0o700
  assert capsys.readouterr().err == ''


@pytest.mark.parametrize('given', ['relative', './x', '', 'a/b'])
def test_a_relative_xdg_path_counts_for_nothing(
    cache, tmp_path, monkeypatch, given):
  monkeypatch.setenv('XDG_CACHE_HOME', given)
  assert start.cache_folder() == cache
  assert [path.name for path in tmp_path.iterdir()] == ['home']


def test_an_absolute_xdg_path(tmp_path, monkeypatch, cache):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'x'))
  assert start.cache_folder() == tmp_path / 'x/muzero_jax'
  monkeypatch.setenv('XDG_CACHE_HOME', '~/y')
  assert start.cache_folder() == tmp_path / 'home/y/muzero_jax'
  assert not cache.exists()


@pytest.mark.parametrize('who', ['group', 'others', 'the parent', 'a link'])
def test_a_directory_that_others_can_write_to(cache, capsys, tmp_path, who):
  cache.mkdir(parents=True)
  path = cache.parent if who == 'the parent' else cache
  if who == 'a link':
    cache.rmdir()
    path = tmp_path / 'shared'
    path.mkdir()
    cache.symlink_to(path)
  path.chmod(0o775 if who == 'group' else 0o777)
  assert start.cache_folder() is None
  _check_note(capsys, 'others can write to')


def test_a_sticky_parent_is_right(tmp_path, monkeypatch):
  shared = tmp_path / 'tmp'
  shared.mkdir()
  shared.chmod(0o1777)
  monkeypatch.setenv('XDG_CACHE_HOME', str(shared))
  assert start.cache_folder() == shared / 'muzero_jax'


def test_a_directory_of_somebody_else(cache, capsys, monkeypatch):
  cache.mkdir(parents=True, mode=0o700)
  monkeypatch.setattr(os, 'geteuid', lambda: cache.stat().st_uid + 1)
  assert start.cache_folder() is None
  _check_note(capsys, 'belongs to another user')


@pytest.mark.parametrize(
  'where', ['home', 'home/.cache', 'home/.cache/muzero_jax'])
def test_what_cannot_be_made_is_a_note(tmp_path, capsys, where):
  path = tmp_path / where
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text('a file')
  assert start.cache_folder() is None
  _check_note(capsys, 'not a directory|File exists|Not a directory')


def test_no_home_is_a_note(monkeypatch, capsys):
  monkeypatch.setenv('HOME', '')
  assert start.cache_folder() is None
  _check_note(capsys, 'no home directory')


def test_jax_is_told_although_it_was_imported_before(
    cache, settings, monkeypatch):
  monkeypatch.delenv(
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', raising=False)
  start.prepare()
  assert settings.jax_compilation_cache_dir == str(cache)
  assert settings.jax_persistent_cache_min_compile_time_secs == 0


def test_what_a_user_has_set_holds(cache, settings, monkeypatch):
  jax.config.update('jax_compilation_cache_dir', '/somewhere')
  start.prepare()
  assert settings.jax_compilation_cache_dir == '/somewhere'
  jax.config.update('jax_compilation_cache_dir', '~/mine')
  start.prepare()
  assert settings.jax_compilation_cache_dir == os.path.expanduser('~/mine')
  # Set to nothing, it is switched off.
  jax.config.update('jax_compilation_cache_dir', None)
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '')
  start.prepare()
  assert settings.jax_compilation_cache_dir is None
  assert not cache.exists()


def test_without_jit_commands_say_so(settings):
  del settings
  with jax.disable_jit():
    with pytest.raises(UserError, match='JAX_DISABLE_JIT'):
      start.prepare()


@pytest.mark.slow
def test_without_jit_a_script_is_one_line(tmp_path):
  done = tiny_run.call(
    tiny_run.command(tmp_path / 'run'),
    env=tiny_run.environ(JAX_DISABLE_JIT='1'))
  assert done.returncode == 2 and tiny_run.is_plain_line(done.stderr)
  assert 'JAX_DISABLE_JIT' in done.stderr and not (tmp_path / 'run').exists()


# How many functions jax finds in its cache, and how many it does not.
COUNT = '''
import sys
import jax
from jax._src import monitoring
counts = {'hits': 0, 'misses': 0}
def listen(event, **kwargs):
  for name in counts:
    counts[name] += event == f'/jax/compilation_cache/cache_{name}'
monitoring.register_event_listener(listen)
from muzero_jax.commands import start
start.prepare()
f = jax.jit(lambda x: (x @ x + 3).sum())
f(jax.numpy.ones((7, 7)))
print(counts['hits'], counts['misses'])
'''


@pytest.mark.slow
def test_the_second_start_finds_what_the_first_compiled(cache):
  variables = tiny_run.environ()
  for name in [*variables]:
    if name.startswith('JAX_PERSISTENT') or 'CACHE_DIR' in name:
      del variables[name]
  found = []
  for _ in range(2):
    done = tiny_run.call([sys.executable, '-c', COUNT], env=variables)
    assert done.returncode == 0, done.stderr
    found.append([int(x) for x in done.stdout.split()])
  (_, first_misses), (second_hits, second_misses) = found
  assert first_misses > 0 and second_misses == 0
  assert second_hits >= first_misses
  assert [*cache.iterdir()]
