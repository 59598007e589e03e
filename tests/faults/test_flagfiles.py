"""Flagfiles that are no text: one line, at once."""

import os
import socket
import sys

import pytest
import tiny_run

from muzero_jax.config import flagfiles
from muzero_jax.errors import UserError


def _expand(path):
  return flagfiles.expand([f'--flagfile={path}', '--seed=3'])


def test_lines_come_in_their_place(tmp_path):
  (tmp_path / 'a').write_bytes(
    b'\xef\xbb\xbf--num_envs=8\r\n\r\n# --seed=1\n//x\n  --seed=2  \n'
    b'--flagfile=' + str(tmp_path / 'b').encode())
  (tmp_path / 'b').write_text('--discount=1')
  assert _expand(tmp_path / 'a') == [
    '--num_envs=8', '--seed=2', '--discount=1', '--seed=3']
  # The same file twice is no recursion.
  (tmp_path / 'c').write_text(f'--flagfile={tmp_path}/b\n' * 2)
  assert _expand(tmp_path / 'c') == ['--discount=1'] * 2 + ['--seed=3']


def test_only_flags_are_directives():
  argv = ['--workdir', 'x', '--preset=--flagfile=x', 'y', '--',
          '--flagfile=none']
  assert flagfiles.expand(argv) == argv


@pytest.mark.parametrize('argv', [
  ['--flagfile='], ['-flagfile='], ['--flagfile'], ['--flagfile= ']])
def test_no_name(argv):
  with pytest.raises(UserError, match='names no file'):
    flagfiles.expand(argv)


def _fifo(path):
  os.mkfifo(path)


def _socket(path):
  # Its address has to be short.
  os.chdir(path.parent)
  socket.socket(socket.AF_UNIX).bind(path.name)


def _laughs(path):
  """Ten files of which each includes the next twice."""
  for i in range(10):
    there = path.with_name(f'laugh{i + 1}')
    here = path if not i else path.with_name(f'laugh{i}')
    here.write_text(f'--flagfile={there}\n' * 2)
  there.write_text('--seed=1\n')


def _loop(path):
  other = path.with_name('other')
  path.write_text(f'--flagfile={other}\n')
  # By another name.
  other.write_text(f'--flagfile={path.parent}/./{path.name}\n')


FILES = {
  'fifo': (_fifo, 'no plain file'),
  'socket': (_socket, 'No such device'),
  'directory': (lambda path: path.mkdir(), 'no plain file'),
  'device': (lambda path: path.symlink_to('/dev/zero'), 'no plain file'),
  'dangling link': (lambda path: path.symlink_to('none'), 'No such file'),
  'link to itself': (lambda path: path.symlink_to(path), 'symbolic links'),
  'includes itself': (
    lambda path: path.write_text(f'--flagfile={path}\n'), 'includes itself'),
  'includes each other': (_loop, 'includes itself'),
  'laughs': (_laughs, 'too much'),
  'huge': (lambda path: path.write_bytes(b'#' * (1 << 21)), 'too much'),
  'sparse': (lambda path: os.truncate(_made(path), 1 << 40), 'too much'),
  'latin-1': (lambda path: path.write_bytes(b'--seed=\xe9'), 'not UTF-8'),
  'NUL': (lambda path: path.write_bytes(b'--seed=1\0'), 'NUL character'),
}


def _made(path):
  path.touch()
  return path


@pytest.mark.parametrize('name', FILES)
def test_what_is_no_text_is_refused(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  make, words = FILES[name]
  path = tmp_path / 'x'
  make(path)
  with pytest.raises(UserError, match=words) as refusal:
    _expand(path)
  assert 'flagfile' in str(refusal.value) and '\n' not in str(refusal.value)


@pytest.mark.slow
def test_a_fifo_is_one_line_of_a_command(tmp_path):
  os.mkfifo(tmp_path / 'x')
  done = tiny_run.call(
    [sys.executable, '-m', 'experiments.classic',
     f'--flagfile={tmp_path}/x', f'--workdir={tmp_path}/run'], timeout=60)
  assert done.returncode == 2 and tiny_run.is_plain_line(done.stderr)
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('line', ['--flagfile', '  --flagfile  ', '-flagfile'])
def test_a_flagfile_names_another_in_one_line(tmp_path, line):
  (tmp_path / 'a').write_text(f'{line}\n{tmp_path}/b\n')
  with pytest.raises(UserError, match='in one line'):
    _expand(tmp_path / 'a')


def test_an_indented_flagfile_is_read_as_the_others(tmp_path):
  os.mkfifo(tmp_path / 'fifo')
  (tmp_path / 'a').write_text(f'  --flagfile={tmp_path}/fifo\n')
  with pytest.raises(UserError, match='no plain file'):
    _expand(tmp_path / 'a')
