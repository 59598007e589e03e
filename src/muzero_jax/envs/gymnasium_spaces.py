"""Gymnasium's spaces as this project's arrays: one observation, one action.

Observations become one array: vectors, or images [H, W, C]. Actions become
whole numbers, or vectors of floats between bounds. `fit` does to a single
environment what Gymnasium has wrappers for; `Observations` does the rest for a
whole batch at once.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from muzero_jax.errors import UserError

# A product of small choices becomes one action each, up to so many.
MOST_ACTIONS = 4096
# uint8 frames of two axes have no axis of colours; smaller ones are tables.
_LEAST_PIXELS = 8


class Choices(NamedTuple):
  """A space of finitely many actions."""

  total: int
  nth: Callable[[int], Any]  # Number below `total` -> the action.


def fit(env: gymnasium.Env) -> gymnasium.Env:
  """Return an environment whose spaces are a Box or Discrete each.

  Observations of other spaces are flattened by Gymnasium's own wrapper. Of
  MultiDiscrete, MultiBinary, whole-numbered Boxes, and Dicts and Tuples of
  them, each combination becomes one action.

  Raises:
    UserError: a space that cannot be fitted, named with what is allowed.
  """
  name = env.spec.id if env.spec else type(env.unwrapped).__name__
  if not isinstance(env.observation_space, (spaces.Box, spaces.Discrete)):
    env = _flattened(env, name)
  space = env.action_space
  if isinstance(space, spaces.Discrete) or is_continuous(space):
    return env
  found = choices(space)
  if found is None:
    raise UserError(
      f'env_id = {name!r} has actions {space}: allowed are Discrete, '
      'MultiDiscrete, MultiBinary, Dicts and Tuples of them, and a Box with '
      'bounds')
  if found.total > MOST_ACTIONS:
    raise UserError(
      f'env_id = {name!r} has actions {space}, of which there are '
      f'{found.total} combinations: at most {MOST_ACTIONS} are allowed')
  return gymnasium.wrappers.TransformAction(
    env, found.nth, spaces.Discrete(found.total))


def _flattened(env: gymnasium.Env, name: str) -> gymnasium.Env:
  """Return an environment that is observed as one vector.

  Raises:
    UserError: its observations have no fixed size.
  """
  space = env.observation_space
  if space is None or not space.is_np_flattenable:
    raise UserError(
      f'env_id = {name!r} has observations {space}, which have no fixed size: '
      'allowed are Box, Discrete, MultiDiscrete, MultiBinary, and Dicts and '
      'Tuples of them')
  return gymnasium.wrappers.FlattenObservation(env)


def is_fitted(env: gymnasium.Env) -> bool:
  """Return whether `fit` put a wrapper around an environment."""
  return isinstance(env, (
    gymnasium.wrappers.FlattenObservation, gymnasium.wrappers.TransformAction))


def is_continuous(space: Any) -> bool:
  """Return whether a space of actions is a Box of floats."""
  return isinstance(space, spaces.Box) and np.issubdtype(
    space.dtype, np.floating)


def choices(space: Any) -> Choices | None:
  """Return the actions of a finite space in a fixed order; None of others."""
  if isinstance(space, spaces.Discrete):
    start = int(space.start)
    return Choices(int(space.n), lambda i: np.int64(start + i))
  if isinstance(space, spaces.MultiDiscrete):
    return _grid(space, space.nvec, space.start)
  if isinstance(space, spaces.MultiBinary):
    return _grid(space, np.full(space.shape, 2), 0)
  if isinstance(space, spaces.Box) and space.is_bounded() and (
    not is_continuous(space)
  ):
    low = space.low.astype(np.int64)
    return _grid(space, space.high.astype(np.int64) - low + 1, low)
  if isinstance(space, spaces.Tuple):
    return _product([choices(part) for part in space.spaces], tuple)
  if isinstance(space, spaces.Dict):
    names = list(space.spaces)
    return _product(
      [choices(space.spaces[name]) for name in names],
      lambda parts: dict(zip(names, parts)))
  return None


def _grid(space: Any, sizes: np.ndarray, start: Any) -> Choices:
  """Return the actions of an array of choices."""
  flat = [int(n) for n in np.ravel(sizes)]

  def nth(index: int) -> np.ndarray:
    digits = np.array(_digits(index, flat)).reshape(np.shape(sizes))
    return (digits + start).astype(space.dtype)

  return Choices(math.prod(flat), nth)


def _product(
  parts: list[Choices | None], put: Callable[[list[Any]], Any]
) -> Choices | None:
  """Return all combinations of parts, each put together by `put`."""
  known = [part for part in parts if part is not None]
  if len(known) < len(parts):
    return None
  sizes = [part.total for part in known]
  return Choices(math.prod(sizes), lambda index: put([
    part.nth(digit) for part, digit in zip(known, _digits(index, sizes))]))


def _digits(index: int, sizes: list[int]) -> list[int]:
  """Return a number in mixed radix, the last digit the fastest."""
  digits = []
  for size in reversed(sizes):
    index, digit = divmod(int(index), size)
    digits.append(digit)
  return digits[::-1]


class Observations:
  """What a Box or Discrete space is stored as, and how."""

  def __init__(self, name: str, space: Any, side: int = 0) -> None:
    """Decide on shape and dtype.

    Args:
      name: of the environment, for messages.
      space: of one environment, as `fit` leaves it.
      side: pixels that images are resized to, height and width; 0 for as they
        are.

    Raises:
      UserError: nothing can be seen, or there is no image to resize.
    """
    self._is_discrete = isinstance(space, spaces.Discrete)
    self.dtype: Any = np.dtype(np.float32)
    if self._is_discrete:
      self._start, self._axes = int(space.start), None
      self.shape: tuple[int, ...] = (int(space.n),)
    else:
      self._start, self._axes = 0, _image_axes(space)
      self.shape = tuple(int(n) for n in space.shape) or (1,)
    if not self._is_discrete and space.dtype == np.uint8:
      self.dtype = np.dtype(np.uint8)
    if not math.prod(self.shape):
      raise UserError(
        f'env_id = {name!r} has observations {space}, of which nothing can be '
        'seen: at least one number is needed')
    if self._axes is not None:
      picture = (*self.shape, 1) if len(self.shape) == 2 else self.shape
      self.shape = tuple(picture[axis] for axis in self._axes)
    self._weights = self._resizing(name, space, side)

  def __call__(self, observation: Any) -> np.ndarray:
    """Return observations [B, ...] in the shape and dtype of the spec."""
    if self._is_discrete:
      index = np.asarray(observation) - self._start
      one_hot = np.zeros((len(index), *self.shape), np.float32)
      one_hot[np.arange(len(index)), index] = 1
      return one_hot
    # A uint8 image never comes of a float one by cutting digits off.
    frame = np.array(observation).astype(self.dtype, casting='same_kind')
    if self._axes is not None:
      frame = frame[..., None] if frame.ndim == 3 else frame
      frame = frame.transpose(0, *(axis + 1 for axis in self._axes))
    elif frame.ndim == 1:
      frame = frame[:, None]
    if self._weights is None:
      return frame
    rows, columns = self._weights
    resized = np.einsum('ih,bhwc,jw->bijc', rows, frame, columns, optimize=True)
    is_whole = self.dtype == np.uint8
    return (np.rint(resized) if is_whole else resized).astype(self.dtype)

  def _resizing(
    self, name: str, space: Any, side: int
  ) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the weights of rows and columns of a resized image."""
    if not side:
      return None
    if self._axes is None:
      raise UserError(
        f'image_size = {side}: observations {space} of {name} are no images; '
        'allowed is 0')
    height, width, colours = self.shape
    self.shape = (side, side, colours)
    return _area_weights(height, side), _area_weights(width, side)


def _image_axes(space: Any) -> tuple[int, ...] | None:
  """Return the axes of an image as [H, W, C]; None where there is none.

  Images are what has three axes, or two of uint8 that are not small. The axis
  of colours is the last or the first: the shorter one.
  """
  shape = space.shape
  if len(shape) == 2 and space.dtype == np.uint8 and (
    min(shape) >= _LEAST_PIXELS
  ):
    return (0, 1, 2)
  if len(shape) != 3:
    return None
  return (1, 2, 0) if shape[0] < min(shape[1:]) else (0, 1, 2)


def _area_weights(length: int, side: int) -> np.ndarray:
  """Return weights [side, length]: each new pixel is the mean of its area."""
  edges = np.linspace(0, length, side + 1)
  pixels = np.arange(length)
  overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(
    edges[:-1, None], pixels)
  overlap = np.maximum(overlap, 0)
  return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
