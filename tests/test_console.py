"""Lines to streams that are whole, narrow, full or gone."""

import errno
import io
import os
import signal
import subprocess
import sys

import pytest

from muzero_jax import console
from muzero_jax.errors import RunError


class _Refuses(io.StringIO):
  """A stream that cannot be written."""

  def __init__(self, error):
    super().__init__()
    self._error = error

  def write(self, text):
    raise self._error


def test_a_line_arrives(capsys):
  assert console.say('one') and console.say('two ', end='')
  console.answer('three')
  assert capsys.readouterr().out == 'one\ntwo three\n'


def test_characters_without_a_code_become_escapes():
  raw = io.BytesIO()
  stream = io.TextIOWrapper(raw, encoding='ascii')
  assert console.say('空 \udcff é', stream)
  assert raw.getvalue() == b'\\u7a7a \\udcff \\xe9\n'


@pytest.mark.parametrize('error', [
  BrokenPipeError(errno.EPIPE, 'Broken pipe'), OSError(errno.EIO, 'EIO'),
  OSError(errno.ENOSPC, 'No space left'), ValueError('closed file')])
def test_nobody_there_hinders_nothing(error):
  assert not console.say('one', _Refuses(error))


def test_what_was_asked_for_arrives_or_the_command_fails(monkeypatch):
  monkeypatch.setattr(
    sys, 'stdout', _Refuses(OSError(errno.ENOSPC, 'No space left')))
  with pytest.raises(RunError, match='output cannot be written: No space'):
    console.answer('x')
  monkeypatch.setattr(sys, 'stdout', _Refuses(BrokenPipeError()))
  with pytest.raises(SystemExit) as exited:
    console.answer('x')
  assert exited.value.code == 128 + signal.SIGPIPE


@pytest.mark.parametrize('arguments, status', [
  (['--help'], 141), (['train', '--help'], 141), (['--version'], 141),
  (['fly'], 2)])
def test_commands_without_a_reader_end_without_a_traceback(arguments, status):
  reading, writing = os.pipe()
  os.close(reading)
  done = subprocess.run(
    [sys.executable, '-m', 'muzero_jax.commands.main', *arguments],
    stdout=writing, stderr=subprocess.PIPE, text=True)
  os.close(writing)
  assert done.returncode == status
  assert ('error: ' in done.stderr) == (status == 2)
  assert 'Traceback' not in done.stderr and 'ignored' not in done.stderr


@pytest.mark.skipif(
  not os.path.exists('/dev/full'), reason='a device of Linux')
def test_a_full_standard_output_is_one_line():
  with open('/dev/full', 'w') as full:
    done = subprocess.run(
      [sys.executable, '-m', 'muzero_jax.commands.main', 'train', '--help'],
      stdout=full, stderr=subprocess.PIPE, text=True)
  assert done.returncode == 1
  assert done.stderr == (
    'error: standard output cannot be written: No space left on device\n')


def test_a_stream_that_was_closed_before_the_start(monkeypatch):
  monkeypatch.setattr(sys, 'stdout', None)
  assert not console.say('x')
