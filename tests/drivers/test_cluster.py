"""Jobs: what they send, how it is learnt from, and who is replaced."""

import sys
import types

import helpers
import host_envs
import jax
import numpy as np
import pytest

from muzero_jax import config as config_lib
from muzero_jax import wide_counts
from muzero_jax.drivers import build
from muzero_jax.drivers.cluster import crew, driver, jobs, runtime, stretches
from muzero_jax.errors import RunError, StoppedError, UserError
from muzero_jax.learning import learner_state

# 8 environments of 2 players, 50 rollouts of 4 rows: 1 + 1 + 200 rows.
FIELDS = dict(
  num_envs=8, rollout_length=4, batch_size=8, updates_per_iteration=1,
  network='mlp', num_channels=8, num_blocks=0, head_hidden=4, support_bins=11,
  support_max=10.0, num_simulations=2, max_considered_actions=2,
  unroll_steps=2, td_steps=2, replay_capacity=4_000, min_replay=1_000,
  num_steps=100_000, num_devices=1)
STREAM = dict(reanalyse_form='stream', reanalyse_fraction=0.5)


def changed(**fields):
  return config_lib.Config(**{**FIELDS, **fields})


def make_env(config, *, num_envs, evaluation=False, seed=None):
  """Environments that count: host ones if the seed is 1."""
  if config.seed == 1:
    return host_envs.Counting(num_envs).host()
  return helpers.counting_env(num_envs)


def parts(**fields):
  config = changed(**fields)
  spec = make_env(config, num_envs=1).spec
  return jobs.Parts(
    config, spec, make_env, build.NONE, stretches.make_plan(config, 2))


def published(given, version=0):
  config, spec = given.config, given.spec
  system = build.make_system(config, spec)
  state = build.make_learner(config, spec, system).init(
    system.model.init(
      jax.random.key(0), build.example_observation(config, spec)))
  return stretches.Published(version, *jax.device_get((
    learner_state.to_search(state, state.params), wide_counts.zero())))


# --- Sizes ------------------------------------------------------------------

@pytest.mark.parametrize('updates, rollout, actors', [
  (1, 4, 2), (64, 16, 4), (3, 5, 4), (7, 16, 8)])
def test_updates_are_to_rows_as_in_the_configuration(updates, rollout, actors):
  config = changed(
    updates_per_iteration=updates, rollout_length=rollout, num_envs=16,
    replay_capacity=1_000_000)
  plan = stretches.make_plan(config, actors)
  played = plan.rollouts * rollout * plan.num_envs
  assert plan.updates * 16 * rollout == updates * played
  assert plan.rollouts * rollout >= 200
  assert plan.length == 1 + 1 + plan.rollouts * rollout


@pytest.mark.parametrize('fields, actors, named', [
  ({}, 3, 'num_envs = 8 .* num_actors = 3'),
  (dict(replay_capacity=1_000), 2, 'replay_capacity = 1000'),
])
def test_what_cannot_be_divided_is_named(fields, actors, named):
  with pytest.raises(UserError, match=named):
    stretches.make_plan(changed(**fields), actors)


@pytest.mark.parametrize('fields, wanted, named', [
  (dict(num_seeds=2), (2, 0), 'num_seeds = 2'),
  (STREAM, (2, 0), 'num_reanalyse_actors'),
  ({}, (2, 1), 'num_reanalyse_actors = 1'),
])
def test_what_jobs_cannot_do_is_refused(fields, wanted, named):
  given = changed(**fields)
  with pytest.raises(UserError, match=named):
    driver.make_cluster(
      given, helpers.counting_env(1).spec, make_env, runtime.Wanted(*wanted))


# --- Players and reanalysers ------------------------------------------------

@pytest.mark.parametrize('fields', [
  dict(seed=0), dict(seed=1), dict(seed=1, stacked_frames=3)])
def test_each_transition_opens_one_window(fields):
  given = parts(**fields)
  plan, context = given.plan, given.plan.context
  player = jobs.Player(given, 0, 5)
  first, second = (player.play(published(given), i).rows for i in (1, 2))
  assert first.reward.shape == (plan.length, plan.num_envs)
  assert first.is_last[:context + 1].all()
  # The row that ended a stretch opens the next one, with its frames before it.
  newest = slice(plan.length - context - 1, plan.length)
  for name in ('frame', 'reward', 'action', 'policy', 'value', 'is_first'):
    np.testing.assert_array_equal(
      getattr(second, name)[:context + 1], getattr(first, name)[newest])
  for rows in (first, second):
    assert rows.is_last[:context].all() and rows.is_last[-1].all()
  # An episode's end comes before each beginning, or the window's start.
  inside = second.is_first[context + 1:] <= second.is_last[context:-1]
  assert inside.all() and not second.is_last[context:-1].all()


