"""A canvas to draw on with Pillow, smooth at its edges.

Below `boards` and `control`, which draw environments on it.
"""

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from muzero_jax.errors import MissingPackageError

Colour = tuple[int, int, int]
Point = tuple[float, float]

BLACK: Colour = (24, 24, 24)
WHITE: Colour = (246, 246, 246)
GREY: Colour = (128, 128, 128)

# Drawn so many times larger and averaged, which smooths slanting edges.
_SCALE = 2


def pillow(name: str) -> ModuleType:
  """Return a module of Pillow, such as `Image`.

  Raises:
    MissingPackageError: Pillow is not installed; says what to install.
  """
  try:
    import importlib

    return importlib.import_module(f'PIL.{name}')
  except ImportError as error:
    raise MissingPackageError(
      f'pictures need pillow: pip install "muzero_jax[video]" ({error})'
    ) from error


class Canvas:
  """A picture that is being drawn; lengths are in pixels."""

  def __init__(self, width: int, height: int, background: Colour) -> None:
    """Take the size of the picture and the colour it begins with."""
    self._image = pillow('Image').new(
      'RGB', (width * _SCALE, height * _SCALE), background)
    self._draw = pillow('ImageDraw').Draw(self._image)

  def rectangle(
    self, x: float, y: float, width: float, height: float, *,
    fill: Colour | None = None, outline: Colour | None = None,
    radius: float = 0,
  ) -> None:
    """Draw a rectangle from its upper left corner on."""
    box = _scaled([(x, y)]) + [
      (x + width) * _SCALE - 1, (y + height) * _SCALE - 1]
    self._draw.rounded_rectangle(
      box, radius * _SCALE, fill=fill, outline=outline, width=_SCALE)

  def circle(
    self, x: float, y: float, radius: float, *,
    fill: Colour | None = None, outline: Colour | None = None,
    width: float = 1,
  ) -> None:
    """Draw a circle around a point."""
    box = _scaled([(x - radius, y - radius), (x + radius, y + radius)])
    self._draw.ellipse(
      box, fill=fill, outline=outline, width=round(width * _SCALE))

  def line(
    self, points: Sequence[Point], *, fill: Colour, width: float = 1
  ) -> None:
    """Draw straight lines from point to point."""
    self._draw.line(
      _scaled(points), fill=fill, width=max(round(width * _SCALE), 1),
      joint='curve')

  def polygon(
    self, points: Sequence[Point], *, fill: Colour | None = None,
    outline: Colour | None = None,
  ) -> None:
    """Draw an area with straight edges."""
    self._draw.polygon(
      _scaled(points), fill=fill, outline=outline, width=_SCALE)

  def text(
    self, x: float, y: float, text: str, *, fill: Colour, size: float,
    anchor: str = 'mm',
  ) -> None:
    """Write a line of text.

    Args:
      x, y: of its middle, or of what `anchor` says.
      text: letters, digits and signs of Latin script.
      fill: its colour.
      size: in pixels.
      anchor: of Pillow, two letters: l, m or r, and t, m or s.
    """
    self._draw.text(
      (x * _SCALE, y * _SCALE), text, fill=fill, font=_font(size * _SCALE),
      anchor=anchor)

  def array(self) -> np.ndarray:
    """Return the picture, [H, W, 3] u8."""
    return np.asarray(self._image.reduce(_SCALE))


@functools.cache
def _font(size: float) -> Any:
  return pillow('ImageFont').load_default(size)


def _scaled(points: Sequence[Point]) -> list[float]:
  return [part * _SCALE for point in points for part in point]
