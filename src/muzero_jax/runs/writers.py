"""Where metrics go besides metrics.jsonl: TensorBoard, or one's own writer."""

import functools
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

# Rows that may wait for a writer, and seconds that one row may take it.
_MOST_WAITING = 1000
_PATIENCE = 60.0
_PATIENCE_TO_CLOSE = 5.0
_FLUSH_PERIOD = 10.0  # Seconds between events that are safely on disk.


class Writer(Protocol):
  """Gets each row of metrics as it is recorded, for example for W&B.

  It is called from a thread of its own. A writer that raises or blocks is
  reported once and gets no more rows; it never stops or delays a run.
  """

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Record numbers by name, at an environment step (offline, update)."""

  def close(self) -> None:
    """Finish; no more comes."""


class HandOver:
  """Hands rows to a writer in a thread of its own, and waits for nothing."""

  def __init__(
    self,
    writer: Writer,
    *,
    patience: float = _PATIENCE,
    patience_to_close: float = _PATIENCE_TO_CLOSE,
  ) -> None:
    """Start the thread.

    Args:
      writer: gets all rows.
      patience: seconds that one call of the writer may take.
      patience_to_close: seconds that closing may take, waiting rows included.
    """
    self.name = type(writer).__name__
    self._writer = writer
    self._patience, self._patience_to_close = patience, patience_to_close
    self._rows: queue.Queue[Any] = queue.Queue(_MOST_WAITING)
    self._error: Exception | None = None
    self._busy_since: float | None = None
    self._thread = threading.Thread(
      target=self._serve, name=f'writer {self.name}', daemon=True)
    self._thread.start()

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Hand over a row.

    Raises:
      TimeoutError: the writer is blocked.
      Exception: whatever it raised on an earlier row.
    """
    self._raise_error()
    since = self._busy_since
    if since is not None and time.monotonic() - since > self._patience:
      raise TimeoutError(f'a row was not taken within {self._patience:g} s')
    try:
      self._rows.put_nowait((step, metrics))
    except queue.Full:
      raise TimeoutError(f'{_MOST_WAITING} rows are waiting') from None

  def close(self) -> None:
    """Close the writer, once it has the rows that wait.

    Raises:
      TimeoutError: it takes too long, and is left behind.
      Exception: whatever it raised.
    """
    if self._thread.is_alive():
      try:
        self._rows.put_nowait(None)
        self._thread.join(self._patience_to_close)
      except queue.Full:
        pass
    self._raise_error()
    if self._thread.is_alive():
      raise TimeoutError(f'not closed within {self._patience_to_close:g} s')

  def _raise_error(self) -> None:
    error, self._error = self._error, None
    if error is not None:
      raise error

  def _serve(self) -> None:
    """Call the writer until it is closed or raises; what the thread does."""
    try:
      while (row := self._rows.get()) is not None:
        self._call(functools.partial(self._writer.write, *row))
      self._call(self._writer.close)
    except Exception as error:  # noqa: B902 - `write` or `close` raises it.
      self._error = error

  def _call(self, act: Callable[[], Any]) -> None:
    self._busy_since = time.monotonic()
    try:
      act()
    finally:
      self._busy_since = None


class TensorBoard:
  """Writes TensorBoard events, by tensorboardX."""

  def __init__(self, folder: str | os.PathLike, start_step: int = 0) -> None:
    """Open a file of events.

    Not by tensorboardX's SummaryWriter: the thread that it writes in dies of a
    full disk, and its caller then waits for that thread for ever.

    Args:
      folder: made if need be.
      start_step: events beyond it are of a life that is repeated: TensorBoard
        hides them.

    Raises:
      ImportError: tensorboardX is not installed.
      OSError: the folder cannot be written.
    """
    from tensorboardX import event_file_writer
    from tensorboardX.proto import event_pb2

    self._make_event = event_pb2.Event
    os.makedirs(folder, exist_ok=True)
    self._file = event_file_writer.EventsWriter(
      os.path.join(folder, 'events'), filename_suffix=f'.{os.getpid()}')
    self._flushed_at = 0.0
    if start_step:
      start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      self._put(start_step + 1, session_log=start)
    self._flush()

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Record numbers by name."""
    from tensorboardX import summary

    for name, value in metrics.items():
      self._put(step, summary=summary.scalar(name, value))
    if time.monotonic() - self._flushed_at > _FLUSH_PERIOD:
      self._flush()

  def close(self) -> None:
    """Flush and close the file."""
    self._file.close()

  def _flush(self) -> None:
    self._file.flush()
    self._flushed_at = time.monotonic()

  def _put(self, step: int, **content: Any) -> None:
    self._file.write_event(
      self._make_event(wall_time=time.time(), step=step, **content))
