"""Checkpoints that are written while training goes on.

The state is copied to the host, which is all that training waits for; a thread
writes it, reads it back and compares. One save is on its way at most. Only
what is safe is reported as saved, and by the main thread.
"""

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from muzero_jax import files
from muzero_jax.drivers import memory_check
from muzero_jax.errors import RunError
from muzero_jax.runs import checkpoint, leaves, record

# The copy, and what is read back of it.
_SHARE = 2


class _Saving(NamedTuple):
  """A save on its way."""

  step: int
  thread: threading.Thread
  start: float
  blocked: float  # Seconds that training waited for the copy.
  failure: list[Exception]  # Empty while all is well.


class Saver:
  """Saves the checkpoints of one run; use it as a context."""

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    max_to_keep: int | None = 2,
    facts: Mapping[str, Any] | None = None,
    note: Callable[[str], Any] = print,
    check: Callable[[], None] = lambda: None,
    free_bytes: Callable[[], int | None] = memory_check.free_host_bytes,
  ) -> None:
    """Start with nothing on its way.

    Args:
      workdir: the run directory.
      max_to_keep, facts: as `checkpoint.save` takes them.
      note: called in the main thread with a line for each checkpoint.
      check: called before each save; raises RunError where none may be written.
      free_bytes: () -> memory of the host; None where it is not known.
    """
    self._workdir, self._keep, self._facts = workdir, max_to_keep, facts
    self._note, self._check, self._free_bytes = note, check, free_bytes
    self._saving: _Saving | None = None
    self.seconds_blocked = 0.0  # That training has waited, in all.

  def __enter__(self) -> 'Saver':
    return self

  def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
    """Wait for the save on its way, which may still fail."""
    try:
      self.finish()
    except RunError as failure:
      if error is None:
        raise
      self._note(str(failure))

  def save(self, step: int, state: Any, *, wait: bool = False) -> None:
    """Save a state, in the background if memory allows.

    Args:
      step: number of the checkpoint.
      state: as `checkpoint.save` takes it; it may be donated afterwards.
      wait: True to return once it is safe.

    Raises:
      RunError: this save, or the one before it, cannot be written.
    """
    start = time.monotonic()
    self.finish()
    waits = wait or not self._fits(state)
    try:
      host = leaves.to_host(state, own=not waits)
    except MemoryError:
      waits, host = True, leaves.to_host(state)
    failure: list[Exception] = []
    thread = threading.Thread(
      target=self._write, args=(step, host, failure), name=f'save {step}')
    if waits:
      self._write(step, host, failure)
    else:
      thread.start()
    blocked = time.monotonic() - start
    self._saving = _Saving(step, thread, start, blocked, failure)
    if waits:
      self.finish()
    else:
      self.seconds_blocked += blocked

  def poll(self) -> None:
    """Report the save on its way, if it has ended.

    Raises:
      RunError: it cannot be written.
    """
    if self._saving and not self._saving.thread.is_alive():
      self.finish()

  def finish(self) -> None:
    """Wait for the save on its way, if there is one, and report it.

    Raises:
      RunError: it cannot be written.
    """
    if not self._saving:
      return
    saving, waited = self._saving, time.monotonic()
    if saving.thread.ident is not None:
      saving.thread.join()
      blocked = saving.blocked + time.monotonic() - waited
      self.seconds_blocked += time.monotonic() - waited
    else:
      blocked = waited - saving.start
      self.seconds_blocked += blocked
    self._saving = None
    if saving.failure:
      [error] = saving.failure
      with files.writing(f'step {saving.step}: the checkpoint'):
        raise error
    self._note(
      f'saved the checkpoint of step {saving.step:,} in '
      f'{time.monotonic() - saving.start:.1f} s, of which training waited '
      f'{blocked:.1f} s')

  def _write(self, step: int, host: Any, failure: list[Exception]) -> None:
    """Write, read back and note one checkpoint; what a thread does."""
    try:
      self._check()
      checkpoint.save(
        self._workdir, step, host, max_to_keep=self._keep, facts=self._facts)
      record.note_saved(self._workdir, step)
    except Exception as error:  # noqa: B902 - the main thread raises it.
      failure.append(error)
    _trim_memory()

  def _fits(self, state: Any) -> bool:
    free = self._free_bytes()
    return free is not None and free >= _SHARE * leaves.num_bytes(state)


def _trim_memory() -> None:
  """Give the system back what the C library keeps of memory that was freed.

  TensorStore writes in threads of its own, and each of them keeps a reserve.
  A process that saved 3 MB 160 times held 95 MB with this, 101 MB without.
  """
  # Only glibc has it.
  with contextlib.suppress(AttributeError, OSError):
    ctypes.CDLL(None).malloc_trim(0)
