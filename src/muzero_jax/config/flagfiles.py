"""Flagfiles in, arguments out: whatever a file is, it is read at once or not.

Lines are flags; empty lines and those that start with # or // count for
nothing; `--flagfile=other` includes another file. Files that the user names
are trusted in what they say, but not in what they are.
"""

import os
import stat
from collections.abc import Iterator, Sequence

from muzero_jax import paths
from muzero_jax.errors import UserError

_DIRECTIVES = ('--flagfile', '-flagfile')
# Of all files of a command line together: a few that include each other twice
# could else make any number of lines.
_MOST_BYTES = 1 << 20
_MOST_FILES = 64


def expand(argv: Sequence[str]) -> list[str]:
  """Return arguments with the lines of each flagfile in its place.

  Args:
    argv: without the program's name.

  Raises:
    UserError: a flagfile cannot be read, is no text, too large, or includes
      itself.
  """
  budget = _Budget()
  rest = list(argv)
  found: list[str] = []
  while rest:
    argument = rest.pop(0)
    if argument in _DIRECTIVES:
      if not rest:
        raise UserError(f'{argument} names no file')
      argument = f'{argument}={rest.pop(0)}'
    name = _name(argument)
    if name is not None:
      found += _lines(name, (), budget)
      continue
    found.append(argument)
    if argument == '--':
      break
    # The value of a flag is no flagfile, whatever it looks like.
    if argument.startswith('-') and '=' not in argument and rest and (
        not rest[0].startswith('-')):
      found.append(rest.pop(0))
  return found + rest


class _Budget:
  """What all flagfiles together may still take."""

  def __init__(self) -> None:
    self._num_bytes, self._num_files = 0, 0

  def take(self, name: str, num_bytes: int) -> None:
    """Count one file.

    Raises:
      UserError: that is too much.
    """
    self._num_bytes += num_bytes
    self._num_files += 1
    if self._num_bytes > _MOST_BYTES or self._num_files > _MOST_FILES:
      raise UserError(
        f'flagfile {name!r} is too much: at most {_MOST_FILES} flagfiles of '
        f'{_MOST_BYTES} bytes together are read')


def _name(argument: str) -> str | None:
  """Return the file that an argument includes, or None."""
  flag, equals, name = argument.partition('=')
  if flag not in _DIRECTIVES or not equals:
    return None
  if not name.strip():
    raise UserError(f'{flag}= names no file')
  return name.strip()


def _lines(
  name: str, including: tuple[str, ...], budget: _Budget
) -> Iterator[str]:
  """Yield the flags of a file and of those that it includes."""
  path = paths.expand(name, 'flagfile')
  real = os.path.realpath(path)
  if real in including:
    raise UserError(f'flagfile {name!r} includes itself')
  text = _read(name, path, budget).replace('\r\n', '\n')
  for line in text.replace('\r', '\n').split('\n'):
    if line.startswith(('#', '//')) or not line.strip():
      continue
    line = line.strip()
    if line in _DIRECTIVES:
      raise UserError(f'flagfile {name!r}: write {line}=FILE in one line')
    included = _name(line)
    if included is None:
      yield line
    else:
      yield from _lines(included, (*including, real), budget)


def _read(name: str, path: str, budget: _Budget) -> str:
  """Return the text of a file.

  Raises:
    UserError: it is no plain file, too large or no text.
  """
  try:
    # A FIFO that nobody writes to would else be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
      is_plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
      data = os.pread(descriptor, _MOST_BYTES + 1, 0) if is_plain else b''
    finally:
      os.close(descriptor)
  except OSError as error:
    raise UserError(
      f'flagfile cannot be read: {error.strerror}: {name!r}') from None
  if not is_plain:
    raise UserError(f'flagfile cannot be read: {name!r} is no plain file')
  budget.take(name, len(data))
  if b'\0' in data:
    raise UserError(
      f'flagfile cannot be read: {name!r} is no text: it has a NUL character')
  try:
    return data.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise UserError(
      f'flagfile cannot be read: {name!r} is not UTF-8: {error.reason} at '
      f'byte {error.start}') from None
