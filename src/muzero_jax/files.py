"""Files that are written whole or not at all: hashes, flushes, JSON."""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from muzero_jax.errors import RunError

# TensorStore raises ValueErrors; these are of the system, with its number or
# without.
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")
_NO_SPACE = 'RESOURCE_EXHAUSTED'


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
    code = _OS_ERROR.search(str(error))
    if code is None and _NO_SPACE not in str(error):
      raise
    why = os.strerror(int(code[1]) if code else errno.ENOSPC)
    raise RunError(f'{what} cannot be written: {why}') from error


def flush_and_hash(path: pathlib.Path) -> dict[str, Any]:
  """Returns size and SHA-256 of a file that is then safely on disk."""
  with open(path, 'rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
    os.fsync(file.fileno())
    return dict(sha256=digest, size=file.tell())


def write_flushed(path: pathlib.Path, data: bytes) -> None:
  """Writes a file; when this returns, its bytes are on disk."""
  with open(path, 'wb') as file:
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

  Raises:
    OSError: it cannot be written; an older file is untouched.
  """
  temporary = path.with_name(f'.{path.name}-{os.getpid()}')
  try:
    write_flushed(temporary, data)
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
