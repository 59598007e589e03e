"""Host environments under guard: in time, in shape, or one clear error."""

import threading
import time

import host_envs
import numpy as np
import pytest

from muzero_jax.acting import host_worker

ACTION = np.zeros(2, np.int32)


def worker(*faults, timeout=30.0, num_envs=2):
  env = host_envs.Counting(num_envs, faults)
  return env, host_worker.Worker(
    env.host, num_envs=num_envs, name='actor 7', timeout=timeout)


def num_threads():
  return sum(thread.name == 'actor 7' for thread in threading.enumerate())


def wait_for(condition):
  deadline = time.monotonic() + 20
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.01)


def test_rows_pass_through():
  env, guard = worker()
  rows = [guard.reset(0), *(guard.step(ACTION + 1) for _ in range(7))]
  assert [row.observation[0, 1] for row in rows] == [0, 1, 2, 3, 4, 0, 1, 2]
  assert [row.reward[0] for row in rows] == [0, 2, 2, 2, 2, 0, 2, 2]
  assert num_threads() == 1 and not env.is_closed
  guard.close()
  assert env.is_closed
  wait_for(lambda: num_threads() == 0)
  guard.close()


@pytest.mark.parametrize('fault, words', [
  ('raise', "actor 7: step raised KeyError: 'lost'"),
  ('shape', r'actor 7: step did not return a valid row: test/host: observation '
            r'is float32\[2, 2\], expected float32\[2, 3\]'),
  ('nan', 'an observation or a reward is not finite'),
  ('first', 'is_first must follow is_last and nothing else'),
  ('nothing', "valid row: 'NoneType' object has no attribute"),
])
def test_what_goes_wrong_is_named(fault, words):
  env, guard = worker((2, fault))
  guard.reset(0)
  for _ in range(2):
    guard.step(ACTION)
  with pytest.raises(host_worker.WorkerError, match=words):
    guard.step(ACTION)
  guard.close()
  assert env.is_closed


def test_the_cause_of_an_error_is_kept():
  _, guard = worker((0, 'raise'))
  guard.reset(0)
  with pytest.raises(host_worker.WorkerError) as caught:
    guard.step(ACTION)
  assert isinstance(caught.value.__cause__, KeyError)
  guard.close()


def test_a_hang_is_left_behind():
  env, guard = worker((1, 'hang'), timeout=0.3)
  guard.reset(0)
  guard.step(ACTION)
  start = time.monotonic()
  with pytest.raises(host_worker.WorkerError, match=(
      r'actor 7: step has not come back within worker_timeout = 0.3 seconds')):
    guard.step(ACTION)
  guard.close()
  assert 0.3 <= time.monotonic() - start < 10
  assert not env.is_closed
  env.released.set()
  # Once it does come back, nothing of it stays.
  wait_for(lambda: env.is_closed and num_threads() == 0)


def test_an_environment_that_cannot_be_made():
  def make():
    raise OSError('no licence')

  with pytest.raises(host_worker.WorkerError, match=(
      'making it raised OSError: no licence')):
    host_worker.Worker(make, num_envs=2, name='actor 7', timeout=30)
  wait_for(lambda: num_threads() == 0)


def test_an_environment_that_hangs_while_it_is_made():
  env, released = host_envs.Counting(2), threading.Event()

  def make():
    released.wait(30)
    return env.host()

  with pytest.raises(
      host_worker.WorkerError, match='making it has not come back'):
    host_worker.Worker(make, num_envs=2, name='actor 7', timeout=0.1)
  released.set()
  wait_for(lambda: env.is_closed and num_threads() == 0)


def test_environments_of_another_number():
  _, guard = worker()
  guard._num_envs = 3
  with pytest.raises(
      host_worker.WorkerError, match=r'\[2, 3\], expected .*\[3, 3'):
    guard.reset(0)
  guard.close()
