"""Processes of environments: not reached by signals that are for the run.

A terminal sends Ctrl-C to the whole group of a run, and some schedulers
SIGTERM: the run then saves, for which its environments must not be gone.
Imports nothing, since each such process does.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

_OF_GROUPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds in which what a process held closes when it is killed.
_MOMENTS = 2.0


@contextlib.contextmanager
def holding_signals() -> Iterator[None]:
  """Start processes that hold back signals until they have left the group."""
  old = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_GROUPS)
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, old)


def leave_group() -> None:
  """Leave the parent's process group, and end when the parent does.

  What reached this process as one of the group is forgotten; the parent alone
  can end it by SIGTERM, as multiprocessing does.
  """
  if os.getpgrp() != os.getpid():
    os.setpgid(0, 0)
  for signum in _OF_GROUPS:
    # Ignoring a signal discards it, if it has come already.
    signal.signal(signum, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_GROUPS)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def play_environment(*arguments: Any) -> None:
  """Do what Gymnasium's own worker does, out of the parent's group."""
  leave_group()
  from gymnasium.vector import async_vector_env

  try:
    async_vector_env._async_worker(*arguments)
  except (EOFError, OSError):
    # If the parent was killed, end without a traceback. Its pipes close one
    # after another, so this one may close before the sentinel does.
    _end_with_parent(_MOMENTS)
    raise


def _end_with_parent(timeout: float | None = None) -> None:
  """Wait up to `timeout` seconds for the parent to end; if it does, end too."""
  parent = multiprocessing.parent_process()
  if parent is not None and multiprocessing.connection.wait(
      [parent.sentinel], timeout):
    os._exit(1)
