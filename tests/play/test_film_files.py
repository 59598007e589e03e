"""Film files: decoded again, frame for frame; written whole or not at all."""

import os
import sys

import numpy as np
import pytest
from decoding import decode

from muzero_jax.errors import MissingPackageError, RunError, UserError
from muzero_jax.play import film_files

pytest.importorskip('PIL')


def frames():
  """Frames of an odd size; some are the same, and one has many colours."""
  rng = np.random.default_rng(0)
  shown = [np.full((41, 63, 3), 7, np.uint8)]
  for i in range(6):
    new = shown[-1].copy()
    if i % 3:
      new[5 + i:9 + i, 3 * i:3 * i + 7] = rng.integers(0, 255, 3)
    shown.append(new)
  return [*shown, rng.integers(0, 255, (41, 63, 3)).astype(np.uint8)]


def write(path, shown, fps=20):
  with film_files.writing(path, fps) as film:
    for frame in shown:
      film.add(frame)


@pytest.mark.parametrize('suffix', ['.gif', '.png', '.webp'])
def test_what_pillow_writes_is_the_same_again(suffix, tmp_path):
  path = tmp_path / f'film{suffix}'
  write(path, frames())
  found, durations = decode(path)
  assert len(found) == len(frames()) == 8
  # GIF has 256 colours a frame, which the last one has more of.
  exact = 7 if suffix == '.gif' else 8
  for one, other in list(zip(found, frames()))[:exact]:
    np.testing.assert_array_equal(one, other)
  difference = found[-1].astype(int) - frames()[-1]
  assert np.abs(difference).mean() < 15
  assert durations == [50] * 8
  assert os.listdir(tmp_path) == [path.name]


def test_mp4(tmp_path):
  pytest.importorskip('av')
  path = tmp_path / 'film.mp4'
  write(path, frames(), fps=12.5)
  found, durations = decode(path)
  assert len(found) == 8 and durations == [80] * 8
  assert found[0].shape == (42, 64, 3)  # Sides are even.
  for one, other in list(zip(found, frames()))[:7]:
    assert np.abs(one[:41, :63].astype(int) - other).mean() < 6


def test_frames_of_other_sizes_are_cut_and_filled_up(tmp_path):
  path = tmp_path / 'film.webp'
  write(path, [np.full(shape, 9, np.uint8)
               for shape in ((10, 20, 3), (12, 8, 3))])
  found, _ = decode(path)
  assert [one.shape for one in found] == [(10, 20, 3)] * 2
  assert (found[1][:, :8] == 9).all() and not found[1][:, 8:].any()


@pytest.mark.parametrize('suffix', film_files.SUFFIXES)
def test_an_older_file_stays_when_something_goes_wrong(suffix, tmp_path):
  if suffix == '.mp4':
    pytest.importorskip('av')
  path = tmp_path / f'film{suffix}'
  path.write_bytes(b'older')
  with pytest.raises(KeyError):
    with film_files.writing(path, 10) as film:
      film.add(frames()[0])
      raise KeyError('lost')
  with pytest.raises(RunError, match='without frames'):
    with film_files.writing(path, 10):
      pass
  assert path.read_bytes() == b'older'
  assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize('name, allowed', [
  ('film.avi', '.gif, .mp4, .png, .webp'), ('film', '.gif'),
  ('folder.gif', 'is a folder'), ('file/film.gif', 'cannot be made a folder'),
])
def test_a_place_that_cannot_be_is_told_early(name, allowed, tmp_path):
  (tmp_path / 'folder.gif').mkdir()
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError) as told:
    film_files.check('video', tmp_path / name, film_files.SUFFIXES)
  assert allowed in str(told.value) and '\n' not in str(told.value)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_of_others_is_told_early(tmp_path):
  tmp_path.chmod(0o500)
  with pytest.raises(UserError, match='cannot be written to'):
    film_files.check('video', tmp_path / 'x.gif', film_files.SUFFIXES)


def test_folders_are_made(tmp_path):
  path = film_files.check(
    'video', tmp_path / 'a/b/X.GIF', film_files.SUFFIXES)
  write(path, frames()[:1])
  assert decode(path.with_suffix('.GIF'))[0][0].shape == (41, 63, 3)


def test_av_is_named_where_it_is_missing(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'av', None)
  with pytest.raises(MissingPackageError, match=r'muzero_jax\[video\]'):
    film_files.check('video', tmp_path / 'x.mp4', film_files.SUFFIXES)
  # Pillow alone makes the others.
  film_files.check('video', tmp_path / 'x.webp', film_files.SUFFIXES)
