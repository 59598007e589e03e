"""Drawings of classic control, from what is observed.

Below `pictures`. The tasks are known by what their names say and by how many
numbers are observed, whichever library they come from.
"""

import math
from collections.abc import Callable

import numpy as np

from muzero_jax.play.drawings.canvas import BLACK, GREY, Canvas, Colour

Draw = Callable[[np.ndarray], np.ndarray]

_PAPER: Colour = (250, 248, 242)
_CART: Colour = (44, 62, 100)
_POLE: Colour = (202, 138, 74)
_RED: Colour = (214, 69, 65)
_GREEN: Colour = (39, 139, 78)


def cartpole(observation: np.ndarray) -> np.ndarray:
  """Draw the cart at its place and the pole at its angle.

  The picture is as wide as the cart may go: 2.4 m to each side.
  """
  x, _, angle, _ = map(float, observation)
  scale, ground = 100, 200
  picture = Canvas(480, 240, _PAPER)
  picture.line([(0, ground), (480, ground)], fill=GREY, width=2)
  at, axle = 240 + x * scale, ground - 34
  picture.rectangle(at - 30, ground - 34, 60, 26, fill=_CART, radius=4)
  for side in (-18, 18):
    picture.circle(at + side, ground - 7, 7, fill=BLACK)
  # A metre long.
  picture.line(
    [(at, axle), (at + math.sin(angle) * scale,
                  axle - math.cos(angle) * scale)],
    fill=_POLE, width=9)
  picture.circle(at, axle, 5, fill=GREY)
  return picture.array()


def mountain_car(observation: np.ndarray) -> np.ndarray:
  """Draw the car in its valley, and the flag on the right hill."""
  position = float(observation[0])

  def at(x: float) -> tuple[float, float]:
    return 20 + (x + 1.2) * 244, 200 - 75 * (math.sin(3 * x) + 1)

  picture = Canvas(480, 240, _PAPER)
  picture.line(
    [at(x) for x in np.linspace(-1.2, 0.6, 90)], fill=GREY, width=3)
  x, y = at(0.5)
  picture.line([(x, y), (x, y - 34)], fill=BLACK, width=2)
  picture.polygon([(x, y - 34), (x + 20, y - 27), (x, y - 20)], fill=_RED)
  (x, y), slope = at(position), math.cos(3 * position) * 0.9
  length = math.hypot(1, slope)
  picture.circle(x + 9 * slope / -length, y - 11 / length, 11, fill=_CART)
  return picture.array()


def acrobot(observation: np.ndarray) -> np.ndarray:
  """Draw both links, and the height that the tip has to reach."""
  cos1, sin1, cos2, sin2 = map(float, observation[:4])
  scale, middle = 56, 140
  joint = (middle + sin1 * scale, middle + cos1 * scale)
  # The second angle is from the first link.
  cos, sin = cos1 * cos2 - sin1 * sin2, sin1 * cos2 + cos1 * sin2
  tip = (joint[0] + sin * scale, joint[1] + cos * scale)
  picture = Canvas(280, 280, _PAPER)
  picture.line(
    [(0, middle - scale), (280, middle - scale)], fill=_GREEN, width=2)
  picture.line([(middle, middle), joint], fill=_CART, width=10)
  picture.line([joint, tip], fill=_POLE, width=10)
  for x, y in ((middle, middle), joint):
    picture.circle(x, y, 7, fill=GREY)
  return picture.array()


def pendulum(observation: np.ndarray) -> np.ndarray:
  """Draw the pendulum; upright is where it should be."""
  cos, sin = map(float, observation[:2])
  picture = Canvas(240, 240, _PAPER)
  # Its angle grows against the clock.
  picture.line(
    [(120, 120), (120 - sin * 90, 120 - cos * 90)], fill=_RED, width=16)
  picture.circle(120 - sin * 90, 120 - cos * 90, 8, fill=_RED)
  picture.circle(120, 120, 6, fill=BLACK)
  return picture.array()


def bars(observation: np.ndarray) -> np.ndarray:
  """Draw a vector as bars; x is drawn as x / (1 + |x|), which fits any x."""
  values = np.asarray(observation, np.float64).ravel()
  height, width = 240, max(320, min(8 * values.size, 800))
  picture = Canvas(width, height, _PAPER)
  middle, each = height / 2, width / max(values.size, 1)
  for share in (-0.5, 0.5):  # Where 1 and -1 are.
    y = middle + share * height * 0.9 / 2
    picture.line([(0, y), (width, y)], fill=(222, 218, 208))
  for i, value in enumerate(values):
    length = value / (1 + abs(value)) * height * 0.9 / 2
    x, gap = i * each, min(each * 0.15, 3)
    picture.rectangle(
      x + gap, middle - max(length, 0), max(each - 2 * gap, 1),
      max(abs(length), 1), fill=_CART if value >= 0 else _RED)
  picture.line([(0, middle), (width, middle)], fill=GREY)
  return picture.array()


# Part of a name in small letters, numbers observed.
_KNOWN: dict[tuple[str, int], Draw] = {
  ('cartpole', 4): cartpole,
  ('mountaincar', 2): mountain_car,
  ('acrobot', 6): acrobot,
  ('pendulum', 3): pendulum,
}


def find(name: str, size: int) -> Draw:
  """Return how an environment of vectors is drawn.

  Args:
    name: of the environment.
    size: how many numbers are observed.
  """
  plain = name.lower().replace('_', '').replace('-', '')
  for (part, numbers), draw in _KNOWN.items():
    if part in plain and numbers == size:
      return draw
  return bars
