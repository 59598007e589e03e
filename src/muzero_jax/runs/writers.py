"""Where metrics go besides metrics.jsonl: TensorBoard, or one's own writer."""

import os
from collections.abc import Mapping
from typing import Protocol


class Writer(Protocol):
  """Gets each row of metrics as it is recorded, for example for W&B.

  A writer that raises is told of and left out; it never ends a run.
  """

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Record numbers by name, at an environment step (offline, update)."""

  def close(self) -> None:
    """Finish; no more comes."""


class TensorBoard:
  """Writes TensorBoard events, by tensorboardX."""

  def __init__(self, folder: str | os.PathLike, start_step: int = 0) -> None:
    """Open a folder of events.

    Args:
      folder: made if need be.
      start_step: events beyond it are of a life that is repeated: TensorBoard
        hides them.

    Raises:
      ImportError: tensorboardX is not installed.
    """
    import tensorboardX

    purge = start_step + 1 if start_step else None
    self._writer = tensorboardX.SummaryWriter(
      os.fspath(folder), purge_step=purge)

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Record numbers by name."""
    for name, value in metrics.items():
      self._writer.add_scalar(name, value, step)

  def close(self) -> None:
    """Flush and close the files."""
    self._writer.close()
