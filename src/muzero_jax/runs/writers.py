"""Where metrics go besides metrics.jsonl: TensorBoard, W&B, one's own."""

import functools
import os
import pathlib
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from muzero_jax import files

# Rows that may wait for a writer, and seconds that one row may take it.
_MOST_WAITING = 1000
_PATIENCE = 60.0
_PATIENCE_TO_CLOSE = 5.0
_FLUSH_PERIOD = 10.0  # Seconds between events that are safely on disk.


class Writer(Protocol):
  """Gets each row of metrics as it is recorded.

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


class WeightsAndBiases:
  """Writes to Weights & Biases, by wandb.

  Project, mode and the rest are said by wandb's own variables, such as
  WANDB_PROJECT and WANDB_MODE. Where no mode is said and nobody can be logged
  in, it is offline: what `wandb sync` sends later lies in the run directory.
  """

  def __init__(self, workdir: str | os.PathLike, start_step: int = 0) -> None:
    """Take the run directory; wandb itself starts with the first row.

    That may take long, and belongs into the writer's own thread.

    Args:
      workdir: of the run; the name that wandb knows it by is kept there, so
        that a run that is resumed is one run there too.
      start_step: not needed: a row has its own step, and wandb shows rows that
        are repeated.

    Raises:
      ImportError: wandb is not installed.
    """
    del start_step
    import wandb

    self._wandb: Any = wandb
    self._workdir = pathlib.Path(workdir)
    self._run: Any = None

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Record numbers by name."""
    if self._run is None:
      self._run = self._start()
    self._run.log({'step': step, **metrics})

  def close(self) -> None:
    """Finish the run there."""
    if self._run is not None:
      self._run.finish()

  def _start(self) -> Any:
    """Return a run of wandb, new or gone on with."""
    path = self._workdir / 'config.json'
    config = files.read_json(path) if path.exists() else {}
    run = self._wandb.init(
      project=os.environ.get('WANDB_PROJECT', 'muzero_jax'),
      name=os.environ.get('WANDB_NAME', self._workdir.absolute().name),
      id=self._id(), resume='allow', dir=str(self._workdir), config=config,
      mode=os.environ.get('WANDB_MODE') or (
        'online' if self._is_logged_in() else 'offline'),
      settings=self._wandb.Settings(silent=True, console='off'))
    # A row may be of a step that was written before the run was resumed.
    run.define_metric('*', step_metric='step')
    return run

  def _is_logged_in(self) -> bool:
    try:
      return bool(self._wandb.login(prompt=False))
    except Exception:  # noqa: B902 - of the network, or a key that is refused.
      return False

  def _id(self) -> str:
    """Return the run's name in wandb's storage, the same in each life."""
    path = self._workdir / WANDB_FILE
    try:
      return str(files.read_json(path)['id'])
    except (OSError, ValueError, KeyError, TypeError):
      name = secrets.token_hex(8)
      files.write_json(path, dict(id=name))
      return name


class Named(NamedTuple):
  """A writer that comes with the library."""

  what: str  # That is missing without it.
  package: str
  extra: str
  make: Callable[[pathlib.Path, int], Writer]  # Of run directory and step.


WANDB_FILE = 'wandb.json'
NAMED = {
  'tensorboard': Named(
    'TensorBoard events', 'tensorboardX', 'viz',
    lambda workdir, step: TensorBoard(workdir / 'tensorboard', step)),
  'wandb': Named('Weights & Biases', 'wandb', 'wandb', WeightsAndBiases),
}
