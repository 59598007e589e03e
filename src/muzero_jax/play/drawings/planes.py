"""Drawings of images and of planes, such as MinAtar's, from what is observed.

Below `pictures`.
"""

import colorsys

import numpy as np

from muzero_jax.play.drawings.canvas import Colour

# Of MinAtar's planes, in the order in which MinAtar has them.
_PLAYER: Colour = (255, 255, 255)
_ENEMY: Colour = (235, 87, 87)
_TRAIL: Colour = (110, 110, 120)
_GOLD: Colour = (242, 201, 76)
_SHOT: Colour = (111, 207, 151)
_ENEMY_SHOT: Colour = (242, 153, 74)
_BLUE: Colour = (86, 156, 214)
_COLOURS: dict[str, tuple[Colour, ...]] = {
  'asterix': (_PLAYER, _ENEMY, _TRAIL, _GOLD),
  'breakout': (_PLAYER, _GOLD, _TRAIL, _ENEMY),
  'freeway': (
    _PLAYER, _ENEMY, (60, 70, 90), (70, 100, 120), (80, 130, 140),
    (100, 160, 150), (140, 190, 160)),
  'seaquest': (
    _PLAYER, _TRAIL, _SHOT, (80, 80, 90), _ENEMY_SHOT, _ENEMY,
    (187, 107, 217), _BLUE, (45, 156, 219), _GOLD),
  'space_invaders': (
    _PLAYER, _SHOT, (90, 140, 110), (90, 140, 110), _GOLD, _ENEMY_SHOT),
}
_GROUND: Colour = (18, 18, 26)
_LEAST_SIDE = 240  # Pixels; smaller pictures are enlarged.


def enlarge(image: np.ndarray, least: int = _LEAST_SIDE) -> np.ndarray:
  """Return an image whose longer side has at least so many pixels.

  Each pixel becomes a square of pixels, so that what is small stays sharp.

  Args:
    image: [H, W, 3] u8.
    least: pixels.
  """
  times = -(-least // max(*image.shape[:2], 1))
  return image.repeat(times, 0).repeat(times, 1)


def minatar(name: str, observation: np.ndarray) -> np.ndarray:
  """Draw a game of MinAtar, a square for each of its places.

  Args:
    name: of the game, such as "breakout".
    observation: [H, W, C] bool.
  """
  return _paint(observation, _COLOURS[name], gap=1)


def draw(observation: np.ndarray) -> np.ndarray:
  """Draw an image [H, W], [H, W, 1] or [H, W, 3], or planes [H, W, C].

  Bytes are an image as it is. Other numbers are scaled to what there is of
  them: one plane from black to white, several each in a colour of its own.
  """
  if observation.ndim == 2:
    observation = observation[..., None]
  channels = observation.shape[-1]
  if observation.dtype == np.uint8:
    image = observation[..., :3] if channels >= 3 else observation[..., :1]
    return enlarge(np.broadcast_to(image, (*image.shape[:2], 3)))
  values = np.abs(np.nan_to_num(observation.astype(np.float64)))
  shares = values / np.maximum(values.max((0, 1)), 1e-9)
  if channels == 1:
    return enlarge((shares.repeat(3, -1) * 255).astype(np.uint8))
  colours = np.array([
    colorsys.hsv_to_rgb(i * 0.618 % 1, 0.65, 1) for i in range(channels)])
  mixed = (shares[..., None] * colours).max(axis=2)
  return enlarge((mixed * 255).astype(np.uint8))


def _paint(
  observation: np.ndarray, colours: tuple[Colour, ...], gap: int
) -> np.ndarray:
  """Paint binary planes over each other, the first on top."""
  image = np.empty((*observation.shape[:2], 3), np.uint8)
  image[:] = _GROUND
  for plane in reversed(range(observation.shape[-1])):
    image[observation[..., plane] != 0] = colours[plane]
  image = enlarge(image)
  size = image.shape[0] // observation.shape[0]
  for start in range(gap):
    image[start::size] = image[:, start::size] = _GROUND
  return image


def has_minatar(name: str) -> bool:
  """Return whether `minatar` knows a game."""
  return name in _COLOURS
