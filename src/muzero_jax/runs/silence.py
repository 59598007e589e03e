"""What processes other than the first have in place of progress: nothing."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Silence:
  """Takes all that `progress.Progress` takes, and prints and writes nothing."""

  def __enter__(self) -> 'Silence':
    return self

  def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
    """Do nothing."""

  def note(self, text: str) -> None:
    """Print nothing."""

  def header(self, config: Any, notes: Sequence[str] = ()) -> None:
    """Print nothing."""

  @contextlib.contextmanager
  def timed(self, what: str = '') -> Iterator[None]:
    """Print nothing."""
    yield

  def add_episodes(self, num_episodes: int, return_sum: float) -> None:
    """Count nothing."""

  def warn_if_endless(self, steps: int, limit: int) -> None:
    """Warn of nothing."""

  def show(self, step: int) -> None:
    """Show nothing."""

  def due(self) -> bool:
    """Return False: no line is ever due."""
    return False

  def log(
    self, counts: Any, metrics: Mapping[str, Any], *, force: bool = False
  ) -> bool:
    """Print and record nothing."""
    return False