def test_a_player_that_is_made_anew_plays_something_else():
  given = parts(seed=0)
  names, actions = [], []
  for incarnation in (0, 1):
    found = jobs.Player(given, 1, incarnation).play(published(given, 7), 1)
    names.append(found.name)
    actions.append(found.rows.action)
    assert found.version == 7
    rows = found.rows.is_last[given.plan.context + 1:-1]
    assert found.stats.num_steps >= rows.size - rows.sum()
  assert names == [(1, 0, 1), (1, 1, 1)]
  assert (actions[0] != actions[1]).any()


def test_a_reanalysed_stretch_differs_in_its_search_alone():
  given = parts(seed=0, **STREAM)
  stretch = jobs.Player(given, 0, 0).play(published(given), 1)
  other = published(given, 3)
  other = other._replace(params=jax.tree.map(
    lambda x: x + 0.3 * np.random.default_rng(0).normal(size=np.shape(x)),
    other.params))
  found, first_row = jobs.Reanalyser(given, 2, 0).search(other, stretch, 40, 9)
  assert first_row == 40 and found.version == 3 and found.name == (2, 0, 9)
  for name in ('frame', 'reward', 'is_first', 'is_last', 'action'):
    np.testing.assert_array_equal(
      getattr(found.rows, name), getattr(stretch.rows, name))
  context = given.plan.context
  old, new = stretch.rows.value[context:], found.rows.value[context:]
  assert np.abs(old - new).mean() > 1e-4
  np.testing.assert_allclose(found.rows.policy[context:].sum(-1), 1, rtol=1e-5)


# --- The learner ------------------------------------------------------------

class _Handle:
  """A job in this process, called as Ray's are."""

  def __init__(self, job):
    self._job = job

  def __getattr__(self, name):
    return types.SimpleNamespace(remote=getattr(self._job, name))


class _Crew:
  """Jobs that do their task when they are asked for it."""

  made = None

  def __init__(self, kind, job, parts, *, count, incarnation, **unused):
    self.jobs = [_Handle(job(parts, i, incarnation)) for i in range(count)]
    self.numbers = [0] * count
    self.num_lost = 0
    self.is_closed = False
    self.incarnation = incarnation
    self.repeats = 0
    _Crew.made.append(self)

  def take(self, assign, wait):
    del wait
    for index in np.argsort(self.numbers, kind='stable'):
      number = self.numbers[index] + 1 - self.repeats
      done = assign(self.jobs[index], number)
      if done is not None:
        self.numbers[index] = number
        self.repeats = 0
        return crew.Done(done, done)
    return None

  def close(self):
    self.is_closed = True


@pytest.fixture
def crews(monkeypatch):
  monkeypatch.setitem(
    sys.modules, 'ray', types.SimpleNamespace(put=lambda x: x))
  monkeypatch.setattr(driver, 'Crew', _Crew)
  _Crew.made = []
  return _Crew.made


def run_of(wanted=(2, 0), **fields):
  config = changed(**fields)
  return driver.make_cluster(
    config, make_env(config, num_envs=1).spec, make_env,
    runtime.Wanted(*wanted))


@pytest.mark.parametrize('fields, wanted', [
  (dict(seed=1), (2, 0)), (dict(seed=0, **STREAM), (2, 1))])
def test_stretches_are_learnt_from(crews, fields, wanted):
  made = run_of(wanted, **fields)
  state = made.init(jax.random.key(0))
  plan = stretches.make_plan(changed(), 2)
  with made.session(state) as step:
    for number in range(1, 7):
      state, metrics = step(state)
      learnt = number * plan.num_rows >= 1_000
      assert bool(metrics.has_learnt) == learnt
      assert int(state.replay.num_added) == number * plan.length
  assert int(metrics.num_updates) == 5 * plan.updates
  # Each update trains 8 sequences, of 32 rows: a quarter of a sequence a row.
  assert made.samples_per_row == 8 / 32
  assert np.isfinite(metrics.learner.loss)
  assert metrics.jobs['policy_lag'] >= 0 and metrics.jobs['lost_stretches'] == 0
  steps = int(metrics.num_steps)
  assert 0 < steps <= 6 * 200 * 4
  if wanted[1]:
    assert state.stream.ring.num_added > 0
    assert metrics.learner.target_age >= 0
  assert all(one.is_closed for one in crews)


def test_a_repeated_stretch_is_dropped(crews):
  made = run_of(seed=1)
  state = made.init(jax.random.key(0))
  with made.session(state) as step:
    for _ in range(3):
      state, metrics = step(state)
    crews[0].repeats = 1
    state, metrics = step(state)
  assert metrics.jobs['repeated_stretches'] == 1
  assert int(state.num_iterations) == 4


