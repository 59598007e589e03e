"""A client of the Go Text Protocol, version 2: one engine, one process.

Whatever an engine does wrong is an EngineError, within the time that a command
may take; only a caller can know what that means for a game.
"""

import contextlib
import os
import pathlib
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from muzero_jax.errors import RunError, UserError

RESIGN = -1  # What `to_action` makes of "resign".
_COLUMNS = 'ABCDEFGHJKLMNOPQRSTUVWXYZ'  # GTP has no letter I.
_MAX_RESPONSE = 1 << 16  # Bytes; the longest that is asked for is a few dozen.
# Debian puts games where the PATH of a service or of root does not look.
_MORE_PLACES = ('/usr/games', '/usr/local/games')


class EngineError(RunError):
  """An engine is missing, died, timed out, refused or answered rubbish."""


class NotInstalledError(EngineError):
  """There is no such program here."""


class Engine:
  """A running engine."""

  def __init__(
    self, command: Sequence[str], *, timeout: float = 60.0
  ) -> None:
    """Starts an engine.

    Args:
      command: program and arguments, as `find` returns the program.
      timeout: seconds that a command may take.

    Raises:
      EngineError: it cannot be started.
    """
    self.name = pathlib.Path(command[0]).name
    self._timeout = timeout
    self._count = 0
    self._buffer = b''
    try:
      self._process = subprocess.Popen(
        list(command), bufsize=0, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        # Ctrl-C is for whoever plays; engines end when their input does.
        start_new_session=True)
    except OSError as error:
      raise EngineError(
        f'{self.name} cannot be started: {error.strerror}') from None

  def __enter__(self) -> 'Engine':
    return self

  def __exit__(self, *exception: Any) -> None:
    self.close()

  def send(self, command: str) -> str:
    """Returns what the engine answers to a command, without "=".

    Raises:
      EngineError: it refused (the answer was "?"), and can be asked again; or
        it died, took too long or answered what is not GTP, and cannot.
    """
    self._count += 1
    what = f'{self.name} at {command!r}'
    deadline = time.monotonic() + self._timeout
    assert self._process.stdin is not None
    try:
      self._process.stdin.write(f'{self._count} {command}\n'.encode())
    except OSError:
      raise EngineError(f'{what}: {self._ending()}') from None
    response = self._read(deadline, what)
    status, _, text = response.partition(' ')
    if status not in (f'={self._count}', f'?{self._count}'):
      raise EngineError(f'{what}: answered {response[:60]!r}, not GTP')
    if status[0] == '?':
      raise EngineError(f'{what}: refused: {text[:60].strip()}')
    return text.strip()

  def close(self) -> None:
    """Ends the process, whatever it is doing."""
    self._process.kill()
    for pipe in (self._process.stdin, self._process.stdout):
      assert pipe is not None
      with contextlib.suppress(OSError):
        pipe.close()
    self._process.wait()

  def _read(self, deadline: float, what: str) -> str:
    """Returns one response, which ends with an empty line."""
    assert self._process.stdout is not None
    pipe = self._process.stdout.fileno()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while b'\n\n' not in self._buffer:
      left = deadline - time.monotonic()
      if left <= 0 or not poll.poll(1000 * left):
        raise EngineError(
          f'{what}: no answer within {self._timeout:g} s'
          + (f', only {self._buffer[:60]!r}' if self._buffer else ''))
      data = os.read(pipe, 4096)
      if not data:
        raise EngineError(f'{what}: {self._ending()}')
      # GTP tells clients to drop carriage returns, and leading empty lines
      # belong to nothing.
      self._buffer = (self._buffer + data.replace(b'\r', b'')).lstrip(b'\n')
      if len(self._buffer) > _MAX_RESPONSE:
        raise EngineError(
          f'{what}: answered over {_MAX_RESPONSE} bytes without an end')
    response, _, self._buffer = self._buffer.partition(b'\n\n')
    return response.decode(errors='replace')

  def _ending(self) -> str:
    """Returns how the process ended, in words."""
    try:
      return f'died with status {self._process.wait(timeout=1)}'
    except subprocess.TimeoutExpired:
      return 'closed its output'


def find(program: str) -> str:
  """Returns the path of an engine by name.

  Raises:
    NotInstalledError: it is neither on PATH nor where games are installed.
  """
  # An empty entry would be the working directory, where anything may lie.
  places = [x for x in os.environ.get('PATH', '').split(os.pathsep) if x]
  path = shutil.which(program, path=os.pathsep.join([*places, *_MORE_PLACES]))
  if path is None:
    raise NotInstalledError(
      f'{program} is not installed: it is neither on PATH nor in '
      f'{", ".join(_MORE_PLACES)}')
  return path


def to_vertex(action: int, size: int) -> str:
  """Returns an action as GTP spells it: "A9" is the first, "pass" the last.

  Args:
    action: row * size + column from the top left corner; size^2 passes.
    size: of the board, at most 25.

  Raises:
    UserError: no such action.
  """
  if not 0 <= action <= size * size:
    raise UserError(f'action = {action}: must be from 0 to {size * size}')
  if action == size * size:
    return 'pass'
  row, column = divmod(action, size)
  return f'{_COLUMNS[column]}{size - row}'


def to_action(vertex: str, size: int) -> int:
  """Returns the action that an engine names, or RESIGN.

  Raises:
    EngineError: it is no move on a board of that size.
  """
  word = vertex.strip().upper()
  if word == 'PASS':
    return size * size
  if word == 'RESIGN':
    return RESIGN
  letter, number = word[:1], word[1:]
  if number.isascii() and number.isdecimal() and len(number) <= 2:
    column, row = _COLUMNS[:size].find(letter), size - int(number)
    if column >= 0 and 0 <= row < size:
      return row * size + column
  raise EngineError(f'{vertex[:20]!r} is no move on a board of {size}x{size}')
