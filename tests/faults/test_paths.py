"""A path never decides whether what was saved can be restored."""

import os

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_dataset
import tiny_run
from helpers import assert_trees_equal

from muzero_jax import files
from muzero_jax.errors import UserError
from muzero_jax.replay import dataset
from muzero_jax.runs import checkpoint, lock, policy_checkpoints, run_dir

NAMES = [
  'seeds=[0,1]', '[!a]', '*', 'a?b', 'a\\b', 'a\\[', '{x}', 'a b', "it's",
  '空', '~', '$HOME', '%5B', '-x', 'x' * 200]


@pytest.mark.parametrize('name', NAMES)
def test_checkpoints_snapshots_and_datasets_on_any_path(tmp_path, name):
  workdir = tmp_path / name / 'run'
  state = dict(x=jnp.arange(3), y={'z': np.ones((2, 2))})
  for step in (1, 2):
    checkpoint.save(workdir, step, state)
  step, found = checkpoint.restore(workdir, state)
  assert step == 2
  assert_trees_equal(found, state)
  assert checkpoint.restore_subtree(workdir, state['y'], 'y')[0] == 2
  policy_checkpoints.save(workdir, 7, state)
  assert_trees_equal(policy_checkpoints.restore(workdir, 7, state), state)
  rows = tiny_dataset.make_rows()
  dataset.save(workdir / 'data', tiny_dataset.SPEC, rows)
  assert_trees_equal(dataset.load(workdir / 'data').rows, rows)
  run_dir.resolve(workdir.parent / 'new', {}, tiny_run.config())
  # Nothing was written beside it, and nothing is open.
  assert sorted(p.name for p in tmp_path.iterdir()) == [name]
  assert not [
    p for p in os.listdir('/proc/self/fd')
    if str(tmp_path) in os.path.realpath(f'/proc/self/fd/{p}')]


def test_a_working_directory_with_brackets(tmp_path, monkeypatch):
  (tmp_path / '[0]').mkdir()
  monkeypatch.chdir(tmp_path / '[0]')
  checkpoint.save('run', 1, dict(x=jnp.ones(2)))
  assert checkpoint.restore('run', dict(x=jnp.ones(2)))[0] == 1


def test_leaves_of_any_name(tmp_path):
  state = {
    '': np.ones(3), '.': np.ones(1), '..': np.zeros(1),
    'a[0]*?': np.ones(2), 'b/c\\d': {'[x]': np.zeros(3)}}
  checkpoint.save(tmp_path, 1, state)
  assert_trees_equal(checkpoint.restore(tmp_path, state)[1], state)


@pytest.mark.parametrize('path, words', [
  ('gs:/x', 'looks like a URL'), ('gs://bucket/x', 'looks like a URL'),
  ('s3://x', 'looks like a URL'), ('a\nb', 'control characters'),
  ('a\0b', 'control characters'), ('a\x1b[0m', 'control characters'),
  (os.fsdecode(b'run\xff'), 'is not UTF-8')])
def test_paths_that_are_refused_at_once(path, words):
  for call in (
      lambda: files.check_path('workdir', path),
      lambda: run_dir.resolve(path, {}, tiny_run.config()),
      lambda: run_dir.read_config(path),
      lambda: dataset.load(path)):
    with pytest.raises(UserError, match=words) as caught:
      call()
    line = str(caught.value)
    assert len(line.splitlines()) == 1 and line.encode()


def test_below_a_directory_whose_name_is_not_utf8(tmp_path, monkeypatch):
  folder = os.path.join(os.fsencode(tmp_path), b'\xff')
  os.mkdir(folder)
  monkeypatch.chdir(folder)
  with pytest.raises(UserError, match='is not UTF-8'):
    files.check_path('workdir', 'run')


def test_what_is_saved_is_what_is_read_back(tmp_path, monkeypatch):
  """A save that would restore otherwise is none, and leaves nothing."""
  from muzero_jax.runs import array_files

  state = dict(x=np.arange(5), y=np.array([np.nan, -0.0], np.float32))
  checkpoint.save(tmp_path, 1, state)
  write = array_files.write

  def other(directory, arrays):
    write(directory, dict(arrays, x=arrays['x'] + 1))

  def lost(directory, arrays):
    write(directory, arrays)
    (directory / 'x' / 'manifest.ocdbt').unlink()

  for harm, words in ((other, 'x reads otherwise'), (lost, 'cannot be read')):
    with monkeypatch.context() as patch:
      patch.setattr(array_files, 'write', harm)
      with pytest.raises(OSError, match=words):
        checkpoint.save(tmp_path, 2, state)
    assert [p.name for p in (tmp_path / 'checkpoints').iterdir()] == [
      '000000000001']
  assert checkpoint.restore(tmp_path, state)[0] == 1


def test_links_are_replaced_or_refused_and_never_written_through(tmp_path):
  outside = tmp_path / 'outside'
  outside.write_text('mine')
  inside = tmp_path / 'run'
  inside.mkdir()
  (inside / 'evaluation.json').symlink_to(outside)
  files.write_json(inside / 'evaluation.json', {'x': 1})
  assert not files.is_link(inside / 'evaluation.json')
  (inside / f'.config.json-{os.getpid()}').symlink_to(outside)
  run_dir.store(inside, tiny_run.config())
  (inside / lock.LOCK_FILE).symlink_to(tmp_path / 'made')
  with pytest.raises(UserError, match='.lock is a symbolic link'):
    with lock.hold(inside):
      pass
  elsewhere = tmp_path / 'elsewhere'
  elsewhere.mkdir()
  for folder in ('checkpoints', 'snapshots'):
    (inside / folder).symlink_to(elsewhere)
    with pytest.raises(OSError, match='symbolic link'):
      checkpoint.save(inside, 1, dict(x=jnp.ones(1)), folder=folder)
  assert outside.read_text() == 'mine' and not list(elsewhere.iterdir())
  assert not (tmp_path / 'made').exists()
  with pytest.raises(OSError):
    files.write_flushed(inside / 'checkpoints', b'')