def test_a_run_that_goes_on_has_new_incarnations(crews):
  made = run_of(seed=1)
  state = made.init(jax.random.key(0))
  with made.session(state) as step:
    state, _ = step(state)
  with made.session(state) as step:
    state, _ = step(state)
  assert [one.incarnation for one in crews[::2]] == [0, 1]


def test_who_waits_for_a_stretch_can_be_stopped(crews, monkeypatch):
  made = run_of(seed=1)
  state = made.init(jax.random.key(0))
  monkeypatch.setattr(_Crew, 'take', lambda self, assign, wait: None)
  with made.session(state, should_stop=lambda: True) as step:
    with pytest.raises(StoppedError):
      step(state)
  assert not any(x.is_deleted() for x in jax.tree.leaves(state))


# --- Crews ------------------------------------------------------------------

class _Ray:
  """Ray, as far as a crew uses it; tasks end when they are told to."""

  def __init__(self):
    self.hired, self.killed, self.results = [], [], {}

  def put(self, x):
    return x

  def remote(self, job):
    hire = lambda parts, index, incarnation: self._hire(index, incarnation)
    return types.SimpleNamespace(
      options=lambda **kw: types.SimpleNamespace(remote=hire))

  def _hire(self, index, incarnation):
    self.hired.append((index, incarnation))
    return (index, incarnation)

  def kill(self, handle, no_restart):
    assert no_restart
    self.killed.append(handle)

  def wait(self, refs, num_returns, timeout, fetch_local):
    return [x for x in refs if x in self.results][:num_returns], []

  def get(self, ref):
    found = self.results[ref]
    if isinstance(found, Exception):
      raise found
    return found


@pytest.fixture
def ray(monkeypatch):
  made = _Ray()
  monkeypatch.setitem(sys.modules, 'ray', made)
  return made


@pytest.fixture
def clock(monkeypatch):
  now = types.SimpleNamespace(time=100.0)
  monkeypatch.setattr(crew.time, 'monotonic', lambda: now.time)
  monkeypatch.setattr(crew.time, 'sleep', lambda x: None)
  return now


def crew_of(reports, count=2):
  return crew.Crew(
    'player', object, None, count=count, incarnation=3, timeout=60.0,
    report=reports.append)


def assign(handle, number):
  return (*handle, number)


def test_a_slow_job_delays_nobody(ray, clock):
  found, team = [], crew_of([])
  for number in range(1, 5):
    ray.results[1, 3, number] = number
    clock.time += 1
    found.append(team.take(assign, 0.2).result)
  assert found == [1, 2, 3, 4]
  assert ray.hired == [(0, 3), (1, 3)] and not ray.killed


def test_the_one_that_has_waited_longest_comes_first(ray, clock):
  team = crew_of([])
  team.take(assign, 0.2)
  ray.results[1, 3, 1] = 'one'
  clock.time += 1
  assert team.take(assign, 0.2).result == 'one'
  ray.results |= {(0, 3, 1): 'zero', (1, 3, 2): 'two'}
  clock.time += 1
  assert team.take(assign, 0.2).result == 'zero'


def test_a_hung_job_is_replaced(ray, clock):
  reports = []
  team = crew_of(reports, count=1)
  assert team.take(assign, 0.2) is None
  clock.time += 61
  assert team.take(assign, 0.2) is None
  assert ray.killed == [(0, 3)] and team.num_lost == 1
  assert 'player 0 is lost' in reports[0] and 'nothing for 60 s' in reports[0]
  clock.time += 1
  ray.results[0, 4, 1] = 'anew'
  assert team.take(assign, 0.2).result == 'anew'


def test_a_job_that_fails_again_and_again_ends_the_run(ray, clock):
  reports, pauses = [], []
  team = crew_of(reports, count=1)
  for incarnation in range(3, 20):
    ray.results[0, incarnation, 1] = ValueError('no such\nthing')
  with pytest.raises(RunError, match='player 0 .* 6 times .* no such'):
    for _ in range(100):
      before = team.num_lost
      clock.time += 0.25
      team.take(assign, 0.2)
      if team.num_lost > before:
        pauses.append(clock.time)
      if team.num_lost == 5:
        clock.time += 60
  assert len(reports) == 5
  gaps = np.diff(pauses)
  assert (np.diff(gaps[:4]) > 0).all()


def test_a_mistake_of_the_user_ends_the_run_at_once(ray, clock):
  team = crew_of([], count=1)
  team.take(assign, 0.2)
  ray.results[0, 3, 1] = UserError('num_envs = 3: no')
  with pytest.raises(UserError, match='num_envs = 3'):
    team.take(assign, 0.2)


def test_all_are_dismissed_at_the_end(ray, clock):
  team = crew_of([])
  team.take(assign, 0.2)
  team.close()
  assert sorted(ray.killed) == [(0, 3), (1, 3)]
