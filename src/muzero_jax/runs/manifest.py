"""Directories whose every byte is known: a manifest of SHA-256 hashes.

`checkpoint` keeps its promises by them, and `dataset` by hashes alike.
"""

import hashlib
import json
import pathlib
import re
from typing import Any

from muzero_jax import files as files_lib

_MANIFEST = 'manifest.json'
_SHA256 = re.compile(r'[0-9a-f]{64}')
_MOST_BYTES = 2**62


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

  Its `step`, `leaves` and `files` are of the types that they have to be.

  Args:
    directory: of the manifest.
    within: the only folder in it whose files are read; all if empty.

  Raises:
    DamageError: which file is not what was saved, and how.
    OSError: a file is there, but cannot be read.
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
  try:
    data = files_lib.read_bytes(path)
    contents = files_lib.parse_json(data)['contents']
    intact = data == _manifest_bytes(contents)
  except (ValueError, KeyError, TypeError):
    intact = False
  if not intact:
    raise DamageError(f'{_MANIFEST} has changed since it was saved')
  _check_contents(contents, directory.name)
  return contents


def _check_contents(contents: Any, name: str) -> None:
  """Raise DamageError where the contents are none that `seal` was given."""
  if not isinstance(contents, dict):
    raise DamageError(f'{_MANIFEST} holds no fields')
  step = contents.get('step')
  if not _is_count(step):
    raise DamageError(f'{_MANIFEST} has no step')
  if step != int(name):
    raise DamageError(f'{_MANIFEST} is that of step {step}')
  for field, check in (('files', _is_file), ('leaves', _is_leaf)):
    entries = contents.get(field)
    if not isinstance(entries, dict):
      raise DamageError(f'{_MANIFEST} has no {field}')
    for entry, value in entries.items():
      if not check(entry, value):
        raise DamageError(
          f'{_MANIFEST} says of {entry!r} what cannot be of one of its {field}')


def _is_count(value: Any) -> bool:
  return type(value) is int and 0 <= value <= _MOST_BYTES


def _is_file(name: str, value: Any) -> bool:
  """Return whether name and value can be a file's within the directory."""
  parts = pathlib.PurePosixPath(name).parts
  return (
    isinstance(value, dict)
    and bool(parts) and parts[0] != '/' and '..' not in parts
    and '\0' not in name
    and _is_count(value.get('size'))
    and isinstance(value.get('sha256'), str)
    and bool(_SHA256.fullmatch(value['sha256'])))


def _is_leaf(name: str, value: Any) -> bool:
  """Return whether a value can describe an array."""
  return (
    isinstance(value, dict)
    and isinstance(value.get('dtype'), str)
    and isinstance(value.get('shape'), list)
    and all(map(_is_count, value['shape']))
    and isinstance(value.get('key_impl', ''), str))
