"""Files, written whole or not at all, and read without trust.

Hashes, flushes, JSON, and which names a file may have.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import pathlib
import re
import stat
from collections.abc import Iterator
from typing import Any

from muzero_jax.errors import RunError, UserError

# Of JSON from outside. A manifest of 10,000 leaves takes about 2 MB.
MAX_JSON_BYTES, MAX_JSON_DEPTH = 1 << 26, 64
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_URL = re.compile(r'[A-Za-z][A-Za-z0-9+.-]*:/')
# TensorStore raises ValueErrors; these are of the system, with its number or
# without.
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")
_NO_SPACE = 'RESOURCE_EXHAUSTED'


def check_path(name: str, value: str | os.PathLike) -> None:
  """Raise UserError where a path is none that can be written and read again.

  Args:
    name: of the field, for the message.
    value: the path.
  """
  text = os.fspath(value)
  where = f'{name} = {text!r}'
  if _URL.match(text):
    raise UserError(
      f'{where} looks like a URL: allowed is a directory of this machine')
  if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
    raise UserError(f'{where} holds control characters, which are not allowed')
  try:
    os.path.abspath(text).encode()
  except UnicodeEncodeError:
    where = f'{name} = {os.path.abspath(text)!r}'
    raise UserError(f'{where} is not UTF-8, as names have to be') from None


def is_link(path: str | os.PathLike) -> bool:
  """Return whether a name is a symbolic link, wherever that leads."""
  try:
    return stat.S_ISLNK(os.lstat(path).st_mode)
  except OSError:
    return False


def read_bytes(
  path: str | os.PathLike, max_bytes: int = MAX_JSON_BYTES
) -> bytes:
  """Return what a plain file holds; a pipe or a device is never waited for.

  Raises:
    OSError: it is not there or cannot be read.
    ValueError: it is no plain file, or larger than that.
  """
  # Opening a pipe would wait for its other end.
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  with open(descriptor, 'rb') as file:
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode):
      raise ValueError('it is no plain file')
    if state.st_size > max_bytes:
      raise ValueError(
        f'it has {state.st_size:,} bytes, of which at most {max_bytes:,} are '
        'allowed')
    return file.read(max_bytes)


def parse_json(data: bytes | str) -> Any:
  """Return the value of JSON that anyone may have written.

  Raises:
    ValueError: it is no JSON, is nested too deeply, names a field twice, or
      holds a number or a text that cannot be written again.
  """
  text = data.decode('utf-8') if isinstance(data, bytes) else data
  if text.count('[') + text.count('{') > MAX_JSON_DEPTH:
    _check_depth(text)
  try:
    value = json.loads(
      text, parse_constant=_refuse_constant, parse_float=_finite,
      object_pairs_hook=_unique)
  except RecursionError:
    raise ValueError('it is nested too deeply') from None
  if '\\u' in text:
    # Half of a surrogate pair could never be printed.
    json.dumps(value, ensure_ascii=False).encode()
  return value


def read_json(path: str | os.PathLike) -> Any:
  """Return the value of a JSON file that anyone may have written.

  Raises:
    OSError: it is not there or cannot be read.
    ValueError: as `read_bytes` and `parse_json`.
  """
  return parse_json(read_bytes(path))


def _check_depth(text: str) -> None:
  depth = 0
  for token in _TOKENS.finditer(text):
    depth += {'[': 1, '{': 1, ']': -1, '}': -1}.get(token[0], 0)
    if depth > MAX_JSON_DEPTH:
      raise ValueError(f'it is nested more than {MAX_JSON_DEPTH} deep')


def _refuse_constant(text: str) -> Any:
  raise ValueError(f'it holds {text}, which is no number of JSON')


def _finite(text: str) -> float:
  if not math.isfinite(value := float(text)):
    raise ValueError(f'it holds the number {text[:20]}, which is too large')
  return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  value = dict(pairs)
  if len(value) < len(pairs):
    raise ValueError('it names a field twice')
  return value


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
  """Turn what a disk refuses into one line: "... cannot be written: why".

  Args:
    what: the body writes.

  Raises:
    RunError: it cannot be written.
  """
  try:
    yield
  except OSError as error:
    why = error.strerror or str(error)
    raise RunError(f'{what} cannot be written: {why}') from error
  except ValueError as error:
    of_system = as_os_error(error)
    if of_system is None:
      raise
    raise RunError(
      f'{what} cannot be written: {of_system.strerror}') from error


def as_os_error(error: Exception) -> OSError | None:
  """Return the system's error that one of TensorStore's tells of, or None."""
  if isinstance(error, OSError):
    return error
  code = _OS_ERROR.search(str(error))
  if code is None and _NO_SPACE not in str(error):
    return None
  number = int(code[1]) if code else errno.ENOSPC
  return OSError(number, os.strerror(number))


def flush_and_hash(path: pathlib.Path) -> dict[str, Any]:
  """Returns size and SHA-256 of a file that is then safely on disk."""
  with open(path, 'rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
    os.fsync(file.fileno())
    return dict(sha256=digest, size=file.tell())


def write_flushed(path: pathlib.Path, data: bytes) -> None:
  """Writes a file; when this returns, its bytes are on disk.

  Raises:
    OSError: it cannot be written, or the name is a symbolic link.
  """
  flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
  with open(os.open(path, flags, 0o666), 'wb') as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def flush_directory(directory: pathlib.Path) -> None:
  """Returns once the names in a directory are on disk."""
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def append_whole(path: pathlib.Path, data: bytes) -> None:
  """Append to a file all of the data or none.

  Raises:
    OSError: it cannot be written; the file is as it was.
  """
  with open(path, 'ab', buffering=0) as file:
    size = file.tell()
    try:
      written = file.write(data)
      while written < len(data):
        written += file.write(data[written:])
    except OSError:
      file.truncate(size)
      raise


def write_json(
  path: pathlib.Path, value: Any, *, allow_nan: bool = True
) -> None:
  """Write a value as JSON, in place of an older file, whole or not at all.

  Raises:
    OSError: it cannot be written; an older file is untouched.
  """
  text = json.dumps(value, indent=2, allow_nan=allow_nan)
  write_whole(path, (text + '\n').encode())


def write_whole(path: pathlib.Path, data: bytes) -> None:
  """Write a file so that no reader ever sees half of it.

  A symbolic link of that name is replaced, never written through.

  Raises:
    OSError: it cannot be written; an older file is untouched.
  """
  temporary = path.with_name(f'.{path.name}-{os.getpid()}')
  try:
    temporary.unlink(missing_ok=True)
    write_flushed(temporary, data)
    os.replace(temporary, path)
    flush_directory(path.parent)
  finally:
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Offer a new file to write, which then takes the place of an older one.

  For what is too large to be held in memory; else see `write_whole`. If the
  body raises, nothing is left of the new file.

  Raises:
    OSError: it cannot be written; an older file is untouched.
  """
  temporary = path.with_name(f'.{path.name}-{os.getpid()}')
  try:
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    os.close(os.open(temporary, flags, 0o666))
    yield temporary
    with open(temporary, 'rb') as file:
      os.fsync(file.fileno())
    os.replace(temporary, path)
    flush_directory(path.parent)
  finally:
    temporary.unlink(missing_ok=True)
