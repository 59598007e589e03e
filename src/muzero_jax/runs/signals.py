"""SIGTERM and Ctrl-C as a request to stop: what can be saved is saved first."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class StoppedError(Exception):
  """A signal ended the run; all that can be saved is saved."""


class Stop:
  """Ends the run on SIGTERM or Ctrl-C."""

  signum: int = 0
  # True while there is something to save first: who sets it looks at signum.
  deferred: bool = False

  def __call__(self, signum: int, frame: Any) -> None:
    self.signum = signum
    # The second one ends the process at once.
    signal.signal(signum, signal.SIG_DFL)
    if not self.deferred:
      raise StoppedError

  def check(self) -> None:
    """Raise StoppedError if a signal has come."""
    if self.signum:
      raise StoppedError


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
  """Turn SIGTERM and Ctrl-C into a request to stop."""
  stop = Stop()
  try:
    old = {
      s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)
    }
  except ValueError:  # Not the main thread, as in some notebooks.
    old = {}
  try:
    yield stop
  finally:
    for signum, handler in old.items():
      signal.signal(signum, handler)
