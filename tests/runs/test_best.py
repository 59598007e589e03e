"""The best parameters of a run: one kept, found by score, never if damaged."""

import jax
import jax.numpy as jnp
import pytest

from muzero_jax.errors import UserError
from muzero_jax.runs import best, checkpoint
from muzero_jax.runs.best import Best

_ABSTRACT = {'x': jax.ShapeDtypeStruct((3,), jnp.int32)}


def _save(workdir, step, score):
  best.save(workdir, Best(step, score), {'x': jnp.full(3, step)})


def test_one_is_kept(tmp_path):
  assert best.find(tmp_path) is None
  _save(tmp_path, 10, -3.5)
  assert best.find(tmp_path) == (10, -3.5)
  _save(tmp_path, 20, 1.0)
  assert best.find(tmp_path) == (20, 1.0)
  assert [x.name for x in (tmp_path / 'best').iterdir()] == ['000000000020']
  step, params = best.restore(tmp_path, _ABSTRACT)
  assert step == 20 and params['x'].tolist() == [20] * 3
  assert checkpoint.steps(tmp_path) == []


def test_an_earlier_step_of_a_resumed_run_can_be_better(tmp_path):
  _save(tmp_path, 20, 1.0)
  _save(tmp_path, 10, 2.0)
  assert best.find(tmp_path) == (10, 2.0)
  assert best.restore(tmp_path, _ABSTRACT)[0] == 10


def test_what_is_damaged_or_absent_does_not_count(tmp_path):
  with pytest.raises(UserError, match="snapshot = 'best': .* eval_period is 0"):
    best.restore(tmp_path, _ABSTRACT)
  _save(tmp_path, 10, 2.0)
  directory = tmp_path / 'best' / '000000000010'
  path = max(directory.rglob('*'), key=lambda x: x.is_file() and len(
    x.read_bytes()))
  path.write_bytes(path.read_bytes()[:-1])
  assert best.find(tmp_path) is None
  _save(tmp_path, 10, float('nan'))
  assert best.find(tmp_path) is None
