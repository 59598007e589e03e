"""How speed grows with the batch."""

import json
import sys
import types

import jax
import pytest
import tiny_run

from benchmarks import common, scaling
from muzero_jax.config import command_line, from_preset
from muzero_jax.errors import UserError


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
  assert row == dict(num_envs=128, batch_size=64, out_of_memory=True)
  assert scaling.line(row) == '      128 environments: out of memory'


def test_other_errors_are_not(failing):
  failing('INTERNAL: broken')
  with pytest.raises(jax.errors.JaxRuntimeError, match='broken'):
    scaling._try(from_preset('minatar'))


def test_each_size_is_a_record_of_its_device_and_flags(
  tmp_path, monkeypatch, capsys
):
  path = tmp_path / 'scaling.json'
  monkeypatch.setattr(scaling, '_RESULTS', path)
  monkeypatch.setattr(scaling, '_LARGEST', types.SimpleNamespace(value=512))
  monkeypatch.setattr(scaling, '_measure', lambda config: dict(
    num_envs=config.num_envs, batch_size=config.batch_size,
    rows_per_second=2.0, simulations_per_second=32.0, updates_per_second=1.0,
    memory_bytes=2**30, share_of_peak=0.25))
  # jax reads XLA_FLAGS when it first looks for devices: not with these.
  monkeypatch.setattr(
    common, 'machine', lambda: dict(hardware={'devices': '1 x toy'}))
  monkeypatch.setattr(sys, 'argv', ['scaling', '--preset=minatar'])
  arguments = command_line.Arguments(
    str(tmp_path / 'run'), {}, from_preset('minatar'))
  for xla_flags in ('--a=1', '--a=2', '--a=2'):
    monkeypatch.setenv('XLA_FLAGS', xla_flags)
    assert scaling.main(arguments) == 0
  found = json.loads(path.read_text())
  assert [row['num_envs'] for row in found.values()] == [128, 512, 128, 512]
  assert [row['xla_flags'] for row in found.values()] == (
    ['--a=1'] * 2 + ['--a=2'] * 2)
  out = capsys.readouterr().out
  assert '512 environments, batch       256:' in out and '25.0% of peak' in out


def test_environments_of_the_host_are_refused():
  pytest.importorskip('gymnasium')
  config = from_preset('gymnasium', env_id='CartPole-v1', num_envs=1)
  with pytest.raises(UserError, match='gymnasium/CartPole-v1 is stepped by'):
    common.iteration(config)


def test_several_devices_are_refused(tmp_path):
  arguments = command_line.Arguments(
    str(tmp_path / 'run'), {'num_devices': 2}, from_preset('minatar'))
  with pytest.raises(UserError, match='num_devices=2'):
    scaling.main(arguments)


def test_several_agents_are_refused_in_one_line():
  done = tiny_run.call([
    sys.executable, '-m', 'benchmarks.scaling', '--preset=minatar',
    '--num_seeds=2', '--largest=1'], timeout=60)
  assert done.returncode == 2 and tiny_run.is_plain_line(done.stderr)
  assert 'num_seeds=2: one agent is timed' in done.stderr
