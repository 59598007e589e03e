"""How speed grows with the batch."""

import jax
import pytest

from benchmarks import scaling
from muzero_jax import flags
from muzero_jax.config import from_preset


def test_everything_grows_but_the_updates():
  base = from_preset('minatar', num_envs=16, batch_size=8)
  first, second, third = scaling.sizes(base, largest=300)
  assert (first.num_envs, first.batch_size) == (16, 8)
  assert (second.num_envs, second.batch_size) == (64, 32)
  assert (third.num_envs, third.batch_size) == (256, 128)
  for config in (first, second, third):
    assert config.updates_per_iteration == base.updates_per_iteration
    assert config.capacity_rows_per_env == base.capacity_rows_per_env
    assert config.min_replay == config.num_envs * base.rollout_length


def test_the_first_size_is_timed_whatever_the_largest():
  base = from_preset('minatar')
  assert [c.num_envs for c in scaling.sizes(base, largest=1)] == [128]


@pytest.fixture
def failing(monkeypatch):
  def fail(text):
    def measure(config):
      raise jax.errors.JaxRuntimeError(text)
    monkeypatch.setattr(scaling, '_measure', measure)
  return fail


def test_too_little_memory_is_a_result(failing):
  failing('RESOURCE_EXHAUSTED: 9 GiB')
  row = scaling._try(from_preset('minatar'))
  assert row == dict(num_envs=128, out_of_memory=True)
  assert scaling.line(row) == '      128 environments: out of memory'


def test_other_errors_are_not(failing):
  failing('INTERNAL: broken')
  with pytest.raises(jax.errors.JaxRuntimeError, match='broken'):
    scaling._try(from_preset('minatar'))


def test_several_agents_are_refused(tmp_path):
  arguments = flags.Arguments(
    str(tmp_path / 'run'), {'num_seeds': 2}, from_preset('minatar'))
  with pytest.raises(ValueError, match='num_seeds=2: one agent is timed'):
    scaling.main(arguments)
