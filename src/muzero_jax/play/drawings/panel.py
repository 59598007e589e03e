"""What a search found, drawn beside the picture of a film.

Above: the searched value of every step so far. Below: the policy of the step
that led to the picture, as bars; the action that was taken is orange.
"""

from typing import NamedTuple

import numpy as np

from muzero_jax.play.drawings.canvas import GREY, Canvas, Colour
from muzero_jax.types import EnvSpec

WIDTH, _LEAST_HEIGHT = 240, 240
_MARGIN, _CURVE = 12.0, 90.0
_MOST_BARS = 8
_PAPER: Colour = (255, 255, 255)
_INK: Colour = (50, 50, 50)
_LINE: Colour = (41, 98, 168)
_TAKEN: Colour = (230, 126, 34)
_BAR: Colour = (160, 178, 200)


class Bar(NamedTuple):
  """The share of one action."""

  name: str
  share: float
  is_taken: bool


class Curve:
  """Values of an episode, however long: at most so many are kept."""

  def __init__(self, most: int = 2 * WIDTH) -> None:
    """Take how many values are kept at most."""
    self._most, self._every, self._count = most, 1, 0
    self.values: list[float] = []

  def add(self, value: float) -> None:
    """Enter the next value."""
    if self._count % self._every == 0:
      self.values.append(value)
    self._count += 1
    if len(self.values) > self._most:
      self.values, self._every = self.values[::2], 2 * self._every


def bars(
  spec: EnvSpec, policy: np.ndarray, action: np.ndarray,
  candidates: np.ndarray | None,
) -> list[Bar]:
  """Return the actions with the largest shares, largest first.

  Args:
    spec: of the environment.
    policy: [A], or [C] of candidates.
    action: [] i32, or [A] f32, that was taken; always among them.
    candidates: [C] or [C, A], that `policy` is of; None if of all actions.
  """
  options = np.arange(len(policy)) if candidates is None else candidates
  taken = np.array([np.array_equal(option, action) for option in options])
  order = np.argsort(-(policy + 2 * taken), kind='stable')[:_MOST_BARS]
  order = order[np.argsort(-policy[order], kind='stable')]
  return [
    Bar(_name(spec, options[i]), float(policy[i]), bool(taken[i]))
    for i in order]


def draw(
  heading: str, values: list[float], shares: list[Bar], height: int
) -> np.ndarray:
  """Draw the panel, [H, WIDTH, 3] u8, at least as high as it has to be.

  Args:
    heading: a line above all.
    values: of the steps so far, from one player's view.
    shares: of the latest step.
    height: pixels.
  """
  height = max(height, _LEAST_HEIGHT)
  panel = Canvas(WIDTH, height, _PAPER)
  panel.text(_MARGIN, 14, heading, fill=_INK, size=13, anchor='lm')
  low, high = min(values, default=0.0), max(values, default=0.0)
  top, bottom = 42.0, 42 + _CURVE
  panel.text(
    _MARGIN, 30, f'value {values[-1]:.3g}' if values else 'value', fill=_LINE,
    size=12, anchor='lm')
  panel.rectangle(
    _MARGIN, top - 3, WIDTH - 2 * _MARGIN, _CURVE + 6, outline=(220, 220, 220))
  span, width = max(high - low, 1e-6), WIDTH - 2 * _MARGIN - 4
  points = [
    (_MARGIN + 2 + width * i / max(len(values) - 1, 1),
     bottom - _CURVE * (value - low) / span) for i, value in enumerate(values)]
  if len(points) > 1:
    panel.line(points, fill=_LINE, width=1.5)
  if points:
    x, y = points[-1]
    panel.circle(x, y, 2.5, fill=_LINE)
  for number, y in ((high, top + 4), (low, bottom - 4)):
    panel.text(
      WIDTH - _MARGIN - 4, y, f'{number:.3g}', fill=GREY, size=10, anchor='rm')
  each = min((height - bottom - 12) / max(len(shares), 1), 20)
  for i, bar in enumerate(shares):
    y = bottom + 8 + i * each
    panel.rectangle(
      90, y + 1, max((WIDTH - 90 - 48) * bar.share, 1), each - 2,
      fill=_TAKEN if bar.is_taken else _BAR)
    panel.text(84, y + each / 2, bar.name, fill=_INK, size=11, anchor='rm')
    panel.text(
      WIDTH - _MARGIN, y + each / 2, f'{bar.share:.2f}', fill=_INK, size=11,
      anchor='rm')
  return panel.array()


def beside(picture: np.ndarray, panel: np.ndarray) -> np.ndarray:
  """Return a picture with a panel on its right, both as high as the higher."""
  height = max(len(picture), len(panel))
  parts = []
  for part, colour in ((picture, picture[0, 0]), (panel, np.array(_PAPER))):
    above = (height - len(part)) // 2
    filled = np.empty((height, part.shape[1], 3), np.uint8)
    filled[:] = colour
    filled[above:above + len(part)] = part
    parts.append(filled)
  return np.concatenate(parts, axis=1)


def _name(spec: EnvSpec, option: np.ndarray) -> str:
  """Return an action in at most 12 letters."""
  if np.ndim(option):
    words = ' '.join(f'{x:.1f}' for x in option[:3])
    return words + (' ..' if len(option) > 3 else '')
  number = int(option)
  if number < len(spec.action_names):
    return spec.action_names[number][:12]
  return str(number)
