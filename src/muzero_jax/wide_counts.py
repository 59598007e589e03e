"""Counts that do not wrap: 64 bits in two words, since jax has 32 by default.

Steps and updates are counted like this; a run at 177,000 steps a second passes
2^31 steps within three and a half hours.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_LIMIT = 2**31 - 1


class Count(NamedTuple):
  """A count from 0 to 2^64 - 1."""

  low: jax.Array  # [...] u32
  high: jax.Array  # [...] u32

  def __int__(self) -> int:
    """Return one count on the host."""
    return int(as_int(self))


def zero(shape: tuple[int, ...] = ()) -> Count:
  """Return counts of nothing; no two of their arrays are the same buffer."""
  return Count(jnp.zeros(shape, jnp.uint32), jnp.zeros(shape, jnp.uint32))


def of(number: int, shape: tuple[int, ...] = ()) -> Count:
  """Return counts of a number."""
  return Count(
    jnp.full(shape, number % 2**32, jnp.uint32),
    jnp.full(shape, number // 2**32, jnp.uint32))


def add(count: Count, number: Any) -> Count:
  """Return the count and `number` more, which is below 2^31."""
  low = count.low + jnp.asarray(number).astype(jnp.uint32)
  return Count(low, count.high + (low < count.low).astype(jnp.uint32))


def as_float(count: Count) -> jax.Array:
  """Return the count in float32; below 2^24 exactly."""
  high = count.high.astype(jnp.float32)
  return high * 2.0**32 + count.low.astype(jnp.float32)


def as_small(count: Count) -> jax.Array:
  """Return the count in int32, 2^31 - 1 where it is larger."""
  fits = (count.high == 0) & (count.low <= _LIMIT)
  return jnp.where(fits, count.low.astype(jnp.int32), _LIMIT)


def is_multiple(count: Count, period: int) -> jax.Array:
  """Return whether a count is a multiple of `period`, from 1 to 2^16.

  (high 2^32 + low) mod p, in 32 bits: high may be up to 2^16, so that counts
  of up to 2^48 are right.
  """
  high = (count.high % period) * jnp.uint32(2**32 % period)
  return (high % period + count.low % period) % period == 0


def as_int(count: Any) -> Any:
  """Return counts on the host as Python's integers, or an array of them.

  Args:
    count: a `Count` of arrays on a device or of NumPy's.
  """
  low, high = (np.asarray(jax.device_get(x)).astype(object) for x in count)
  return high * 2**32 + low
