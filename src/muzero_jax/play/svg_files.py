"""pgx's drawings of a game as SVG: a file for each step, or one that moves.

Below `film`.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

from muzero_jax import files, paths
from muzero_jax.errors import RunError, UserError
from muzero_jax.play import film_files

_FAMILIES = ('board', 'stochastic')
_SUFFIX = '.svg'
_SIZE = re.compile(r'<svg[^>]*? height="([\d.]+)"[^>]*? width="([\d.]+)"')
_OPENING = re.compile(r'^(<\?xml[^>]*\?>)?\s*')


class Writer:
  """Where the drawings of a game go, in order."""

  def __init__(self, path: pathlib.Path) -> None:
    """Take a folder, which is there, or the name of one file."""
    self._folder = None if path.suffix == _SUFFIX else path
    self.drawings: list[str] = []  # Of one file.
    self._count = 0

  def add(self, drawing: str | None) -> None:
    """Write or keep the drawing of the next step."""
    assert drawing is not None, 'drawn by pgx'
    self._count += 1
    if self._folder is None:
      self.drawings.append(drawing)
    else:
      files.write_whole(
        self._folder / f'step_{self._count:04d}{_SUFFIX}', drawing.encode())


def check(family: str, path: str | os.PathLike) -> pathlib.Path:
  """Return where drawings go, once it is sure that they can be written.

  Args:
    family: of the environment.
    path: a folder, made if need be, or one file that ends in .svg.

  Raises:
    UserError: pgx does not draw that family, or nothing can be written there.
  """
  if family not in _FAMILIES:
    raise UserError(
      f'svg = {os.fspath(path)}: only games of the families '
      f'{" and ".join(_FAMILIES)} have SVG drawings, not {family}; take '
      '--video')
  found = pathlib.Path(paths.expand(path, 'svg'))
  if found.suffix == _SUFFIX:
    return film_files.check('svg', found, (_SUFFIX,))
  files.check_path('svg', found)
  film_files.make_folder('svg', found)
  if any(found.glob(f'step_*{_SUFFIX}')):
    raise UserError(
      f'svg = {os.fspath(path)}: there are drawings already: choose another '
      'folder')
  return found


@contextlib.contextmanager
def writing(path: pathlib.Path, fps: float) -> Iterator[Writer]:
  """Open a folder, or a file that is written whole at the end.

  Args:
    path: as `check` returns it.
    fps: drawings per second, of one file.

  Raises:
    RunError: it cannot be written.
  """
  with files.writing(str(path)):
    writer = Writer(path)
    yield writer
    if path.suffix == _SUFFIX:
      files.write_whole(path, animated(writer.drawings, fps).encode())


def animated(drawings: list[str], fps: float) -> str:
  """Return one drawing that shows several, one after the other, for ever.

  Args:
    drawings: whole SVG documents of one size, at least one.
    fps: of them a second.
  """
  size = _SIZE.search(drawings[0])
  if size is None:
    raise RunError('svg: a drawing of pgx has no size')
  height, width = size[1], size[2]
  share = 100 / len(drawings)
  style = (
    f'.frame{{visibility:hidden;animation:{len(drawings) / fps:g}s linear '
    f'infinite shown}}@keyframes shown{{0%,{share:.6f}%{{visibility:visible}}'
    f'{share + 1e-6:.6f}%,100%{{visibility:hidden}}}}')
  if len(drawings) == 1:
    style = ''
  frames = [
    f'<g class="frame" style="animation-delay:{i / fps:g}s">'
    f'{_OPENING.sub("", drawing)}</g>' for i, drawing in enumerate(drawings)]
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" '
    'xmlns:xlink="http://www.w3.org/1999/xlink" '
    f'width="{width}" height="{height}"><style>{style}</style>\n'
    + '\n'.join(frames) + '\n</svg>\n')
