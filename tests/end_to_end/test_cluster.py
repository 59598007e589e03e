"""A run whose jobs are Ray's, on this machine: losses of jobs, and signals."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from muzero_jax.runs import metrics

pytest.importorskip('ray', reason='the extra `ray` is not installed')
pytestmark = pytest.mark.thorough

_SMALL = (
  '--preset=cartpole', '--network=mlp', '--num_channels=16', '--num_envs=8',
  '--rollout_length=4', '--min_replay=64', '--replay_capacity=16384',
  '--batch_size=16', '--updates_per_iteration=2', '--num_simulations=4',
  '--support_bins=11', '--td_steps=5', '--log_period=0', '--eval_episodes=2',
  '--log_to=', '--num_actors=2')
_STREAM = (
  '--reanalyse_form=stream', '--reanalyse_fraction=0.5',
  '--num_reanalyse_actors=1')
_SECONDS = 240


def _start(workdir, log, *flags):
  env = {
    name: value for name, value in os.environ.items() if name != 'XLA_FLAGS'}
  with open(log, 'w') as out:
    return subprocess.Popen(
      [sys.executable, '-m', 'muzero_jax.commands.main', 'cluster', *_SMALL,
       f'--workdir={workdir}', *flags],
      env=dict(env, JAX_PLATFORMS='cpu'), stdout=out, stderr=subprocess.STDOUT)


def _wait_for(condition, started, log):
  deadline = time.monotonic() + _SECONDS
  while not condition():
    assert started.poll() is None, log.read_text()
    assert time.monotonic() < deadline, log.read_text()
    time.sleep(0.1)


def _rows(workdir):
  path = workdir / metrics.METRICS_FILE
  return metrics.read_metrics(workdir) if path.exists() else []


def _jobs(kind):
  """Processes of Ray's jobs of a kind."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
    try:
      words = path.read_bytes()
    except OSError:
      continue
    if words.startswith(f'ray::{kind}'.encode()):
      found.append(int(path.parent.name))
  return found


@pytest.mark.parametrize('kind', ['Player', 'Reanalyser'])
def test_a_job_that_is_killed_is_replaced(tmp_path, kind):
  workdir, log = tmp_path / 'run', tmp_path / 'log'
  run = _start(workdir, log, '--num_steps=1000000', *_STREAM)
  try:
    _wait_for(lambda: len(_rows(workdir)) > 3, run, log)
    lost = _jobs(kind)[0]
    os.kill(lost, signal.SIGKILL)
    _wait_for(lambda: _rows(workdir)[-1]['lost_stretches'], run, log)
    before = _rows(workdir)[-1]['step']
    _wait_for(lambda: _rows(workdir)[-1]['step'] > before + 5_000, run, log)
    _wait_for(lambda: _jobs(kind) and lost not in _jobs(kind), run, log)
    run.send_signal(signal.SIGTERM)
    assert run.wait(_SECONDS) == 143, log.read_text()
  finally:
    run.kill()
  text = log.read_text()
  assert f'{kind.lower()} 0 is lost' in text and 'Traceback' not in text
  assert _rows(workdir)[-1]['repeated_stretches'] == 0
  assert not _jobs('Player') and not _jobs('Reanalyser')


def test_a_run_goes_on_where_it_was_stopped(tmp_path):
  workdir, log = tmp_path / 'run', tmp_path / 'log'
  run = _start(workdir, log, '--num_steps=30000', *_STREAM)
  try:
    _wait_for(lambda: len(_rows(workdir)) > 3, run, log)
    run.send_signal(signal.SIGTERM)
    assert run.wait(_SECONDS) == 143, log.read_text()
    stopped = _rows(workdir)[-1]['step']
    again = _start(workdir, log, '--num_steps=30000', *_STREAM)
    assert again.wait(_SECONDS) == 0, log.read_text()
  finally:
    run.kill()
  text = log.read_text()
  assert f'resumed from the checkpoint at step {stopped:,}' in text
  assert _rows(workdir)[-1]['step'] >= 30_000
