"""What a run shows on a terminal: a bar, and lines above it.

Where output goes to a file or a pipe, `progress` prints plain lines instead.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import (
  BarColumn,
  Progress,
  SpinnerColumn,
  TextColumn,
  TimeElapsedColumn,
)
from rich.table import Column

from muzero_jax import console

_BETWEEN = 0.2  # Seconds between two pictures of the bar.


def is_terminal(stream: TextIO | None) -> bool:
  """Return whether lines go to a terminal that can move its cursor."""
  stream = sys.stdout if stream is None else stream
  try:
    return bool(stream is not None and stream.isatty()) and not Console(
      file=stream).is_dumb_terminal
  except (OSError, ValueError):  # It is closed.
    return False


class Bar:
  """The last line of a terminal: how far a run has come."""

  def __init__(
    self,
    stream: TextIO | None,
    *,
    total: int,
    clock: Callable[[], float] = time.monotonic,
  ) -> None:
    """Show nothing yet.

    Args:
      stream: a terminal; standard output by default.
      total: steps at which the bar is full.
      clock: seconds.
    """
    self._stream, self._total, self._clock = stream, total, clock
    self._console = Console(
      file=stream or sys.stdout, highlight=False, markup=False, emoji=False)
    self._shown: Progress | None = None
    self._drawn = -float('inf')
    self._step = 0

  def note(self, text: str) -> None:
    """Print a line above the bar."""
    if self._shown is None:
      console.say(text, self._stream)
    else:
      self._draw(lambda: self._console.print(text, soft_wrap=True))

  def show(self, step: int, text: str | None = None) -> None:
    """Move the bar, at most five times a second.

    Args:
      step: that was reached.
      text: behind the bar from now on; None for what stood there.
    """
    self._step = step
    if text is None and self._clock() - self._drawn < _BETWEEN:
      return
    self._drawn = self._clock()
    if self._shown is None:
      self._shown = Progress(
        BarColumn(bar_width=10), TextColumn(
          '{task.description}', markup=False,
          table_column=Column(no_wrap=True, overflow='ellipsis')),
        console=self._console, auto_refresh=False, redirect_stdout=False,
        redirect_stderr=False)
      self._shown.add_task(f'{step:,}/{self._total:,}', total=self._total)
      self._draw(self._shown.start)
    shown = self._shown

    def update() -> None:
      task = shown.task_ids[0]
      shown.update(task, completed=min(step, self._total))
      if text is not None:
        shown.update(task, description=text)
      shown.refresh()

    self._draw(update)

  @contextlib.contextmanager
  def working(self, what: str) -> Iterator[None]:
    """Show how long the body takes, while it runs."""
    self.stop()
    shown = Progress(
      SpinnerColumn(), TextColumn('{task.description}', markup=False),
      TimeElapsedColumn(), console=self._console, transient=True,
      redirect_stdout=False, redirect_stderr=False)
    shown.add_task(what, total=None)
    self._draw(shown.start)
    try:
      yield
    finally:
      self._draw(shown.stop)

  def stop(self) -> None:
    """Leave the bar as it is; what follows stands below it."""
    if self._shown is not None:
      self._draw(self._shown.stop)
      self._shown, self._drawn = None, -float('inf')

  def _draw(self, act: Callable[[], object]) -> None:
    """Draw, as long as there is a terminal: a run does not end with it."""
    with contextlib.suppress(OSError, ValueError):
      act()
