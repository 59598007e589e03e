"""Film files: GIF, WebP and PNG with Pillow, MP4 with `av`, frame by frame.

Below `film`. Pillow alone encodes whole films at once, and makes one frame of
two that are the same; here each frame is written when it comes, and stays a
frame, so that films of any length take little memory and have as many frames
as they were given. What did not change since the frame before is left out.
"""

import abc
import contextlib
import fractions
import io
import os
import pathlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from muzero_jax import files, paths
from muzero_jax.errors import MissingPackageError, RunError, UserError
from muzero_jax.play.drawings import canvas

SUFFIXES = ('.gif', '.mp4', '.png', '.webp')


class Writer(abc.ABC):
  """An open film file. All frames have the size of the first one."""

  def __init__(self, path: pathlib.Path, fps: float) -> None:
    """Take a file to write and the frames per second."""
    self._path, self._fps = path, fps
    self._last: np.ndarray | None = None
    self.num_frames = 0

  def add(self, frame: np.ndarray) -> None:
    """Write a frame [H, W, 3] u8; one of another size is cut or filled up."""
    frame = np.ascontiguousarray(frame)
    if self._last is None:
      self._begin(*frame.shape[:2])
      box = (0, 0, frame.shape[1], frame.shape[0])
    else:
      frame = _fitted(frame, self._last.shape)
      box = _changed(self._last, frame, self._even)
    self._write(frame, box)
    self._last = frame
    self.num_frames += 1

  # Whether a part of a frame must begin at an even place.
  _even = False

  @abc.abstractmethod
  def _begin(self, height: int, width: int) -> None:
    """Write what comes before the first frame."""

  @abc.abstractmethod
  def _write(
    self, frame: np.ndarray, box: tuple[int, int, int, int]
  ) -> None:
    """Write the part of a frame that changed: left, top, right, bottom."""

  @abc.abstractmethod
  def finish(self) -> None:
    """Write what comes after the last frame."""

  @abc.abstractmethod
  def close(self) -> None:
    """Close the file, finished or not."""


class _Plain(Writer):
  """A file that is written in Python."""

  def __init__(self, path: pathlib.Path, fps: float) -> None:
    super().__init__(path, fps)
    self._file: BinaryIO = open(path, 'r+b')

  def close(self) -> None:
    self._file.close()


class _Gif(_Plain):
  """GIF89a; each frame has a palette of its own."""

  def _begin(self, height: int, width: int) -> None:
    self._file.write(b'GIF89a' + struct.pack('<HHBBB', width, height, 0, 0, 0))
    # Shown again and again.
    self._file.write(b'!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00')

  def _write(
    self, frame: np.ndarray, box: tuple[int, int, int, int]
  ) -> None:
    gif = canvas.pillow('GifImagePlugin')
    image = _palette_image(_cut(frame, box))
    # Hundredths of a second; players take less than two for ten.
    duration = max(round(100 / self._fps), 2) * 10
    for part in gif.getdata(
      image, box[:2], duration=duration, disposal=1, include_color_table=True
    ):
      self._file.write(part)

  def finish(self) -> None:
    self._file.write(b';')


class _Webp(_Plain):
  """WebP, lossless."""

  _even = True

  def _begin(self, height: int, width: int) -> None:
    self._file.write(b'RIFF\0\0\0\0WEBP')
    self._file.write(_chunk(
      b'VP8X', b'\x02\0\0\0' + _24_bits(width - 1) + _24_bits(height - 1)))
    # Black behind the frames; shown again and again.
    self._file.write(_chunk(b'ANIM', b'\0\0\0\xff\0\0'))

  def _write(
    self, frame: np.ndarray, box: tuple[int, int, int, int]
  ) -> None:
    still = io.BytesIO()
    canvas.pillow('Image').fromarray(_cut(frame, box)).save(
      still, 'WEBP', lossless=True, quality=30, method=1)
    left, top, right, bottom = box
    header = b''.join(map(_24_bits, (
      left // 2, top // 2, right - left - 1, bottom - top - 1,
      round(1000 / self._fps)))) + b'\x02'  # Not blended with what is there.
    self._file.write(_chunk(b'ANMF', header + still.getvalue()[12:]))

  def finish(self) -> None:
    size = self._file.tell()
    self._file.seek(4)
    self._file.write(struct.pack('<I', size - 8))


