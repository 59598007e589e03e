"""Files that are written whole or not at all: hashes, flushes, JSON."""

import hashlib
import json
import os
import pathlib
from typing import Any


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


def write_json(path: pathlib.Path, value: Any) -> None:
  """Write a value as JSON, in place of an older file, whole or not at all.

  Raises:
    OSError: it cannot be written; an older file is untouched.
  """
  write_whole(path, (json.dumps(value, indent=2) + '\n').encode())


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
