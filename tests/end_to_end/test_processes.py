"""One run of two processes, with two devices each, on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from muzero_jax.runs import metrics

_SMALL = (
  '--preset=cartpole', '--network=mlp', '--num_channels=16', '--num_envs=8',
  '--rollout_length=4', '--min_replay=64', '--replay_capacity=1024',
  '--batch_size=16', '--updates_per_iteration=2', '--num_simulations=4',
  '--support_bins=11', '--td_steps=5', '--log_period=0', '--eval_episodes=2',
  '--log_to=')
_SECONDS = 240


def _free_port():
  with socket.socket() as one:
    one.bind(('127.0.0.1', 0))
    return one.getsockname()[1]


def _start(workdir, logs, devices, *flags, processes=2, more=None):
  """Start the processes of a run; each writes into a file of its own."""
  port = _free_port()
  env = {
    name: value for name, value in os.environ.items()
    if 'proxy' not in name.lower() and name != 'XLA_FLAGS'}
  env |= dict(JAX_NUM_CPU_DEVICES=str(devices), JAX_PLATFORMS='cpu')
  started = []
  for index in range(processes):
    together = (
      f'--num_processes={processes}', f'--process_id={index}',
      f'--coordinator_address=127.0.0.1:{port}') if processes > 1 else (
        f'--num_devices={devices}',)
    command = [
      sys.executable, '-m', 'muzero_jax.commands.main', 'train', *_SMALL,
      f'--workdir={workdir}', *flags, *together, *(more or {}).get(index, ())]
    with open(logs / f'{index}.log', 'w') as log:
      started.append(subprocess.Popen(
        command, env=env, stdout=log, stderr=subprocess.STDOUT))
  return started


def _statuses(started):
  deadline = time.monotonic() + _SECONDS
  try:
    return [
      one.wait(max(deadline - time.monotonic(), 0.1)) for one in started]
  finally:
    for one in started:
      one.kill()


def _wait_for_steps(workdir, started, steps):
  deadline = time.monotonic() + _SECONDS
  path = workdir / metrics.METRICS_FILE
  while not path.exists() or not any(
      row['step'] >= steps for row in metrics.read_metrics(workdir)):
    assert all(one.poll() is None for one in started)
    assert time.monotonic() < deadline
    time.sleep(0.1)


def _text(logs, index):
  return (logs / f'{index}.log').read_text()


@pytest.mark.thorough
def test_two_processes_learn_what_one_does(tmp_path):
  """2 processes x 2 devices: the losses of 1 process x 4, and both resume."""
  of_two, of_one = tmp_path / 'two', tmp_path / 'one'
  flags = ('--num_steps=640',)
  two = _start(of_two, tmp_path, 2, *flags)
  assert _statuses(two) == [0, 0], _text(tmp_path, 0) + _text(tmp_path, 1)
  one = _start(of_one, tmp_path, 4, *flags, processes=1)
  assert _statuses(one) == [0], _text(tmp_path, 0)
  rows = [metrics.read_metrics(x) for x in (of_two, of_one)]
  losses = [
    {row['step']: row['loss'] for row in found if 'loss' in row}
    for found in rows]
  assert losses[0].keys() == losses[1].keys() and len(losses[0]) >= 20
  for step, loss in losses[1].items():
    np.testing.assert_allclose(losses[0][step], loss, rtol=1e-5)
  evaluations = [
    json.loads((x / 'evaluation.json').read_text()) for x in (of_two, of_one)]
  assert evaluations[0]['mean'] == evaluations[1]['mean']
  # Each goes on as the other, and they still agree.
  flags = ('--num_steps=960',)
  one = _start(of_two, tmp_path, 4, *flags, processes=1)
  assert _statuses(one) == [0], _text(tmp_path, 0)
  assert 'resumed from the checkpoint' in _text(tmp_path, 0)
  two = _start(of_one, tmp_path, 2, *flags)
  assert _statuses(two) == [0, 0], _text(tmp_path, 0) + _text(tmp_path, 1)
  assert 'resumed from the checkpoint' in _text(tmp_path, 0)
  last = [metrics.read_metrics(x) for x in (of_two, of_one)]
  last = [[row['loss'] for row in x if 'loss' in row][-1] for x in last]
  np.testing.assert_allclose(*last, rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize('index', [0, 1])
def test_a_signal_to_either_saves_and_ends_both(tmp_path, index):
  workdir = tmp_path / 'run'
  started = _start(workdir, tmp_path, 2, '--num_steps=10000000')
  _wait_for_steps(workdir, started, 160)
  started[index].send_signal(signal.SIGTERM)
  assert _statuses(started) == [143, 143]
  for each in range(2):
    assert 'stopped by SIGTERM' in _text(tmp_path, each)
  assert 'saved the checkpoint' in _text(tmp_path, 0)
  last = metrics.read_metrics(workdir)[-1]['step']
  saved = json.loads((workdir / '.saved.json').read_text())['step']
  assert saved == last


@pytest.mark.thorough
def test_a_process_that_is_killed_ends_the_other(tmp_path):
  workdir = tmp_path / 'run'
  started = _start(workdir, tmp_path, 2, '--num_steps=10000000')
  _wait_for_steps(workdir, started, 160)
  started[1].kill()
  begin = time.monotonic()
  assert _statuses(started)[0] not in (0, None)
  assert time.monotonic() - begin < 30
  assert 'process 1' in _text(tmp_path, 0).splitlines()[-1]


def test_processes_with_different_configurations_end(tmp_path):
  workdir = tmp_path / 'run'
  started = _start(
    workdir, tmp_path, 1, '--num_steps=640', more={1: ('--seed=7',)})
  statuses = _statuses(started)
  assert 0 not in statuses, _text(tmp_path, 0)
  assert 'configuration: process 1 has "seed": 7' in _text(tmp_path, 1)
  assert not (workdir / 'config.json').exists()
