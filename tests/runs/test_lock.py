"""The lock of a run directory: one holder, and every refusal says why."""

import errno
import fcntl
import subprocess
import sys

import pytest

from muzero_jax.errors import RunError, UserError
from muzero_jax.runs import lock


def test_a_lock_makes_its_directory_and_is_free_again_afterwards(tmp_path):
  workdir = tmp_path / 'runs' / 'new'
  for _ in range(2):
    with lock.hold(workdir):
      assert (workdir / lock.LOCK_FILE).exists()
      with pytest.raises(UserError, match='new is in use'), \
          lock.hold(workdir):
        pytest.fail('two hold it')


def test_a_process_that_dies_leaves_it_free(tmp_path):
  code = (
    'import os, sys; from muzero_jax.runs import lock\n'
    'with lock.hold(sys.argv[1]): os._exit(9)')
  ended = subprocess.run([sys.executable, '-c', code, tmp_path], check=False)
  assert ended.returncode == 9 and (tmp_path / lock.LOCK_FILE).exists()
  with lock.hold(tmp_path):
    pass


def test_a_file_system_without_locks_is_told_apart(tmp_path, monkeypatch):
  def flock(file, operation):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(fcntl, 'flock', flock)
  with pytest.raises(UserError, match='cannot be locked: No locks.*local'), \
      lock.hold(tmp_path):
    pytest.fail('held without a lock')


def test_a_file_in_the_way_is_told(tmp_path):
  (tmp_path / 'run').write_text('mine')
  with pytest.raises(UserError, match='run cannot be written: .*'), \
      lock.hold(tmp_path / 'run'):
    pytest.fail('held inside a file')
  assert (tmp_path / 'run').read_text() == 'mine'


@pytest.mark.parametrize('begin_anew', [False, True])
def test_a_directory_that_was_moved_is_no_longer_written(
    tmp_path, begin_anew):
  """The lock went along, and another run may train under the old name."""
  workdir = tmp_path / 'x'
  with lock.hold(workdir) as check:
    check()
    workdir.rename(tmp_path / 'old')
    if begin_anew:
      workdir.mkdir()
      (workdir / lock.LOCK_FILE).touch()
    with pytest.raises(RunError, match='x was moved or removed'):
      check()
