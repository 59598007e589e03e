"""Runs whose lines nobody reads, or no code can write."""

import os
import subprocess

import pytest

from benchmarks.drills import lives

pytestmark = pytest.mark.slow


def _run(workdir, stdout, **environ):
  cache = os.environ['JAX_COMPILATION_CACHE_DIR']
  return subprocess.run(
    lives.command(workdir, num_steps=640), text=True, stdout=stdout,
    stderr=subprocess.PIPE, env=lives.environ(cache, **environ))


@pytest.mark.thorough
def test_a_run_goes_on_without_a_reader(tmp_path):
  reading, writing = os.pipe()
  os.close(reading)
  done = _run(tmp_path, writing)
  os.close(writing)
  assert (done.returncode, done.stderr) == (0, '')
  assert lives.intact(tmp_path) and (tmp_path / 'metrics.jsonl').exists()


def test_an_ascii_terminal_and_another_workdir(tmp_path):
  workdir = tmp_path / '空 é'
  done = _run(workdir, subprocess.PIPE, PYTHONIOENCODING='ascii')
  assert (done.returncode, done.stderr) == (0, '')
  assert r'\u7a7a \xe9' in done.stdout and lives.intact(workdir)


@pytest.mark.skipif(
  not os.path.exists('/dev/full'), reason='a device of Linux')
@pytest.mark.thorough
def test_a_full_log(tmp_path):
  with open('/dev/full', 'w') as full:
    done = _run(tmp_path, full)
  assert (done.returncode, done.stderr) == (0, '')
  assert lives.intact(tmp_path)
