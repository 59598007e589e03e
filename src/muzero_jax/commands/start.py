"""What every command does once its flags are right: make jax ready.

Compiled functions are kept in a cache, so that the same command started again
does not compile again. What lies there is run, so it is a directory of the
user's own, which nobody else can write to.
"""

import contextlib
import os
import pathlib
import stat
import sys
from typing import Any

from muzero_jax import console, paths
from muzero_jax.errors import UserError

_VARIABLE = 'JAX_COMPILATION_CACHE_DIR'
# jax keeps what took a second to compile; a start has dozens of small things,
# which together take as long.
_LEAST = {
  'jax_persistent_cache_min_compile_time_secs': 0.0,
  'jax_persistent_cache_min_entry_size_bytes': 0,
}


def prepare() -> None:
  """Set jax's compile cache, and check that jax compiles at all.

  Raises:
    UserError: jax is told not to compile, or to keep what it compiles in a
      directory whose name cannot be understood.
  """
  # Imported late, as all that loads jax is.
  import jax

  settings: Any = jax.config
  if settings.jax_disable_jit:
    raise UserError(
      'JAX_DISABLE_JIT is set, but commands run compiled steps alone: unset '
      'it; the functions of the library can be called without jit')
  if _VARIABLE in os.environ or settings.jax_compilation_cache_dir:
    given = settings.jax_compilation_cache_dir or ''
    if given.startswith('~'):
      jax.config.update(
        'jax_compilation_cache_dir', paths.expand(given, _VARIABLE))
    return
  folder = cache_folder()
  if folder is None:
    return
  jax.config.update('jax_compilation_cache_dir', str(folder))
  for name, value in _LEAST.items():
    if name.upper() not in os.environ:
      jax.config.update(name, value)


def cache_folder() -> pathlib.Path | None:
  """Return the directory of compiled functions, made if need be.

  Returns:
    None, and a note on stderr, where it cannot be used.
  """
  try:
    folder = _base() / 'muzero_jax'
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
      folder.mkdir(mode=0o700)
    problem = _problem(folder)
  except (OSError, UserError) as error:
    folder, problem = pathlib.Path('~/.cache/muzero_jax'), str(error)
  if not problem:
    return folder
  console.say(
    f'note: compiled functions are not kept: {problem}', sys.stderr)
  return None


def _base() -> pathlib.Path:
  """Return where caches lie; a relative XDG_CACHE_HOME counts for nothing."""
  given = paths.expand(os.environ.get('XDG_CACHE_HOME', ''), 'XDG_CACHE_HOME')
  if os.path.isabs(given):
    return pathlib.Path(given)
  return pathlib.Path(paths.expand('~/.cache', 'compile cache'))


def _problem(folder: pathlib.Path) -> str:
  """Return why a directory cannot be used, or ''.

  Raises:
    OSError: it cannot be looked at.
  """
  for path in (folder, folder.parent):
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
      return f'{path} is not a directory'
    # Root may change everything anyway, and owns /tmp.
    owners = {os.geteuid()} if path == folder else {os.geteuid(), 0}
    if found.st_uid not in owners:
      return f'{path} belongs to another user'
    is_sticky = path != folder and found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o022 and not is_sticky:
      return f'others can write to {path}: chmod go-w {path}'
  if not os.access(folder, os.W_OK | os.X_OK):
    return f'{folder} cannot be written'
  if stat.S_IMODE(folder.stat().st_mode) != 0o700:
    folder.chmod(0o700)  # Older versions made it readable for everyone.
  return ''
