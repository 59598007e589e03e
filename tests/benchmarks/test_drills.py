"""Tests of what the drills of reliability say of themselves."""

import json

import pytest

from benchmarks import kill
from benchmarks.drills import report, soak


def test_the_page_of_reliability_is_what_its_command_makes():
  assert report.PAGE.read_text() == report.page()


@pytest.mark.parametrize('drill', ['signals', 'disk', 'storage', 'code'])
def test_no_committed_drill_lost_anything(drill):
  result = json.loads(
    kill.RESULT.with_name(f'drills_{drill}.json').read_text())
  assert not any(one.get('faults') for one in result.get('drills', ()))
  assert not result.get('ran')
  for one in result.get('trials', ()) if drill in ('signals', 'disk') else ():
    assert one['right'], one


def test_growth_compares_the_last_tenth_with_the_second():
  assert soak.growth([9, 100, 100] + [100] * 16 + [103] * 11) == (
    pytest.approx(0.03))


def test_growth_needs_ten_readings():
  with pytest.raises(ValueError, match='9 readings; at least 10'):
    soak.growth([1] * 9)
