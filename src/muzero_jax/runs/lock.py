"""One trainer per run directory: an OS lock that ends with its process."""

import contextlib
import errno
import fcntl
import os
import pathlib
from collections.abc import Iterator

from muzero_jax.errors import UserError

LOCK_FILE = '.lock'
_HELD = (errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def hold(workdir: str | os.PathLike) -> Iterator[None]:
  """Holds the lock of a run directory, which is made if need be.

  The system takes the lock back however the process ends, so the file that
  stays behind means nothing by itself.

  Raises:
    UserError: another process holds it, or the directory cannot be written.
  """
  path = pathlib.Path(workdir) / LOCK_FILE
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, 'a', encoding='utf-8')
  except OSError as error:
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
    yield
