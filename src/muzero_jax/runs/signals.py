"""SIGTERM, Ctrl-C and a closed terminal as a request to stop.

No handler raises, since it would do so wherever Python happens to be, inside
jax too: a signal is noted, and the run looks at it between its phases. Where
the run waits for something that cannot be interrupted, as a compilation, a
thread ends the process after a while, but never while there is anything to
save.
"""

import atexit
import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from muzero_jax import console
from muzero_jax.errors import StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds in which signals are the same request: `timeout`, a closing terminal
# and service managers send two at a time.
SAME_REQUEST = 0.25
# Seconds after a signal in which a process that has nothing to save must end.
LONGEST_WAIT = 25.0


class Stop:
  """Whether the run was asked to stop, by which signal."""

  signum: int = 0
  # Whether all processes of a run have taken the decision to stop.
  is_agreed: bool = False

  def __init__(self, longest_wait: float | None = None) -> None:
    """Take how long a phase without anything to save may go on.

    Args:
      longest_wait: seconds after a signal; None for ever, where the process is
        not the run's alone.
    """
    self._longest_wait = longest_wait
    self._lock = threading.Lock()
    self._num_kept = 0
    self._since = 0.0  # When the process was last kept.

  def __call__(self, signum: int, frame: Any) -> None:
    """Note a signal; what Python calls."""
    self.signum = self.signum or signum

  def is_requested(self) -> bool:
    """Return whether a signal has come."""
    return bool(self.signum)

  def check(self) -> None:
    """Raise StoppedError if a signal has come."""
    if self.signum:
      raise StoppedError(signal.Signals(self.signum).name)

  def end(self, *, restart: bool = False) -> int:
    """Say what stopped the run; return the exit status.

    Args:
      restart: whether the run was asked to start anew.
    """
    name = signal.Signals(self.signum).name
    without = ' without --restart' if restart else ''
    console.say(f'stopped by {name}; the same command{without} resumes the run')
    return 128 + self.signum

  @contextlib.contextmanager
  def keeping(self) -> Iterator[None]:
    """Keep the process: the body holds, or writes, what is to be saved.

    For threads that write in the background too.
    """
    with self._lock:
      self._num_kept += 1
    try:
      yield
    finally:
      with self._lock:
        self._num_kept -= 1
        self._since = time.monotonic()

  def watch(self, wakeups: int) -> None:
    """End the process at a second request, or when the first takes too long.

    Runs in a thread of its own: the main one may be inside a compilation,
    where Python calls no handler.

    Args:
      wakeups: where Python writes each signal's number; the end of it, or a
        0, ends this.
    """
    asked_at: float | None = None
    while True:
      ready, _, _ = select.select([wakeups], [], [], 1.0)
      now = time.monotonic()
      received = os.read(wakeups, 64) if ready else None
      if received is not None and (not received or 0 in received):
        return
      numbers = [s for s in received or b'' if s in SIGNALS]
      if numbers and asked_at is None:
        asked_at = now
        self(numbers[0], None)
      elif numbers and asked_at is not None and now - asked_at > SAME_REQUEST:
        self._leave('a second signal')
      if asked_at is not None and self._is_too_long(now, asked_at):
        # Taken and never given back: nothing begins to be written.
        with self._lock:
          if not self._num_kept:
            self._leave('nothing was left to save')

  def _is_too_long(self, now: float, asked_at: float) -> bool:
    if self._longest_wait is None or self._num_kept:
      return False
    return now - max(asked_at, self._since) > self._longest_wait

  def _leave(self, why: str) -> None:
    """End the process at once; older checkpoints are whole, as ever."""
    name = signal.Signals(self.signum).name
    with contextlib.suppress(OSError):
      os.write(2, f'\nstopped at once by {name}: {why}\n'.encode())
    os._exit(128 + self.signum)


_active: Stop | None = None


@contextlib.contextmanager
def stop_on_signals(longest_wait: float | None = None) -> Iterator[Stop]:
  """Turn SIGTERM, SIGINT and SIGHUP into a request to stop.

  Within another such context it is the same request. A signal that is ignored,
  as SIGHUP under nohup, stays so. In threads other than the main one, where
  Python allows no handlers, nothing changes.

  Args:
    longest_wait: seconds after a signal that phases without anything to save
      may go on before the process ends; None for as long as they take.
  """
  global _active
  if _active is not None:
    yield _active
    return
  stop = Stop(longest_wait)
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return
  _active = stop
  try:
    with _handling(stop):
      yield stop
  finally:
    _active = None


@contextlib.contextmanager
def as_a_command() -> Iterator[Stop]:
  """Do the same in a process that does nothing but train.

  After a signal it ends by itself if there is nothing to save and the current
  phase takes too long. Ctrl-C raises no exception, also while the process ends.
  """
  with stop_on_signals(LONGEST_WAIT) as stop:
    if threading.current_thread() is threading.main_thread():
      atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
    yield stop


@contextlib.contextmanager
def _handling(stop: Stop) -> Iterator[None]:
  """Let `stop` note all signals, and its thread watch them."""
  receiving, sending = os.pipe()
  os.set_blocking(sending, False)
  thread = threading.Thread(
    target=stop.watch, args=(receiving,), name='signals', daemon=True)
  old_wakeup = signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
  old = {
    s: signal.signal(s, stop) for s in SIGNALS
    if signal.getsignal(s) not in (signal.SIG_IGN, None)
  }
  thread.start()
  try:
    yield
  finally:
    for signum, handler in old.items():
      signal.signal(signum, handler)
    signal.set_wakeup_fd(old_wakeup)
    # A process that was forked meanwhile may hold this end open too.
    with contextlib.suppress(OSError):
      os.write(sending, b'\0')
    os.close(sending)
    thread.join()
    os.close(receiving)


@contextlib.contextmanager
def end_at_interrupts() -> Iterator[None]:
  """Let Ctrl-C end the process, for commands that have nothing to save.

  A KeyboardInterrupt would be raised inside jax, which swallows some.
  """
  is_main = threading.current_thread() is threading.main_thread()
  if not is_main or signal.getsignal(signal.SIGINT) is not (
      signal.default_int_handler):
    yield
    return
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, signal.default_int_handler)
