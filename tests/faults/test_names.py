"""Whatever else lies in checkpoints/ breaks neither a save nor the fallback."""

import os

import numpy as np
import pytest

from muzero_jax.runs import checkpoint, folders

STRAY = ['5', '99999999', '1987', '١٢', '٠٠٠٠٠٠٠٠٠٠٠٥', '0000000000005',
         '00000000005', '-00000000005', '+00000000005', '000000000_05',
         '.saving-x', '.replaced-x', '.removing-5', '.saving-5', 'notes',
         ' 00000000005', '000000000005 ', '9' * 200]


@pytest.mark.parametrize('kind', ['directory', 'file', 'link', 'dangling'])
def test_stray_names_are_left_alone(tmp_path, kind):
  root = tmp_path / 'checkpoints'
  root.mkdir()
  target = tmp_path / 'target'
  target.mkdir()
  for name in STRAY:
    if kind == 'directory':
      (root / name / 'x').mkdir(parents=True)
    elif kind == 'file':
      (root / name).write_text('x')
    else:
      (root / name).symlink_to(
        target if kind == 'link' else tmp_path / 'nowhere')
  state = dict(x=np.ones(3))
  for step in (1, 2, 3):
    checkpoint.save(tmp_path, step, state)
  assert checkpoint.steps(tmp_path) == [2, 3]
  (root / '000000000003' / 'manifest.json').unlink()
  reports = []
  assert checkpoint.restore(tmp_path, state, report=reports.append)[0] == 2
  assert len(reports) == 1
  assert {*STRAY} <= {*os.listdir(root)} and target.is_dir()


def test_our_own_marks_as_files_and_links_are_tidied(tmp_path):
  root = tmp_path / 'checkpoints'
  target = tmp_path / 'target'
  target.mkdir()
  root.mkdir()
  (root / '.saving-000000000001').write_text('x')
  (root / '.removing-000000000001').symlink_to(target)
  (root / '.replaced-000000000001').symlink_to(tmp_path / 'nowhere')
  # A file of the name of a step is set aside, not overwritten.
  (root / '000000000001').write_text('mine')
  state = dict(x=np.ones(3))
  checkpoint.save(tmp_path, 1, state)
  assert checkpoint.restore(tmp_path, state)[0] == 1
  assert sorted(os.listdir(root)) == [
    '000000000001', 'damaged-000000000001']
  assert (root / 'damaged-000000000001').read_text() == 'mine'
  assert target.is_dir()


def test_the_newest_without_its_zeros_is_passed_over(tmp_path):
  state = dict(x=np.ones(3))
  for step in (1, 2):
    checkpoint.save(tmp_path, step, state)
  root = tmp_path / 'checkpoints'
  (root / '000000000002').rename(root / '2')
  assert checkpoint.restore(tmp_path, state)[0] == 1
  assert checkpoint.restore_subtree(tmp_path, state['x'], 'x')[0] == 1


@pytest.mark.parametrize('step', [0, 7, 10**12 - 1, 10**12, 2**53])
def test_names_round_trip(step):
  assert folders.step_of(folders.name_of(step)) == step


def test_what_cannot_be_removed_does_not_undo_a_save(tmp_path, monkeypatch):
  state = dict(x=np.ones(3))
  for step in (1, 2):
    checkpoint.save(tmp_path, step, state)

  def refuse(path):
    raise OSError('device or resource busy')

  remove = folders.remove
  monkeypatch.setattr(folders, 'remove', lambda path: (
    refuse(path) if '.removing-' in path.name else remove(path)))
  checkpoint.save(tmp_path, 3, state)
  assert checkpoint.steps(tmp_path) == [2, 3]
  assert checkpoint.restore(tmp_path, state)[0] == 3
