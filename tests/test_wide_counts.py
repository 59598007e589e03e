"""Counts beyond 2^31 and 2^32: sums, remainders, differences, floats."""

import jax
import numpy as np
import pytest

from muzero_jax import wide_counts

LARGE = [0, 5, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 3 * 2**33 + 11]


@pytest.mark.parametrize('start', LARGE)
def test_adding_never_wraps(start):
  count = jax.jit(wide_counts.add)(wide_counts.of(start), np.int32(2**31 - 1))
  assert wide_counts.as_int(count) == start + 2**31 - 1


@pytest.mark.parametrize('number', LARGE)
def test_floats_and_small_numbers(number):
  count = wide_counts.of(number)
  assert wide_counts.as_float(count) == np.float32(number)
  assert wide_counts.as_small(count) == min(number, 2**31 - 1)


@pytest.mark.parametrize('period', [1, 3, 200, 65_536])
def test_multiples(period):
  numbers = [n + k for n in LARGE for k in range(3)]
  numbers += [n // period * period for n in LARGE]
  counts = [wide_counts.of(n) for n in numbers]
  found = [bool(wide_counts.is_multiple(count, period)) for count in counts]
  assert found == [n % period == 0 for n in numbers]


def test_counts_of_several_agents():
  counts = wide_counts.add(wide_counts.zero((2,)), np.array([3, 4]))
  assert list(wide_counts.as_int(counts)) == [3, 4]
