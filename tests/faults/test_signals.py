"""Processes that are stopped: saved, the right status, no traceback."""

import multiprocessing
import os
import signal
import time
import types

import pytest
from gymnasium.vector import async_vector_env

from benchmarks.drills import faulty_env, lives
from muzero_jax import processes

pytestmark = pytest.mark.slow

PROGRESS = r'left \d'


def _send(signum):
  return lambda process: process.send_signal(signum)


@pytest.fixture(name='live')
def _live(tmp_path, request):
  """Runs a command in a run directory; returns its life."""
  cache = os.environ['JAX_COMPILATION_CACHE_DIR']

  def live(act, until, script='classic', environ=None, delay=0.0, **fields):
    env = lives.environ(cache, **(environ or {}))
    return lives.live(
      lives.command(tmp_path / 'run', script, **fields), env, act,
      folder=tmp_path, until=until, delay=delay)

  return live


def _check(life, workdir, status, longest=20.0):
  """Asserts that a run was saved and ended."""
  assert life.status == status, life.text[-2000:]
  assert not life.has_trace, life.text
  assert life.seconds < longest
  assert lives.unfinished(workdir) == []
  assert life.saved and lives.intact(workdir)[-1] == life.saved[-1]


# SIGTERM and SIGINT are in tests/config/test_bad_input.py, too.
@pytest.mark.parametrize('signum', [
  pytest.param(signal.SIGTERM, marks=pytest.mark.thorough), signal.SIGHUP])
def test_training_is_saved(live, tmp_path, signum):
  life = live(_send(signum), PROGRESS)
  _check(life, tmp_path / 'run', 128 + signum)
  name = signal.Signals(signum).name
  assert f'stopped by {name}' in life.text


@pytest.mark.thorough
def test_two_at_once_are_one_request(live, tmp_path):
  """As a closing terminal, `timeout` and service managers send them."""

  def act(process):
    process.send_signal(signal.SIGTERM)
    time.sleep(0.01)
    process.send_signal(signal.SIGHUP)

  life = live(act, PROGRESS)
  assert life.status in (128 + signal.SIGTERM, 128 + signal.SIGHUP)
  _check(life, tmp_path / 'run', life.status)


def test_compiling_is_left_by_a_second_signal(live, tmp_path):

  def act(process):
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)

  life = live(
    act, 'compiling the training step',
    environ={'JAX_COMPILATION_CACHE_DIR': str(tmp_path / 'empty')})
  assert life.status == 128 + signal.SIGTERM and life.seconds < 2
  assert not life.has_trace and life.saved == []


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_an_early_signal_is_not_lost(live, signum):
  """While jax is imported, in a thread of the system at the latest."""
  life = live(_send(signum), '', delay=1.0)
  assert life.status in (128 + signum, -signum) and not life.has_trace


@pytest.mark.thorough
def test_evaluation_ends_between_chunks(live, tmp_path):
  life = live(
    _send(signal.SIGTERM), 'evaluating over', num_steps=640,
    eval_episodes=64_000, eval_envs=64)
  _check(life, tmp_path / 'run', 128 + signal.SIGTERM, longest=40)
  assert not (tmp_path / 'run' / 'evaluation.json').exists()


@pytest.mark.thorough
def test_a_group_with_environments_in_processes(live, tmp_path):
  """What Ctrl-C in a terminal does."""
  life = live(
    lambda process: os.killpg(process.pid, signal.SIGINT), PROGRESS,
    'gymnasium', vectorisation='async')
  _check(life, tmp_path / 'run', 128 + signal.SIGINT)


def test_environments_end_with_a_run_that_is_killed(live):
  pids = []

  def act(process):
    path = f'/proc/{process.pid}/task/{process.pid}/children'
    for child in os.listdir('/proc'):
      if child.isdigit() and child != str(process.pid):
        pids.extend(_if_child(process.pid, child))
    assert pids, path
    process.kill()

  life = live(act, PROGRESS, 'gymnasium', vectorisation='async')
  assert life.status == -signal.SIGKILL and not life.has_trace
  end = time.monotonic() + 10
  while any(os.path.exists(f'/proc/{pid}') for pid in pids):
    assert time.monotonic() < end
    time.sleep(0.05)


def _if_child(parent, pid):
  try:
    with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
      fields = file.read().rsplit(')', 1)[1].split()
  except OSError:
    return []
  return [int(pid)] if int(fields[1]) == parent else []


@pytest.mark.parametrize('mode, fault, words', [
  ('async', 'die', 'actor 0: step raised'),
])
def test_an_environment_that_fails_leaves_a_checkpoint(
    live, tmp_path, mode, fault, words):
  life = live(
    lambda process: None, 'error: ', 'gymnasium', vectorisation=mode,
    worker_timeout=10.0, environ=dict(FAULT=fault, FAULT_AT='400'))
  _check(life, tmp_path / 'run', 1)
  last = life.errors.strip().splitlines()[-1]
  assert last.startswith('error: actor 0: ') and words in last


def test_a_hanging_environment_does_not_hold_up_a_stop(live, tmp_path):
  life = live(
    _send(signal.SIGTERM), faulty_env.HANGS, 'gymnasium', worker_timeout=60.0,
    environ=dict(FAULT='hang', FAULT_AT='400'))
  _check(life, tmp_path / 'run', 128 + signal.SIGTERM, longest=15)


def test_an_environments_process_ends_without_a_word_with_its_parent(
    monkeypatch):
  """Its pipe is closed before it is told that the run is gone."""

  def fail(*args):
    raise EOFError

  monkeypatch.setattr(async_vector_env, '_async_worker', fail)
  monkeypatch.setattr(processes, 'leave_group', lambda: None)
  ended = []
  monkeypatch.setattr(os, '_exit', ended.append)
  monkeypatch.setattr(processes, '_MOMENTS', 0.1)
  ours, theirs = os.pipe()
  parent = types.SimpleNamespace(sentinel=ours)
  monkeypatch.setattr(multiprocessing, 'parent_process', lambda: parent)
  with pytest.raises(EOFError):  # The parent lives: it is its error.
    processes.play_environment()
  assert not ended
  os.close(theirs)
  with pytest.raises(EOFError):
    processes.play_environment()
  assert ended == [1]
  os.close(ours)
