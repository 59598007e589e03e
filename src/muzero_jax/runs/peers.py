"""The processes of one run: who they are, and whether all still live.

Each process runs the same program, through `jax.distributed`, on its share of
the environments and of each batch. A collective waits for all of them, and some
would wait for ever for one that died: so each writes a beat into the shared run
directory every second, and ends, with one line, once another's is missing.

Process 0 alone owns the directory; whatever it does before the others may go on
is done before all of them `meet`.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import sys
import threading
import time
import typing
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from muzero_jax import console, files
from muzero_jax.errors import UserError

# Imported late, since commands import this before a mistake is told.
if typing.TYPE_CHECKING:
  import numpy as np

FOLDER = '.processes'
# Seconds between beats, and without one until a process counts as dead. A file
# system over a network may show a beat a few seconds late.
_BEAT, _DEAD = 1.0, 15.0
_POLL = 0.02
# Bytes of a text that processes compare.
_TEXT = 32_768
_HEADER = 36  # Of them: its length and hash.
STATUS = 1  # Of a process that ends because of another.
_RUNNING, _DONE = 'running', 'done'


class _Beat(NamedTuple):
  """What a process last said of itself."""

  number: int  # Grows with each beat.
  met: int  # How often it has come to a meeting.
  state: str  # _RUNNING, _DONE, or why it ended.


_NO_BEAT = _Beat(-1, 0, _RUNNING)


class Peers:
  """The processes of a run; this one alone, unless `joined` made it."""

  index = 0
  count = 1

  @property
  def is_first(self) -> bool:
    """Return whether this process owns the run directory."""
    return self.index == 0

  def check_same(self, what: str, text: str) -> None:
    """Check that all processes have the same text.

    Args:
      what: the text is, for the error.
      text: for example JSON; a difference is told by its first line.

    Raises:
      UserError: they have not.
    """
    del what, text

  def agree(self, *numbers: int) -> tuple[int, ...]:
    """Return the largest of each number over all processes."""
    return numbers

  def meet(self) -> None:
    """Wait until all processes have come to this line."""

  @contextlib.contextmanager
  def waiting(self) -> Iterator[None]:
    """Let the watchdog end a body that waits for others for too long."""
    yield


ALONE = Peers()


class Several(Peers):
  """Processes that share a run directory and jax's runtime."""

  def __init__(
    self, workdir: pathlib.Path, count: int, index: int, timeout: float
  ) -> None:
    """Start with nothing heard of anybody.

    Args:
      workdir: the shared run directory.
      count, index: of the processes, and of this one.
      timeout: seconds that a collective may take.
    """
    self.count, self.index = count, index
    self._folder, self._timeout = workdir / FOLDER, timeout
    self._beats, self._met, self._state = 0, 0, _RUNNING
    self._life = ''  # Name of this start, the same in all processes.
    self._lock = threading.Lock()
    self._ended = threading.Event()
    self._since: float | None = None  # When this process began to wait.
    # Others: their last beat, and when it was first seen.
    self._heard = {
      i: (_NO_BEAT, time.monotonic()) for i in range(count) if i != index}
    self._thread = threading.Thread(
      target=self._run, name='peers', daemon=True)

  def start(self) -> None:
    """Begin to beat, and to listen.

    Raises:
      UserError: the run directory cannot be written.
    """
    import numpy as np

    # A new name for this start: beats of earlier starts are ignored.
    token = np.frombuffer(secrets.token_bytes(16), np.uint8)
    with self.waiting():
      self._life = self._gather(token)[0].tobytes().hex()
    try:
      self._folder.mkdir(parents=True, exist_ok=True)
      self._beat()
    except OSError as error:
      raise UserError(
        f'workdir {self._folder.parent} cannot be written: {error.strerror}'
      ) from None
    self._thread.start()

  def check_same(self, what: str, text: str) -> None:
    import numpy as np

    data = text.encode()
    # Of a longer one the beginning is shown, and its length and hash compared.
    digest = len(data).to_bytes(4, 'little') + hashlib.sha256(data).digest()
    whole = (digest + data)[:_TEXT].ljust(_TEXT, b'\0')
    row = np.frombuffer(whole, np.uint8)
    with self.waiting():
      rows = self._gather(row)
    for index in range(self.count):
      if not np.array_equal(rows[index], rows[0]):
        raise UserError(
          f'{what}: process {index} has {_difference(rows[index], rows[0])}, '
          'and process 0 has not: start all processes with the same')

  def agree(self, *numbers: int) -> tuple[int, ...]:
    import numpy as np

    # As bytes: jax would make 32-bit integers of larger ones.
    row = np.array(numbers, np.int64).view(np.uint8)
    with self.waiting():
      rows = self._gather(row)
    return tuple(
      int(x) for x in np.ascontiguousarray(rows).view(np.int64).max(axis=0))

  def meet(self) -> None:
    with self._lock:
      self._met += 1
      met = self._met
    self._beat()
    for index in self._heard:
      while self._read(index).met < met:
        time.sleep(_POLL)

  @contextlib.contextmanager
  def waiting(self) -> Iterator[None]:
    self._since = time.monotonic()
    try:
      yield
    finally:
      self._since = None

  def check_shared(self) -> None:
    """Check that all processes see one directory.

    Raises:
      UserError: this one sees nothing of the others.
    """
    deadline = time.monotonic() + _DEAD
    while any(self._read(index) == _NO_BEAT for index in self._heard):
      if time.monotonic() > deadline:
        raise UserError(
          f'workdir {self._folder.parent}: process {self.index} does not see '
          'what the others write there: it has to be a directory that all '
          'processes share')
      time.sleep(_POLL)

  def end(self, state: str = _DONE) -> None:
    """Say how this process ends, and stop listening."""
    self._ended.set()
    self._state = state
    with contextlib.suppress(OSError):
      self._beat()

  def find_dead(self) -> str | None:
    """Return what there is to say of the first process that has ended."""
    now = time.monotonic()
    for index, (beat, since) in self._heard.items():
      if beat.state not in (_RUNNING, _DONE):
        return f'process {index} has ended: {beat.state}'
      if beat.state == _RUNNING and now - since > _DEAD:
        return (f'process {index} has not been heard of for {_DEAD:.0f} s: it '
                'is dead or cut off')
    return None

  def explain(self, error: BaseException) -> str:
    """Return why a collective failed: of a dead process, once it is known."""
    deadline = time.monotonic() + _DEAD + 2 * _BEAT
    while time.monotonic() < deadline:
      self._listen()
      if found := self.find_dead():
        return found
      time.sleep(_BEAT / 4)
    return f'a collective failed: {str(error).splitlines()[0][:200]}'

  def _gather(self, row: 'np.ndarray') -> 'np.ndarray':
    """Return the rows [processes, ...] of all."""
    import numpy as np
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(row))

  def _run(self) -> None:
    """Beat and listen until the end; what the thread does."""
    while not self._ended.wait(_BEAT):
      with contextlib.suppress(OSError):
        self._beat()
      self._listen()
      if found := self.find_dead():
        self._leave(found)
      since = self._since
      if since is not None and time.monotonic() - since > self._timeout:
        self._leave(
          f'a collective has not returned for {self._timeout:.0f} s')

  def _leave(self, why: str) -> NoReturn:
    """End this process: its main thread may wait for ever."""
    self.end(f'error: {why}')
    leave(f'error: {why}; the same commands resume the run', STATUS)

  def _beat(self) -> None:
    with self._lock:
      self._beats += 1
      data = json.dumps(
        [self._life, self._beats, self._met, self._state]).encode()
      files.write_whole(self._folder / f'{self.index}.json', data)

  def _listen(self) -> None:
    for index, (last, _) in self._heard.items():
      beat = self._read(index)
      if beat != last:
        self._heard[index] = beat, time.monotonic()

  def _read(self, index: int) -> _Beat:
    """Return the newest beat of another process."""
    try:
      found = files.read_json(self._folder / f'{index}.json')
      life, number, met, state = found
      if life != self._life:
        return _NO_BEAT
      return _Beat(int(number), int(met), str(state)[:500])
    except (OSError, ValueError, TypeError):
      return _NO_BEAT


def leave(line: str, status: int) -> NoReturn:
  """End the process with a line, without waiting for anybody.

  jax would wait for the others at the interpreter's end.
  """
  console.say(line, sys.stderr)
  console.finish()
  os._exit(status)


def _difference(row: 'np.ndarray', other: 'np.ndarray') -> str:
  """Return the first line of a text that another one has not."""
  lines, others = _lines(row), set(_lines(other))
  return next((line for line in lines if line not in others), 'fewer lines')


def _lines(row: 'np.ndarray') -> list[str]:
  size = int.from_bytes(row[:4].tobytes(), 'little')
  text = row[_HEADER:_HEADER + size].tobytes().decode('utf-8', 'replace')
  return [line.strip(' ,') for line in text.splitlines()]
