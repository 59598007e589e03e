"""The second driver: lag, order, errors, and the same run twice."""

import functools
import threading
import time

import helpers
import host_envs
import jax
import numpy as np
import pytest

from muzero_jax import config
from muzero_jax.acting import host_actor, host_worker
from muzero_jax.config import settings
from muzero_jax.drivers import sebulba
from muzero_jax.errors import StoppedError, UserError

# 4 environments of 4 rows: 16 rows an iteration, and 2 updates of 8.
FIELDS = dict(
  num_envs=4, rollout_length=4, batch_size=8, updates_per_iteration=2,
  num_channels=8, num_blocks=0, head_hidden=4, support_bins=11,
  support_max=10.0, num_simulations=2, max_considered_actions=2,
  unroll_steps=2, td_steps=2, replay_capacity=64, min_replay=32,
  priority_alpha=0.6, num_steps=100_000, num_devices=1, actor_threads=2,
)
CONFIG = config.Config(**FIELDS)


def changed(**fields):
  return config.Config(**{**FIELDS, **fields})


class Run:
  """A driver over counting environments, and what it did."""

  def __init__(self, run_config, *faults):
    self.factory = host_envs.Factory(*faults)
    self.driver = sebulba.make_sebulba(
      run_config, host_envs.SPEC, self.factory,
      rows_per_env=run_config.capacity_rows_per_env)
    self.reports = []

  def play(self, num_iterations, look=lambda state: None):
    state, metrics = self.driver.init(jax.random.key(0)), None
    with self.driver.session(state, self.reports.append) as step:
      for _ in range(num_iterations):
        state, metrics = step(state)
        look(state)
    return state, metrics


def actor_threads():
  return [t for t in threading.enumerate() if t.name.startswith('actor')]


def wait_for(condition):
  deadline = time.monotonic() + 60
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.01)


@functools.cache
def two_threads(lag=1):
  """Six iterations with the threads of CONFIG."""
  run, learners = Run(changed(policy_lag=lag)), []
  state, metrics = run.play(
    6, look=lambda state: learners.append(jax.device_get(state.learner)))
  return run, jax.device_get(state), metrics, learners


def test_rollouts_lie_side_by_side_in_the_order_of_the_threads():
  run, state, metrics, _ = two_threads()
  assert state.replay.num_added == 24 and int(state.num_iterations) == 6
  frames = state.replay.rows.frame  # [16, 4, 3], a ring.
  # Environments 0 and 1 of either thread: 24 rows are 4 episodes and 4 rows
  # of 5, or 4 episodes of 6.
  assert frames[7, :, 0].tolist() == [0, 1, 0, 1]
  assert frames[7, :, 1].tolist() == [3, 5, 3, 5]
  # The two threads have seeds of their own.
  seeds = frames[..., 2]
  assert (seeds[:, :2] == seeds[0, 0]).all()
  assert (seeds[:, 2:] == seeds[0, 2]).all() and seeds[0, 0] != seeds[0, 2]
  assert len(run.factory.made) == 2
  assert int(metrics.num_steps) == 2 * (24 - 4 + 24 - 4)
  assert run.driver.samples_per_row == 2 * 8 / 16


def test_it_learns_as_soon_as_there_is_enough():
  _, state, metrics, learners = two_threads()
  # 16 rows, then 32.
  assert [int(x.num_updates) for x in learners] == [0, 2, 4, 6, 8, 10]
  assert np.isfinite(metrics.learner.loss) and metrics.num_skipped == 0
  assert metrics.has_learnt and state.actor is None


def test_settings_of_play_reach_the_threads(monkeypatch):
  given = []

  def spy(search, spec, acting, frames, **kwargs):
    given.extend([acting, frames])
    return make(search, spec, acting, frames, **kwargs)

  make = host_actor.make_functions
  monkeypatch.setattr(host_actor, 'make_functions', spy)
  Run(changed(
    temperature_moves=5, noise_steps=2, reward_clip=1.5, stacked_frames=3,
    stack_actions=True))
  assert given == [
    settings.Acting(
      rollout_length=4, temperature_moves=5, noise_steps=2, reward_clip=1.5),
    settings.FrameStack(stacked_frames=3, stack_actions=True)]


def test_threads_end_with_the_run():
  run, *_ = two_threads()
  assert actor_threads() == []
  assert [env.is_closed for env in run.factory.made] == [True, True]


@pytest.mark.parametrize('lag', [1, 3])
def test_the_same_seed_gives_the_same_run_bit_for_bit(lag):
  run, state, *_ = two_threads(lag)
  again, _ = run.play(6)
  helpers.assert_trees_equal(state, again)


def test_lag_changes_what_is_played():
  one, three = (two_threads(lag)[1].replay.rows for lag in (1, 3))
  # Before anything is learnt, after the second iteration, they are alike.
  assert not np.array_equal(one.value, three.value)


@pytest.mark.parametrize('lag, iterations', [
  (1, [0, 1, 2, 3, 4, 5]), (3, [0, 0, 0, 1, 2, 3])])