class _Png(_Plain):
  """Animated PNG."""

  def _begin(self, height: int, width: int) -> None:
    self._number = 0  # Of the next chunk that has one.
    self._file.write(b'\x89PNG\r\n\x1a\n')
    self._file.write(_png_chunk(
      b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)))
    self._count_at = self._file.tell()
    self._file.write(_png_chunk(b'acTL', struct.pack('>II', 0, 0)))

  def _write(
    self, frame: np.ndarray, box: tuple[int, int, int, int]
  ) -> None:
    left, top, right, bottom = box
    self._file.write(_png_chunk(b'fcTL', struct.pack(
      '>IIIIIHHBB', self._take_number(), right - left, bottom - top, left, top,
      min(round(1000 / self._fps), 65535), 1000, 0, 0)))
    part = _cut(frame, box)
    rows = part.reshape(len(part), -1)
    # Filter 2: each row less the one above it.
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.concatenate(
      [np.full((len(rows), 1), 2, np.uint8), rows - above], axis=1)
    data = zlib.compress(filtered.tobytes(), 6)
    if self.num_frames == 0:
      self._file.write(_png_chunk(b'IDAT', data))
    else:
      number = struct.pack('>I', self._take_number())
      self._file.write(_png_chunk(b'fdAT', number + data))

  def finish(self) -> None:
    self._file.write(_png_chunk(b'IEND', b''))
    self._file.seek(self._count_at)
    self._file.write(
      _png_chunk(b'acTL', struct.pack('>II', self.num_frames, 0)))

  def _take_number(self) -> int:
    self._number += 1
    return self._number - 1


class _Mp4(Writer):
  """H.264 in MP4; sides are made even."""

  def __init__(self, path: pathlib.Path, fps: float) -> None:
    super().__init__(path, fps)
    self._container = _av().open(
      str(path), 'w', format='mp4', options={'movflags': 'faststart'})
    self._is_open = True

  def _begin(self, height: int, width: int) -> None:
    rate = fractions.Fraction(self._fps).limit_denominator(1000)
    known = _av().codecs_available
    self._stream: Any = self._container.add_stream(
      'libx264' if 'libx264' in known else 'mpeg4', rate=rate)
    self._stream.width, self._stream.height = _even(width), _even(height)
    self._stream.pix_fmt = 'yuv420p'
    self._stream.options = {'crf': '18', 'preset': 'fast'}

  def _write(
    self, frame: np.ndarray, box: tuple[int, int, int, int]
  ) -> None:
    shape = (self._stream.height, self._stream.width, 3)
    image = _av().VideoFrame.from_ndarray(
      np.ascontiguousarray(_fitted(frame, shape)), format='rgb24')
    self._container.mux(self._stream.encode(image))

  def finish(self) -> None:
    self._container.mux(self._stream.encode(None))
    self.close()

  def close(self) -> None:
    if self._is_open:
      self._is_open = False
      self._container.close()


_WRITERS: dict[str, type[Writer]] = {
  '.gif': _Gif, '.mp4': _Mp4, '.png': _Png, '.webp': _Webp}


def check(name: str, path: str | os.PathLike, suffixes: tuple[str, ...]
          ) -> pathlib.Path:
  """Return where a file goes, once it is sure that it can be written there.

  Args:
    name: of the flag, for messages.
    path: of the file; missing folders are made.
    suffixes: that are known, in small letters.

  Raises:
    MissingPackageError: a package is missing that it needs.
    UserError: an unknown suffix, or no file can be made there.
  """
  found = pathlib.Path(paths.expand(path, name))
  files.check_path(name, found)
  suffix = found.suffix.lower()
  if suffix not in suffixes:
    raise UserError(
      f'{name} = {os.fspath(path)}: the name must end in one of '
      f'{", ".join(suffixes)}')
  if suffix == '.mp4':
    _av()
  if suffix in SUFFIXES:
    canvas.pillow('Image')
  if found.is_dir():
    raise UserError(f'{name} = {os.fspath(path)}: is a folder')
  make_folder(name, found.parent)
  return found


