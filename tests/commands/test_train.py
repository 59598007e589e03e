"""The command that trains: presets, families and resuming."""

import pytest

import muzero_jax.train
from muzero_jax import config as config_lib
from muzero_jax.commands import main, train
from muzero_jax.runs import run_dir


@pytest.fixture(name='call')
def _call(tmp_path, monkeypatch):
  """Returns a function that runs a command line and returns its Configs."""
  configs = []

  def run(config, workdir, *, writers=None, restart=False):
    configs.append(config)
    return 0

  monkeypatch.setattr(muzero_jax.train, 'run', run)

  def call(*argv):
    with pytest.raises(SystemExit) as exited:
      main.main(['muzero-jax', 'train', f'--workdir={tmp_path}', *argv])
    return exited.value.code, configs

  return call


def test_any_family(call):
  assert call('--preset=cartpole', '--seed=3') == (
    0, [config_lib.from_preset('cartpole', seed=3)])
  status, configs = call('--preset=tic_tac_toe')
  assert status == 0 and configs[-1].family == 'board'


def test_the_preset_may_be_in_a_flagfile(call, tmp_path):
  path = tmp_path / 'x.flags'
  path.write_text('--preset=cartpole\n--num_steps=9\n')
  assert call(f'--flagfile={path}', '--seed=3') == (
    0, [config_lib.from_preset('cartpole', seed=3, num_steps=9)])


def test_a_new_run_needs_a_preset_and_a_stored_one_does_not(
    call, capsys, tmp_path):
  assert call('--seed=3') == (2, [])
  assert '--preset' in capsys.readouterr().err
  stored = config_lib.from_preset('cartpole', seed=3)
  run_dir.store(tmp_path, stored)
  assert call() == (0, [stored])


def test_a_script_is_for_its_families(monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(
    'sys.argv', ['script', f'--workdir={tmp_path}', '--preset=cartpole'])
  with pytest.raises(SystemExit) as exited:
    train.main(families=('board',), preset='tic_tac_toe')
  assert exited.value.code == 2
  assert 'family' in capsys.readouterr().err
