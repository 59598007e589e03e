"""Films, read back."""

import numpy as np
import pytest


def decode(path):
  """The frames of a film, and milliseconds of each."""
  if path.suffix == '.mp4':
    av = pytest.importorskip('av')
    with av.open(str(path)) as film:
      rate = float(film.streams.video[0].average_rate)
      found = [one.to_ndarray(format='rgb24') for one in film.decode(video=0)]
    return found, [1000 / rate] * len(found)
  film = pytest.importorskip('PIL.Image').open(path)
  found, durations = [], []
  for index in range(film.n_frames):
    film.seek(index)
    found.append(np.asarray(film.convert('RGB')))
    durations.append(film.info['duration'])
  return found, durations
