"""Lines to the terminal, a file or a pipe, whatever has become of it.

Progress goes on without whoever read it; what a command was asked for must
arrive, or the command fails.
"""

import contextlib
import os
import sys
from typing import TextIO

from muzero_jax.errors import RunError

_CLOSED_PIPE = 141  # What a shell shows of a program that SIGPIPE ended.


def say(text: str, stream: TextIO | None = None, end: str = '\n') -> bool:
  """Write a line at once, if it can be; return whether it was.

  Characters that the stream has no code for become escapes.

  Args:
    text: of the line.
    stream: standard output by default.
    end: what follows the text.
  """
  stream = sys.stdout if stream is None else stream
  if stream is None:  # It was closed before Python started.
    return False
  try:
    _write(text + end, stream)
  except BrokenPipeError:
    _mute(stream)
    return False
  except (OSError, ValueError):  # ValueError: it was closed.
    return False
  return True


def answer(text: str) -> None:
  """Write what a command was asked for to standard output.

  Raises:
    RunError: it cannot be written.
    SystemExit: nobody reads it any more, as of `| head`.
  """
  try:
    _write(text + '\n', sys.stdout)
  except BrokenPipeError:
    _mute(sys.stdout)
    raise SystemExit(_CLOSED_PIPE) from None
  except OSError as error:
    _mute(sys.stdout)
    raise RunError(
      f'standard output cannot be written: {error.strerror}') from None


def finish() -> None:
  """Flush what is left, so that the interpreter's end finds nothing to do."""
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except (OSError, ValueError, AttributeError):
      _mute(stream)


def _write(text: str, stream: TextIO) -> None:
  try:
    stream.write(text)
  except UnicodeEncodeError:
    code = stream.encoding or 'ascii'
    stream.write(text.encode(code, 'backslashreplace').decode(code))
  stream.flush()


def _mute(stream: TextIO) -> None:
  """Let a broken stream end in nothing: what it holds goes there too."""
  with contextlib.suppress(OSError, ValueError, AttributeError):
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
    stream.flush()