def test_rollouts_are_played_with_the_parameters_that_lag(
    monkeypatch, lag, iterations):
  rollout, played = host_actor.HostActor.rollout, {}
  # Summed by NumPy on either side: jax's own sums may round otherwise.
  digest = lambda params: float(sum(
    np.asarray(x).sum() for x in jax.tree.leaves(params)))

  def spy(self, params, num_steps, rng_key):
    played.setdefault(self, []).append((int(num_steps), digest(params)))
    return rollout(self, params, num_steps, rng_key)

  monkeypatch.setattr(host_actor.HostActor, 'rollout', spy)
  run, there = Run(changed(policy_lag=lag)), []

  def look(state):
    there.append((int(state.num_steps), digest(state.learner.params)))

  state = run.driver.init(jax.random.key(0))
  look(state)
  with run.driver.session(state) as step:
    for _ in range(6):
      state, _ = step(state)
      look(state)
  assert len(played) == 2
  for calls in played.values():
    assert calls[:6] == [there[i] for i in iterations]
  assert len(set(there)) == 7


@pytest.mark.parametrize('lag', [1, 3])
def test_threads_run_ahead_as_far_as_the_lag_and_no_further(lag):
  run = Run(changed(policy_lag=lag))
  state = run.driver.init(jax.random.key(0))
  with run.driver.session(state) as step:
    counts = lambda: [env.num_steps for env in run.factory.made]
    for ahead in (lag, lag + 1):
      wait_for(lambda ahead=ahead: counts() == [4 * ahead] * 2)
      time.sleep(0.2)
      assert counts() == [4 * ahead] * 2
      state, _ = step(state)


def test_an_error_of_a_thread_is_raised_by_the_step():
  run = Run(CONFIG, [(6, 'raise')])
  with pytest.raises(host_worker.WorkerError, match=(
      r"actor [01]: step raised KeyError: 'lost'")):
    run.play(6)
  assert actor_threads() == []
  assert all(env.is_closed for env in run.factory.made)


def test_a_mistake_of_our_own_is_raised_as_it_is(monkeypatch):
  monkeypatch.setattr(
    host_actor.HostActor, 'rollout', lambda *args: 1 // 0)
  with pytest.raises(ZeroDivisionError):
    Run(CONFIG).play(1)
  assert actor_threads() == []


def test_a_hang_ends_the_run():
  run = Run(changed(worker_timeout=3.0), [(6, 'hang')])
  with pytest.raises(host_worker.WorkerError, match=(
      'step has not come back within worker_timeout = 3 seconds')):
    run.play(6)
  for env in run.factory.made:
    env.released.set()
  wait_for(lambda: not actor_threads())


def test_restarts_drop_what_broke_off_and_say_so():
  """Both threads fail in row 9, the second of the third rollout. Environment
  0 stands at the end of its second episode there, 1 in the middle of it."""
  fault = [(9, 'shape')]
  run = Run(changed(on_worker_error='restart'), fault, fault)
  state, _ = run.play(3)
  assert len(run.factory.made) == 4 and len(run.reports) == 2
  for i, report in enumerate(run.reports):
    assert report.startswith(f'actor {i}: step did not return a valid row')
    assert report.endswith('the episodes that broke off are dropped')
  closed = np.asarray(state.replay.priority)[:12] == 0
  column = lambda e: np.flatnonzero(closed[:, e]).tolist()
  # Rows 6 and 7 were in the replay already.
  assert [column(e) for e in range(4)] == [[4, 9], [5, 6, 7, 8, 9]] * 2
  steps = np.asarray(state.replay.rows.frame)[:12, 1, 1]
  assert steps.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0, 1]


def test_what_does_not_fit_is_refused():
  make = functools.partial(
    sebulba.make_sebulba, spec=host_envs.SPEC, make_env=None, rows_per_env=16)
  with pytest.raises(UserError, match='num_devices=2'):
    make(changed(num_devices=2))
  with pytest.raises(UserError, match='num_seeds=3'):
    make(changed(num_seeds=3))


def test_a_stop_does_not_wait_for_what_hangs():
  run = Run(changed(worker_timeout=60.0), [(6, 'hang')], [(6, 'hang')])
  state, stopped = run.driver.init(jax.random.key(0)), []
  start = time.monotonic()
  with pytest.raises(StoppedError):
    with run.driver.session(state, print, lambda: bool(stopped)) as step:
      state, _ = step(state)
      start = time.monotonic()
      stopped.append(True)
      step(state)
  assert time.monotonic() - start < 30
  # It can be saved, as it can after an environment's error.
  assert not any(x.is_deleted() for x in jax.tree.leaves(state))
  for env in run.factory.made:
    env.released.set()
  wait_for(lambda: not actor_threads())


def test_an_error_leaves_the_state_whole():
  run = Run(CONFIG, [(6, 'raise')])
  state = run.driver.init(jax.random.key(0))
  with pytest.raises(host_worker.WorkerError):
    with run.driver.session(state) as step:
      while True:
        state, _ = step(state)
  assert not any(x.is_deleted() for x in jax.tree.leaves(state))
