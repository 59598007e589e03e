"""Scalar values and rewards <-> what a head predicts.

Between `targets`, which are scalars, and `losses`, which compare logits; and
between the heads and the search, which needs scalars again. The only module
that imports rlax.

A head predicts h(x) = sign(x)(sqrt(|x| + 1) - 1) + epsilon x instead of x, so
that large and small returns are learnt with similar relative precision: either
as one number, or as a categorical distribution over bins of h(x).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import rlax

from muzero_jax.errors import UserError
from muzero_jax.types import Array


class Transform(NamedTuple):
  """How a head represents a scalar; functions of any leading shape."""

  apply: Callable[[Array], Array]  # scalar [...] -> target [..., D].
  invert: Callable[[Array], Array]  # logits [..., D] -> scalar [...] f32.
  loss: Callable[[Array, Array], Array]  # logits, target [..., D] -> [...].
  is_clipped: Callable[[Array], Array]  # scalar [...] -> [...], True if lost.
  num_outputs: int  # D


def signed_hyperbolic(x: Array, *, epsilon: float = 1e-3) -> Array:
  """Returns h(x) = sign(x)(sqrt(|x| + 1) - 1) + epsilon x, in float32.

  Pohlen et al. 2018, Proposition A.2; MuZero, appendix F.

  Args:
    x: [...] scalars in the units of the reward.
    epsilon: slope that keeps h invertible with a bounded inverse slope.

  Returns:
    [...] float32.
  """
  return rlax.signed_hyperbolic(jnp.asarray(x, jnp.float32), epsilon)


def signed_parabolic(y: Array, *, epsilon: float = 1e-3) -> Array:
  """Returns the inverse of `signed_hyperbolic`, in float32.

  Proposition A.2 of Pohlen et al. 2018 writes it as
  sign(y)(((sqrt(1 + 4 eps (|y| + 1 + eps)) - 1) / (2 eps))^2 - 1). With
  w = sqrt(|x| + 1) - 1 the same number is
  w = 2|y| / (1 + 2 eps + sqrt((1 + 2 eps)^2 + 4 eps |y|)),
  x = sign(y) w (w + 2), where nothing cancels.

  Args:
    y: [...] values of h.
    epsilon: as given to `signed_hyperbolic`; 0 is allowed.

  Returns:
    [...] float32.
  """
  # The published form (rlax.signed_parabolic) subtracts numbers near 1 and
  # divides by 2 eps: in float32 its relative error is 2e-4 at x = 1 and
  # 40 % at x = 1e-4. This one stays within 2e-7 from 1e-6 to 9e4.
  y = jnp.asarray(y, jnp.float32)
  slope = 1.0 + 2.0 * epsilon
  magnitude = jnp.abs(y)
  root = jnp.sqrt(slope**2 + 4.0 * epsilon * magnitude)
  w = 2.0 * magnitude / (slope + root)
  return jnp.sign(y) * w * (w + 2.0)


def categorical(
  num_bins: int = 601,
  max_value: float = 300.0,
  epsilon: float = 1e-3,
  *,
  mean_of: str = 'transformed',
) -> Transform:
  """Returns the transform of a head that predicts a distribution over bins.

  h(x) lies between two neighbouring bins, evenly spaced; the target puts
  weights on these two ("two-hot"). The loss is the softmax cross-entropy.

  What a distribution stands for is the mean of h(x), and the inverse h^-1 of
  that (MuZero, appendix F); or the mean of x itself, with the bins at the x
  whose h they are, and weights whose mean is x (DreamerV3, arXiv 2301.04104v2,
  equations 9 and 10, for another h). The two agree where x is certain. Where it
  is not, the first is below the mean of positive x, h being concave: by the
  variance of h(x), near enough, and by as much again at each bootstrap.

  Args:
    num_bins: D, odd so that 0 is a bin.
    max_value: largest |h(x)| that the bins cover, in units of h; a scalar
      beyond it is clipped and `is_clipped` says so. 300 covers |x| <= 58,705.
    epsilon: of h.
    mean_of: 'transformed' for the mean of h(x), 'scalar' for that of x.

  Returns:
    A `Transform` with D = num_bins.

  Raises:
    UserError: an argument is outside its range.
  """
  if num_bins < 3 or num_bins % 2 == 0:
    raise UserError(f'num_bins={num_bins}: allowed are odd numbers >= 3.')
  if not 0.0 < max_value < float('inf'):
    raise UserError(f'max_value={max_value}: allowed are finite values > 0.')
  _check_epsilon(epsilon)
  if mean_of not in ('transformed', 'scalar'):
    raise UserError(
      f"mean_of={mean_of!r}: allowed are 'transformed' and 'scalar'.")
  half = num_bins // 2
  bins: dict[str, Any] = dict(
    half=half, bin_width=max_value / half, epsilon=epsilon)
  of_scalar = mean_of == 'scalar'
  return Transform(
    apply=functools.partial(
      _two_hot_of_scalar if of_scalar else _two_hot, **bins),
    invert=functools.partial(
      _mean_scalar if of_scalar else _expected_scalar, **bins),
    loss=_cross_entropy,
    is_clipped=functools.partial(
      _exceeds_support, max_value=max_value, epsilon=epsilon
    ),
    num_outputs=num_bins,
  )


def scalar(epsilon: float = 1e-3, transformed: bool = True) -> Transform:
  """Returns the transform of a head that predicts one number.

  The loss is the squared error (h(x) - output)^2, or (x - output)^2 as MuZero,
  appendix G, uses it on board games. Nothing is ever clipped.

  Args:
    epsilon: of h; unused unless `transformed`.
    transformed: True if the head predicts h(x), False if x itself.

  Returns:
    A `Transform` with D = 1.

  Raises:
    UserError: an argument is outside its range.
  """
  _check_epsilon(epsilon)
  return Transform(
    apply=functools.partial(
      _single, epsilon=epsilon, transformed=transformed
    ),
    invert=functools.partial(
      _from_single, epsilon=epsilon, transformed=transformed
    ),
    loss=_squared_error,
    is_clipped=_never,
    num_outputs=1,
  )


def _check_epsilon(epsilon: float) -> None:
  if not 0.0 <= epsilon <= 1.0:
    raise UserError(f'epsilon={epsilon}: allowed are values in [0, 1].')


def _two_hot(
  x: Array, *, half: int, bin_width: float, epsilon: float
) -> Array:
  # In units of bins: rlax adds 1e-5 to the width it divides by, which would
  # distort the weights of narrow bins.
  position = signed_hyperbolic(x, epsilon=epsilon) / bin_width
  return rlax.transform_to_2hot(position, -half, half, 2 * half + 1)


def _expected_scalar(
  logits: Array, *, half: int, bin_width: float, epsilon: float
) -> Array:
  num_bins = 2 * half + 1
  chex.assert_axis_dimension(
    logits, -1, num_bins, custom_message='logits: one for each bin')
  # bfloat16 has 8 bits: too few to add up 601 products.
  probs = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
  mean = rlax.transform_from_2hot(probs, -half, half, num_bins)
  # rlax returns [1] for one distribution.
  mean = jnp.reshape(mean, logits.shape[:-1])
  return signed_parabolic(mean * bin_width, epsilon=epsilon)


def _two_hot_of_scalar(
  x: Array, *, half: int, bin_width: float, epsilon: float
) -> Array:
  at = _bins_of_scalar(half, bin_width, epsilon)
  x = jnp.clip(jnp.asarray(x, jnp.float32), at[0], at[-1])
  lower = jnp.clip(jnp.searchsorted(at, x, side='right') - 1, 0, 2 * half - 1)
  upper = (x - at[lower]) / (at[lower + 1] - at[lower])
  hot = lambda index: jax.nn.one_hot(index, 2 * half + 1, dtype=jnp.float32)
  return (
    (1.0 - upper)[..., None] * hot(lower) + upper[..., None] * hot(lower + 1))


def _mean_scalar(
  logits: Array, *, half: int, bin_width: float, epsilon: float
) -> Array:
  chex.assert_axis_dimension(
    logits, -1, 2 * half + 1, custom_message='logits: one for each bin')
  probs = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
  # The two sides apart, so that an even distribution is 0 and not what is left
  # of two large numbers.
  at = _bins_of_scalar(half, bin_width, epsilon)[half + 1:]
  above, below = probs[..., half + 1:], probs[..., :half][..., ::-1]
  return jnp.sum((above - below) * at, axis=-1)


def _bins_of_scalar(half: int, bin_width: float, epsilon: float) -> Array:
  """Returns the scalars [2 half + 1] that the bins are at."""
  return signed_parabolic(
    bin_width * jnp.arange(-half, half + 1), epsilon=epsilon)


def _cross_entropy(logits: Array, target: Array) -> Array:
  chex.assert_equal_shape(
    [logits, target], custom_message='logits and target')
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
  return -jnp.sum(target * log_probs, axis=-1)


def _exceeds_support(
  x: Array, *, max_value: float, epsilon: float
) -> Array:
  return jnp.abs(signed_hyperbolic(x, epsilon=epsilon)) > max_value


def _single(x: Array, *, epsilon: float, transformed: bool) -> Array:
  x = jnp.asarray(x, jnp.float32)
  if transformed:
    x = signed_hyperbolic(x, epsilon=epsilon)
  return x[..., None]


def _from_single(
  logits: Array, *, epsilon: float, transformed: bool
) -> Array:
  chex.assert_axis_dimension(
    logits, -1, 1, custom_message='logits: of a scalar head one')
  output = logits[..., 0].astype(jnp.float32)
  return signed_parabolic(output, epsilon=epsilon) if transformed else output


def _squared_error(logits: Array, target: Array) -> Array:
  chex.assert_equal_shape(
    [logits, target], custom_message='logits and target')
  error = logits.astype(jnp.float32) - target
  return jnp.sum(jnp.square(error), axis=-1)


def _never(x: Array) -> Array:
  return jnp.zeros(jnp.shape(x), jnp.bool_)
