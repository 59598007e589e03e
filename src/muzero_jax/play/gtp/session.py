"""Lines of the Go Text Protocol, from one stream to another.

Whatever comes in, each command gets one answer, and nothing else goes out.
"""

import collections
import concurrent.futures
import re
import threading
from typing import BinaryIO

from muzero_jax.play.gtp import engine as gtp_engine
from muzero_jax.play.gtp.arguments import Refusal

# Bytes of a line; a longer one is answered with an error, and never kept.
LONGEST_LINE = 1 << 14
_NUMBER = re.compile(r'[0-9]{1,20}', re.ASCII)
# GTP: tabs count as spaces, and other control characters are dropped.
_CONTROLS = {i: None for i in (*range(32), 127)} | {9: ord(' ')}


class Inbox:
  """Lines of input, read by a thread while a search goes on."""

  def __init__(self, stream: BinaryIO) -> None:
    """Begin to read; the thread ends with the stream."""
    self._stream = stream
    self._lines: collections.deque[bytes] = collections.deque()
    self._has_ended = False
    self._changed = threading.Condition()
    threading.Thread(target=self._read, name='input', daemon=True).start()

  def next(self) -> bytes | None:
    """Return the next line; None at the end of the input."""
    with self._changed:
      self._changed.wait_for(lambda: self._lines or self._has_ended)
      return self._lines.popleft() if self._lines else None

  def wait(self, future: concurrent.futures.Future | None) -> bool:
    """Wait for a result; return False if input comes first.

    Args:
      future: None to wait for input alone.
    """
    if future is not None:
      future.add_done_callback(self._notify)
    with self._changed:
      self._changed.wait_for(lambda: (
        self._lines or self._has_ended
        or future is not None and future.done()))
      return not self._lines and not self._has_ended

  def _notify(self, future: concurrent.futures.Future) -> None:
    del future
    with self._changed:
      self._changed.notify_all()

  def _read(self) -> None:
    is_whole = True  # False while the rest of a long line goes by.
    while True:
      try:
        line = self._stream.readline(LONGEST_LINE + 1)
      except (OSError, ValueError):  # ValueError: it was closed.
        line = b''
      with self._changed:
        # Nothing but what is a command interrupts.
        if line and is_whole and _words(line):
          self._lines.append(line)
        self._has_ended = not line
        self._changed.notify_all()
      if not line:
        return
      is_whole = line.endswith(b'\n')


class _Channel:
  """Where one answer goes; its head is written with the first line."""

  def __init__(self, number: str, inbox: Inbox, stream: BinaryIO) -> None:
    self.wait = inbox.wait
    self._number, self._stream = number, stream
    self._is_open = False

  def open(self) -> None:
    """Write that the command was understood."""
    if not self._is_open:
      self._is_open = True
      self._write(f'={self._number} \n')

  def emit(self, text: str) -> None:
    """Write a line."""
    self.open()
    self._write(f'{text}\n')

  def close(self, text: str) -> None:
    """Write the rest of the answer."""
    if not self._is_open:
      self._write(f'={self._number} {text}\n\n')
    else:
      self._write(f'{text}\n\n' if text else '\n')

  def refuse(self, words: str) -> None:
    """Write that there is no answer."""
    self._write(f'?{self._number} {words}\n\n')

  def _write(self, text: str) -> None:
    self._stream.write(text.encode())
    self._stream.flush()


def serve(
  engine: gtp_engine.Engine, source: BinaryIO, target: BinaryIO
) -> None:
  """Answer commands until `quit`, the end of input, or nobody listens.

  Args:
    engine: that answers.
    source: of the commands.
    target: of the answers.
  """
  inbox = Inbox(source)
  try:
    while not engine.has_quit and (line := inbox.next()) is not None:
      _answer(engine, line, inbox, target)
  except BrokenPipeError:
    pass  # Whoever asked has gone, as at the end of the input.


def _answer(
  engine: gtp_engine.Engine, line: bytes, inbox: Inbox, target: BinaryIO
) -> None:
  """Write the answer to a line, which is a command."""
  words = _words(line)
  number = words.pop(0) if _NUMBER.fullmatch(words[0]) else ''
  channel = _Channel(number, inbox, target)
  try:
    if len(line) > LONGEST_LINE:
      raise Refusal(f'a line has at most {LONGEST_LINE} bytes')
    if not words:
      raise Refusal('unknown command')
    channel.close(engine.run(words[0].lower(), words[1:], channel))
  except Refusal as refusal:
    channel.refuse(str(refusal))


def _words(line: bytes) -> list[str]:
  """Return the words of a line, without its comment."""
  text = line.decode(errors='replace').translate(_CONTROLS)
  return text.partition('#')[0].split()