def make_folder(name: str, folder: pathlib.Path) -> None:
  """Make a folder, if need be.

  Raises:
    UserError: it cannot be made or written to.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f'{name}: {folder} cannot be made a folder: {error.strerror}') from None
  if not os.access(folder, os.W_OK | os.X_OK):
    raise UserError(f'{name}: {folder} cannot be written to')


@contextlib.contextmanager
def writing(path: pathlib.Path, fps: float) -> Iterator[Writer]:
  """Open a film; its file takes the place of an older one at the end.

  Args:
    path: its suffix says what it becomes.
    fps: frames per second.

  Raises:
    RunError: it cannot be written; an older file is untouched, as it is if
      whatever else goes wrong.
  """
  make = _WRITERS[path.suffix.lower()]
  with files.writing(str(path)), files.replacing(path) as temporary:
    writer = make(temporary, fps)
    try:
      yield writer
      if not writer.num_frames:
        raise RunError(f'{path} would be a film without frames')
      writer.finish()
    finally:
      writer.close()


def _av() -> Any:
  """Return the package `av`.

  Raises:
    MissingPackageError: it is not installed; says what to install.
  """
  try:
    import av
  except ImportError as error:
    raise MissingPackageError(
      f'.mp4 needs av: pip install "muzero_jax[video]", or take .webp or .gif '
      f'({error})') from error
  return av


def _even(number: int) -> int:
  return number + number % 2


def _fitted(frame: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Return a frame cut or filled up with black to a size."""
  if frame.shape == shape:
    return frame
  fitted = np.zeros(shape, np.uint8)
  height, width = (min(a, b) for a, b in zip(frame.shape[:2], shape[:2]))
  fitted[:height, :width] = frame[:height, :width]
  return fitted


def _changed(
  old: np.ndarray, new: np.ndarray, even: bool
) -> tuple[int, int, int, int]:
  """Return the box that holds all that differs, a pixel at least."""
  differs = (old != new).any(-1)
  rows, columns = (np.flatnonzero(differs.any(axis)) for axis in (1, 0))
  if not rows.size:
    return 0, 0, 1, 1
  left, top = int(columns[0]), int(rows[0])
  if even:
    left, top = left - left % 2, top - top % 2
  return left, top, int(columns[-1]) + 1, int(rows[-1]) + 1


def _cut(frame: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
  left, top, right, bottom = box
  return np.ascontiguousarray(frame[top:bottom, left:right])


def _palette_image(part: np.ndarray) -> Any:
  """Return an image with a palette, exact where 256 colours suffice."""
  image = canvas.pillow('Image')
  red, green, blue = np.moveaxis(part.astype(np.int32), -1, 0)
  packed = red << 16 | green << 8 | blue
  colours, index = np.unique(packed, return_inverse=True)
  if colours.size > 256:
    return image.fromarray(part).quantize(256, dither=image.Dither.NONE)
  made = image.fromarray(index.reshape(part.shape[:2]).astype(np.uint8), 'P')
  made.putpalette(
    np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1)
    .astype(np.uint8).tobytes())
  return made


def _24_bits(number: int) -> bytes:
  return struct.pack('<I', number)[:3]


def _chunk(name: bytes, data: bytes) -> bytes:
  """Return a chunk of RIFF, which has an even length."""
  return name + struct.pack('<I', len(data)) + data + b'\0' * (len(data) % 2)


def _png_chunk(name: bytes, data: bytes) -> bytes:
  return (
    struct.pack('>I', len(data)) + name + data
    + struct.pack('>I', zlib.crc32(name + data)))
