"""Files damaged on purpose, as benchmarks.drills.storage does, in small."""

import pytest

from benchmarks.drills import storage

DRILLS = {drill.name: drill for drill in storage.drills()}


@pytest.mark.parametrize('name', DRILLS)
def test_damage_ends_in_one_line_or_the_fallback(tmp_path, name):
  found = storage.run(DRILLS[name], tmp_path, 30)
  assert found['faults'] == []
  # Damage that changes nothing would show nothing.
  assert found['outcomes'].get(storage.SAME, 0) < 30


def test_a_traceback_and_a_refusal_of_two_lines_are_faults(tmp_path):
  drill = DRILLS['metrics.jsonl']

  def fail(error):
    def use(folder):
      raise error
    return storage.run(
      drill._replace(use=use), tmp_path / type(error).__name__, 2)

  (tmp_path / 'Error').mkdir()
  (tmp_path / 'KeyError').mkdir()
  assert len(fail(KeyError('x'))['faults']) == 2
  assert len(fail(storage.Error('two\nlines'))['faults']) == 2
