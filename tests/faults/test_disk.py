"""A disk that is full: on a small tmpfs, and in the process with OSErrors."""

import errno
import json
import logging
import os
import subprocess
import sys
import types

import pytest
import tiny_run

from benchmarks.drills import disk, lives
from muzero_jax import files, train
from muzero_jax.errors import RunError
from muzero_jax.evaluation import game_records, tournament
from muzero_jax.runs import (
  array_files,
  metrics,
  plots,
  policy_checkpoints,
)
from muzero_jax.runs.progress import Counts, Progress

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _may_mount(folder):
  done = subprocess.run(
    ['unshare', '-m', 'mount', '-t', 'tmpfs', 'none', str(folder)],
    capture_output=True)
  return done.returncode == 0


@pytest.mark.thorough
@pytest.mark.parametrize('phase', ['metrics', 'saves'])
def test_one_line_and_then_it_goes_on(phase, tmp_path):
  try:
    if not _may_mount(tmp_path):
      pytest.skip('no mount namespace of our own')
  except FileNotFoundError:
    pytest.skip('no unshare')
  found = disk.in_a_namespace(
    phase, tmp_path, os.environ['JAX_COMPILATION_CACHE_DIR'])
  assert found['right'], found


def _refuse(*args, **kwargs):
  raise FULL


@pytest.mark.parametrize('error', [
  FULL,
  ValueError(
    'RESOURCE_EXHAUSTED: Error writing "a/0": Failed to write 9 bytes to file '
    "14: No space left on device [os_error_code='28']"),
])
def test_a_save_that_fails_gives_its_space_back(
    tmp_path, monkeypatch, capsys, error):
  """Older checkpoints are intact, and no second error hides the first."""
  write, steps = array_files.write, []

  def fail_later(directory, arrays):
    step = int(directory.parent.name.rpartition('-')[2])
    if step not in steps and len(steps) == 2:
      directory.mkdir(parents=True)
      raise error
    steps.append(step)
    write(directory, arrays)

  monkeypatch.setattr(array_files, 'write', fail_later)
  monkeypatch.setattr(plots, 'plot_curves', _refuse)
  with pytest.raises(RunError, match=(
      'the checkpoint cannot be written: No space left on device$')):
    train.run(tiny_run.config(), tmp_path)
  assert lives.intact(tmp_path) == steps[:2]
  assert lives.unfinished(tmp_path) == []
  assert 'no curves.png: OSError' in capsys.readouterr().out


def test_a_snapshot_that_fails(tmp_path, monkeypatch):
  monkeypatch.setattr(policy_checkpoints, 'save', _refuse)
  with pytest.raises(RunError, match='the snapshot cannot be written: No'):
    train.run(tiny_run.config(snapshot_period=1), tmp_path)


def test_full_metrics_end_the_run_after_a_save(tmp_path, monkeypatch):
  append, rows = files.append_whole, []

  def fail_later(path, data):
    rows.append(data)
    if len(rows) > 3:
      raise FULL
    append(path, data)

  monkeypatch.setattr(files, 'append_whole', fail_later)
  with pytest.raises(RunError, match='metrics.jsonl cannot be written: No'):
    train.run(tiny_run.config(checkpoint_period=1e6), tmp_path)
  assert len(lives.intact(tmp_path)) == 1
  assert len(metrics.read_metrics(tmp_path)) == 3


@pytest.mark.thorough
def test_evaluation_json_is_whole_or_absent(tmp_path, monkeypatch):
  config = tiny_run.config(
    num_steps=64, checkpoint_period=1e6, eval_episodes=2)
  replace = os.replace

  def fail(source, target):
    if str(target).endswith('evaluation.json'):
      raise FULL
    replace(source, target)

  with monkeypatch.context() as patch:
    patch.setattr(os, 'replace', fail)
    with pytest.raises(RunError, match='evaluation.json cannot be written'):
      train.run(config, tmp_path)
  assert not (tmp_path / 'evaluation.json').exists()
  assert lives.unfinished(tmp_path) == [] and lives.intact(tmp_path)
  assert train.run(config, tmp_path) == 0
  assert json.loads((tmp_path / 'evaluation.json').read_text())['step'] == 64


def test_a_row_is_appended_whole_or_not_at_all(tmp_path):
  path = tmp_path / 'rows'
  files.append_whole(path, b'one\n')
  code = (
    'import pathlib, resource, sys\n'
    'from muzero_jax import files\n'
    'resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))\n'
    'files.append_whole(pathlib.Path(sys.argv[1]), b"a longer row\\n")\n')
  done = subprocess.run(
    [sys.executable, '-c', code, str(path)], capture_output=True, text=True)
  assert 'File too large' in done.stderr
  assert path.read_bytes() == b'one\n'


def test_pictures_and_games_are_whole_or_absent(tmp_path, monkeypatch):
  with Progress(tmp_path, total_steps=9, writers=[]) as progress:
    progress.log(Counts(), {'loss': 1.0}, force=True)
    progress.close()
  before = tiny_run.snapshot(tmp_path)
  monkeypatch.setattr(os, 'fsync', _refuse)
  with pytest.raises(OSError):
    plots.plot_curves(tmp_path)
  monkeypatch.setattr(tournament, 'to_json', lambda found: {})
  with pytest.raises(RunError, match='ladder.json cannot be written: No space'):
    tournament.write(tmp_path, None)
  game = game_records.GameRecord('g', 'a', 'b', 0, 0, 0, (1,), 1)
  with pytest.raises(ValueError, match='No space'):
    game_records.write(tmp_path / 'games.jsonl', [game])
  assert tiny_run.snapshot(tmp_path) == before


def test_an_error_that_no_disk_raised_stays_itself():
  for error in (ValueError('[1]'), KeyError('x')):
    with pytest.raises(type(error)), files.writing('x'):
      raise error


def test_late_writes_of_a_failed_save_print_nothing(capsys):
  array_files._hush()
  found = types.SimpleNamespace(
    exc_type=RuntimeError, exc_value=RuntimeError('Event loop is closed'),
    exc_traceback=None, err_msg=None, object=None)
  sys.unraisablehook(found)
  assert capsys.readouterr().err == ''


def test_other_errors_that_nobody_can_raise_are_still_printed(
    capsys, monkeypatch):
  seen = []
  monkeypatch.setattr(sys, 'unraisablehook', seen.append)
  array_files._hush.__wrapped__()
  other = types.SimpleNamespace(exc_value=RuntimeError('another'))
  sys.unraisablehook(other)
  assert seen == [other]


@pytest.mark.parametrize('path, is_said', [
  ('/x/site-packages/orbax/checkpoint/future.py', False), ('/x/own.py', True)])
def test_what_orbax_logs_is_not_said(path, is_said):
  """Its threads log what was raised already, after the save has ended."""
  array_files._hush()
  record = logging.LogRecord('absl', logging.ERROR, path, 1, 'x', (), None)
  assert bool(logging.getLogger('absl').filter(record)) == is_said
