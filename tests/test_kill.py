"""A run that is killed at any moment goes on as if it had not been."""

from benchmarks import kill


def test_killed_twice(tmp_path):
  result = kill.measure(
    tmp_path, num_kills=2, num_iterations=150, seed=0, most_seconds=2.0,
    report=lambda line: None)
  assert len(result['kills']) == 2
  assert all(k['lost'] == [] and k['damaged'] == 0 for k in result['kills'])
  assert result['identical'] and result['num_arrays'] > 40
  assert result['steps_reported'] > 0
