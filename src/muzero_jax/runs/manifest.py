"""Directories whose every byte is known: a manifest of SHA-256 hashes.

`checkpoint` keeps its promises by them, and `dataset` by hashes alike.
"""

import hashlib
import json
import pathlib
from typing import Any

from muzero_jax import files as files_lib

_MANIFEST = 'manifest.json'


class DamageError(Exception):
  """Why a directory cannot be trusted."""


def seal(directory: pathlib.Path, facts: dict[str, Any]) -> None:
  """Adds the manifest to a directory; when this returns, all is on disk.

  Args:
    directory: finished, but for the manifest.
    facts: stored in the manifest; its `step` is the directory's name.
  """
  files = {
    path.relative_to(directory).as_posix(): files_lib.flush_and_hash(path)
    for path in sorted(directory.rglob('*')) if path.is_file()
  }
  files_lib.write_flushed(
    directory / _MANIFEST, _manifest_bytes(dict(facts, files=files)))
  for folder in [
    *(p for p in directory.rglob('*') if p.is_dir()), directory
  ]:
    files_lib.flush_directory(folder)


def verify(directory: pathlib.Path, within: str = '') -> dict[str, Any]:
  """Returns the contents of the manifest of an intact directory.

  Args:
    directory: of the manifest.
    within: the only folder in it whose files are read; all if empty.

  Raises:
    DamageError: which file is not what was saved, and how.
  """
  manifest = _read(directory)
  base = pathlib.Path(within) if within else None
  for name, expected in manifest['files'].items():
    if base is not None and base not in pathlib.Path(name).parents:
      continue
    path = directory / name
    if not path.is_file():
      raise DamageError(f'{name} is missing')
    if path.stat().st_size != expected['size']:
      raise DamageError(
        f'{name} has {path.stat().st_size} of {expected["size"]} bytes')
    with open(path, 'rb') as file:
      if hashlib.file_digest(file, 'sha256').hexdigest() != expected['sha256']:
        raise DamageError(f'{name} has changed since it was saved')
  return manifest


def _manifest_bytes(contents: dict[str, Any]) -> bytes:
  """Returns manifest.json: the contents beside their own hash."""
  digest = hashlib.sha256(_canonical(contents)).hexdigest()
  return _canonical(dict(contents=contents, sha256=digest))


def _canonical(value: Any) -> bytes:
  return (json.dumps(value, indent=1, sort_keys=True) + '\n').encode()


def _read(directory: pathlib.Path) -> dict[str, Any]:
  """Returns the contents of an intact manifest.json."""
  path = directory / _MANIFEST
  if not path.is_file():
    raise DamageError(f'{_MANIFEST} is missing')
  data = path.read_bytes()
  try:
    contents = json.loads(data)['contents']
    intact = data == _manifest_bytes(contents)
  except (ValueError, KeyError, TypeError):
    intact = False
  if not intact:
    raise DamageError(f'{_MANIFEST} has changed since it was saved')
  if contents['step'] != int(directory.name):
    raise DamageError(f'{_MANIFEST} is that of step {contents["step"]}')
  return contents


