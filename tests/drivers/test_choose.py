"""Whole runs on host environments: stop, resume, evaluate, load, fail."""

import json
import re
import signal
import sys

import gymnasium
import host_envs
import jax
import numpy as np
import pytest
import tiny_run

from muzero_jax import agent, config, envs, train
from muzero_jax.acting import host_worker
from muzero_jax.drivers import choose
from muzero_jax.errors import UserError
from muzero_jax.evaluation import report as report_lib
from muzero_jax.runs import checkpoint, policy_checkpoints

FIELDS = dict(
  num_envs=4, rollout_length=4, batch_size=8, updates_per_iteration=2,
  num_channels=8, num_blocks=0, head_hidden=4, support_bins=11,
  support_max=10.0, num_simulations=2, max_considered_actions=2,
  unroll_steps=2, td_steps=2, replay_capacity=256, min_replay=32,
  num_devices=1, actor_threads=2, num_steps=160, eval_episodes=4, eval_envs=2,
  log_period=0.0, checkpoint_period=0.0, worker_timeout=20.0,
)


def changed(**fields):
  return config.Config(**{**FIELDS, **fields})


def test_the_environments_decide():
  host = host_envs.Factory()
  driver = choose.make_driver(changed(), host, host(None, num_envs=1))
  # Sebulba: the host plays, so no program is the whole iteration.
  assert driver.step is None and not driver.restorable
  assert driver.spec == host_envs.SPEC
  assert host.made == []
  run = changed(env_id='cartpole')
  driver = choose.make_driver(run, envs.make, envs.make(run, num_envs=1))
  assert driver.step is not None and driver.restorable
  assert driver.spec.name == 'classic/cartpole'
  with pytest.raises(UserError, match="driver = 'anakin'"):
    choose.make_driver(changed(driver='anakin'), host, host(None, num_envs=1))
  with pytest.raises(UserError, match="reanalyse_form='stream'"):
    choose.make_driver(
      changed(reanalyse_form='stream', reanalyse_fraction=0.5), host,
      host(None, num_envs=1))


@pytest.mark.thorough
def test_a_run_that_is_stopped_and_resumed(tmp_path, monkeypatch, capsys):
  made, save, count = host_envs.Factory(), checkpoint.save, [0]

  def interrupting(*args, **kwargs):
    path = save(*args, **kwargs)
    count[0] += 1
    if count[0] == 4:
      signal.raise_signal(signal.SIGTERM)
    return path

  with monkeypatch.context() as patch:
    patch.setattr(checkpoint, 'save', interrupting)
    status = train.run(changed(), tmp_path, make_env=made)
  assert status == 128 + signal.SIGTERM
  assert [env.is_closed for env in made.made] == [True, True]
  steps = checkpoint.steps(tmp_path)
  assert 'stopped by SIGTERM' in capsys.readouterr().out

  later = changed(checkpoint_period=1e6, snapshot_period=100)
  assert train.run(later, tmp_path, make_env=made) == 0
  out = capsys.readouterr().out
  assert f'resumed from the checkpoint at step {steps[-1]}' in out
  assert 'test/host: running episodes are not saved by a checkpoint' in out
  assert '4 environments and batches of 8 over 1 device' in out
  rows = tiny_run.rows(tmp_path)
  assert [r['step'] for r in rows if 'loss' in r] == sorted(
    {r['step'] for r in rows if 'loss' in r})
  report = json.loads((tmp_path / 'evaluation.json').read_text())
  assert report['mean_length'] == 4.5 and len(report['returns']) == 4
  # Two of the actors before and after, and two of evaluations: the agent's
  # and that of random play.
  assert len(made.made) == 6
  seeds = {env.seed for env in made.made[:4]}
  assert len(seeds) == 4

  abstract = choose.make_driver(
    changed(), made, made(None, num_envs=1)).abstract()
  found = checkpoint.restore(tmp_path, abstract, report=print)
  assert found is not None
  step, state = found
  assert step == rows[-1]['step'] >= 160
  assert int(state.num_steps) == step and state.actor is None
  # What was running when the run stopped was closed: a row before a first
  # one is a last one.
  stored, is_last = int(state.replay.num_added), state.replay.rows.is_last
  assert stored < 64
  first = np.asarray(state.replay.rows.is_first)[1:stored]
  np.testing.assert_array_equal(first, np.asarray(is_last)[:stored - 1])

  assert len(policy_checkpoints.steps(tmp_path)) >= 1
  player = agent.load(tmp_path, make_env=made)
  assert player.step == step
  assert player.act(np.zeros((2, 3), np.float32)).shape == (2,)
  jax.tree.map(
    np.testing.assert_array_equal, player.params, state.learner.params)


def test_an_error_leaves_the_last_checkpoint(tmp_path):
  made = host_envs.Factory([(14, 'raise')], [(14, 'raise')])
  with pytest.raises(host_worker.WorkerError, match="raised KeyError: 'lost'"):
    train.run(changed(), tmp_path, make_env=made)
  assert len(checkpoint.steps(tmp_path)) == 2


def test_restarts_are_told(tmp_path, capsys):
  made = host_envs.Factory([(14, 'nan')], [(14, 'raise')])
  run = changed(on_worker_error='restart', eval_episodes=0)
  assert train.run(run, tmp_path, make_env=made) == 0
  assert capsys.readouterr().out.count('its environments were made anew') == 2


@pytest.mark.thorough
def test_gymnasium_from_the_command_line(tmp_path):
  """A run, and an evaluation of it."""
  fields = {**FIELDS, 'num_steps': 48, 'eval_episodes': 2,
            'checkpoint_period': 1e6}
  argv = [
    sys.executable, '-m', 'experiments.gymnasium', f'--workdir={tmp_path}/run',
    *(f'--{name}={value}' for name, value in fields.items())]
  done = tiny_run.call([*argv, '--env_id=CartPole-v1'])
  assert done.returncode == 0, done.stderr
  # 16 rows an iteration, of which those that open episodes are no steps.
  told = re.search(r'gymnasium/CartPole-v1 after (\d+) steps', done.stdout)
  assert told and 48 <= int(told[1]) < 48 + 16
  player = agent.load(tmp_path / 'run')
  assert player.spec.name == 'gymnasium/CartPole-v1'
  report = report_lib.report(player, num_episodes=2)
  assert len(report['returns']) == 2 and report['min'] >= 8
  env = gymnasium.make('CartPole-v1')
  assert player.act(env.reset(seed=0)[0]) in (0, 1)
