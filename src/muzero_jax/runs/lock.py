"""One trainer per run directory: an OS lock that ends with its process."""

import contextlib
import errno
import fcntl
import os
import pathlib
from collections.abc import Callable, Iterator

from muzero_jax import files
from muzero_jax.errors import RunError, UserError

LOCK_FILE = '.lock'
_HELD = (errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def hold(workdir: str | os.PathLike) -> Iterator[Callable[[], None]]:
  """Holds the lock of a run directory, which is made if need be.

  The system takes the lock back however the process ends, so the file that
  stays behind means nothing by itself.

  Yields:
    () -> None, which raises RunError once the directory is no longer there
    under this name: a moved one takes its lock along, and another run may
    have begun in its place.

  Raises:
    UserError: another process holds it, or the directory cannot be written.
  """
  path = pathlib.Path(workdir) / LOCK_FILE
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never through a link: whatever it led to would be made or locked.
    file = open(os.open(
      path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
      | os.O_NONBLOCK | os.O_CLOEXEC, 0o666), 'a', encoding='utf-8')
  except OSError as error:
    if files.is_link(path):
      raise UserError(
        f'workdir {workdir}: {LOCK_FILE} is a symbolic link, which is not '
        'written through; remove it') from None
    raise UserError(
      f'workdir {workdir} cannot be written: {error.strerror}'
    ) from None
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno not in _HELD:
        # Some network file systems have none.
        raise UserError(
          f'workdir {workdir} cannot be locked: {error.strerror}; choose one '
          'on a local disk'
        ) from None
      raise UserError(
        f'workdir {workdir} is in use: another process is training there'
      ) from None

    def check() -> None:
      try:
        is_same = os.path.samestat(
          os.stat(path, follow_symlinks=False), os.fstat(file.fileno()))
      except OSError:
        is_same = False
      if not is_same:
        raise RunError(
          f'workdir {workdir} was moved or removed while the run was training '
          'there: nothing more is written')

    yield check
