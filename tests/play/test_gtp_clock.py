"""How long to think: literal budgets."""

import pytest

from muzero_jax.play.gtp import clock as gtp_clock
from muzero_jax.play.gtp.clock import Settings


def clock(*settings):
  found = gtp_clock.Clock()
  found.set(Settings(*settings) if settings else None)
  return found


def test_without_a_clock_there_is_no_limit():
  found = clock()
  found.spend('black', 5.0)
  assert found.budget('black', 10) is None


def test_absolute_time_is_shared_out():
  found = clock(100.0)
  assert found.budget('black', 19) == pytest.approx(5.0)  # 5 in reserve.
  found.spend('black', 57.0)
  assert found.budget('black', 2) == pytest.approx(3.8)  # At least 10 moves.
  assert found.budget('white', 19) == pytest.approx(5.0)
  found.spend('black', 50.0)
  assert found.budget('black', 10) == 0.0
  found.restart()
  assert found.budget('black', 19) == pytest.approx(5.0)


def test_canadian_periods():
  found = clock(0.0, 31.0, 10)
  assert found.budget('white', 40) == pytest.approx(3.0)
  for _ in range(9):
    found.spend('white', 1.0)
  assert found.budget('white', 40) == pytest.approx(21.0)
  found.spend('white', 20.0)
  assert found.budget('white', 40) == pytest.approx(3.0)  # The next period.


def test_main_time_ends_in_a_period():
  found = clock(11.0, 20.0, 5)
  assert found.budget('black', 10) == pytest.approx(3.0)
  found.spend('black', 13.0)
  # Two of the period's seconds are gone.
  assert found.budget('black', 10) == pytest.approx((18.0 - 1.0) / 5)


def test_japanese_periods_begin_anew():
  found = clock(0.0, 10.0, 1, 3)
  assert found.budget('black', 40) == pytest.approx(9.0)
  found.spend('black', 9.5)
  assert found.budget('black', 40) == pytest.approx(9.0)
  found.spend('black', 14.0)  # One period is used up.
  assert found.budget('black', 40) == pytest.approx(9.0)


def test_the_referee_knows_better():
  found = clock(100.0, 30.0, 5)
  found.tell('black', 30.0, 1)
  assert found.budget('black', 40) == pytest.approx(29.0)
  found.tell('black', 0.4, 2)
  assert found.budget('black', 40) == pytest.approx(0.15)
  found.tell('black', 0.0, 0)
  assert found.budget('black', 40) == pytest.approx(0.75 * 30 / 5)
  # Also where nobody has said what the settings are.
  found = clock()
  found.tell('white', 11.0, 0)
  assert found.budget('white', 1) == pytest.approx(1.0)
