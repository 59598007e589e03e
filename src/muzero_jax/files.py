"""Files that are on disk when a function returns: hashes and flushes."""

import hashlib
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
