"""Tests of what the drills of reliability say of themselves."""

import json

import pytest

from benchmarks import kill
from benchmarks.drills import report, soak


def test_the_page_of_reliability_is_what_its_command_makes():
  assert report.PAGE.read_text() == report.page()


def test_no_committed_drill_lost_anything():
  results = sorted(kill.RESULT.parent.glob('drills_*.json'))
  assert results
  for path in results:
    result = json.loads(path.read_text())
    assert not any(one['faults'] for one in result.get('drills', ()))
    assert not result.get('ran')
    if isinstance(result.get('trials'), list):
      assert all(one['right'] for one in result['trials']), path


def test_growth_compares_the_last_tenth_with_the_second():
  assert soak.growth([9, 100, 100] + [100] * 16 + [103] * 11) == (
    pytest.approx(0.03))


def test_growth_needs_ten_readings():
  with pytest.raises(ValueError, match='9 readings; at least 10'):
    soak.growth([1] * 9)
