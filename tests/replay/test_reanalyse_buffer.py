"""The stream: against a log of all rows, with a search that can be foretold."""

import dataclasses
import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_replay import (
  IMAGE,
  NUM_ACTIONS,
  NUM_ENVS,
  VECTOR,
  fill,
  make_rows,
  stacks,
)

from muzero_jax import config, wide_counts
from muzero_jax.drivers import anakin, build, iteration
from muzero_jax.replay import reanalyse, reanalyse_buffer
from muzero_jax.types import SearchOutput

S, K, N_STEP = 2, 1, 2


def plan_of(rows_per_env, **changes):
  return reanalyse_buffer.make_plan(**{**dict(
    rows_per_iteration=24, group_rows=8, capacity=100,
    rows_per_env=rows_per_env, opening=3, stacked_frames=S, unroll_steps=K,
    td_steps=N_STEP), **changes})


@pytest.mark.parametrize('changes, expected', [
  # 24 / (3 + 1) actors, in groups of 8 // 4; chunks of 2 + 3 + 1 + 2 rows.
  ({}, (6, 2, 2, 2, 3, 4, 8)),
  # As many windows as the replay has rows for, of 8 - 3 - 2.
  (dict(rows_per_env=8, opening=99), (6, 2, 2, 2, 3, 4, 8)),
  (dict(rows_per_env=6), (12, 4, 1, 2, 1, 2, 6)),
  # At least one actor and one chunk; the last group is not left half full.
  (dict(rows_per_iteration=1, capacity=1), (1, 1, 1, 2, 3, 4, 8)),
  (dict(rows_per_iteration=28, group_rows=12), (6, 3, 2, 2, 3, 4, 8)),
  (dict(group_rows=1, capacity=1000), (6, 1, 20, 2, 3, 4, 8)),
])
def test_plans(changes, expected):
  plan = plan_of(**{'rows_per_env': 16, **changes})
  assert plan == reanalyse_buffer.Plan(*expected)


def fake_search(params, rng_key, observation, legal_actions):
  """Finds what follows from the observation and the parameters alone."""
  del rng_key
  total = observation.reshape(len(observation), -1).astype(jnp.float32).sum(1)
  policy = (total[:, None] + jnp.arange(NUM_ACTIONS)) * legal_actions
  zero = jnp.zeros(len(total))
  return SearchOutput(zero.astype(jnp.int32), policy, zero - 1, params * total)


def fake_value(params, observation):
  total = observation.reshape(len(observation), -1).astype(jnp.float32).sum(1)
  return params * total


@functools.cache
def make(spec, plan, stack_actions=False):
  made = reanalyse_buffer.make_stream(
    spec, plan, reanalyser=reanalyse.Reanalyser(fake_search, fake_value),
    stack_actions=stack_actions)
  return made, jax.jit(made.refresh)


@pytest.mark.parametrize(
  'spec, stack_actions', [(IMAGE, True), (VECTOR, False)])
# Half full, exactly full, twice around.
@pytest.mark.parametrize('num_rows', [8, 16, 36])
def test_chunks_are_rows_of_the_replay_with_fresh_targets(
    spec, stack_actions, num_rows):
  capacity = 16
  log = make_rows(np.random.default_rng(num_rows), spec, num_rows)
  seen = stacks(spec, log, S, stack_actions)
  total = seen.reshape(num_rows, NUM_ENVS, -1).astype(np.float32).sum(-1)
  source = fill(spec, log, capacity)
  plan = plan_of(capacity)
  made, refresh = make(spec, plan, stack_actions)
  state = refresh(
    2.0, jax.random.key(num_rows), source, made.init(1), wide_counts.of(7),
    True)
  state = jax.tree.map(np.asarray, state)
  assert state.ring.num_added == plan.length and state.searched_at[0] == 7
  rows = jax.tree.map(lambda x: x[:plan.length], state.ring.rows)
  priority = state.ring.priority[:plan.length]
  opened = []
  for r in range(plan.num_actors):
    first = int(state.first_row[0, r])
    oldest = max(num_rows - capacity, 0)
    assert first + S >= oldest + (S if oldest else 0)
    env, = (e for e in range(NUM_ENVS) if np.array_equal(
      rows.frame[S:S + 2, r], log.frame[first + S:first + S + 2, e]))
    for i in range(plan.length):
      t = first + i
      is_open = (
        S <= i < S + plan.opening and t < num_rows - 1
        and not log.is_last[t, env])
      assert priority[i, r] == is_open
      opened += [(t, env)] * is_open
      if not 0 <= t < num_rows:
        continue
      for name in ('frame', 'reward', 'discount', 'is_first', 'legal_actions',
                   'to_play', 'action'):
        np.testing.assert_array_equal(
          getattr(rows, name)[i, r], getattr(log, name)[t, env], name)
      is_last = log.is_last[t, env] or t == num_rows - 1
      assert rows.is_last[i, r] == is_last
      fresh = (total[t, env] + np.arange(NUM_ACTIONS)) * (
        log.legal_actions[t, env])
      policy, value = log.policy[t, env], log.value[t, env]
      if S <= i < S + plan.searched:
        policy = fresh
      if i >= S:
        value = 2 * total[t, env]
      np.testing.assert_allclose(rows.policy[i, r], policy, rtol=1e-5)
      np.testing.assert_allclose(rows.value[i, r], value, rtol=1e-5)
  assert len(set(opened)) > plan.opening


def test_a_stream_that_is_off_stays_empty():
  log = make_rows(np.random.default_rng(0), VECTOR, 16)
  source = fill(VECTOR, log, 16)
  made, refresh = make(VECTOR, plan_of(16))
  state = refresh(
    2.0, jax.random.key(0), source, made.init(1), wide_counts.of(0), False)
  assert state.ring.num_added == 0
  state = refresh(
    2.0, jax.random.key(0), source, state, wide_counts.of(5), True)
  expected = refresh(
    2.0, jax.random.key(0), source, made.init(1), wide_counts.of(5), True)
  helpers.assert_trees_equal(state, expected)


def test_the_oldest_chunks_make_room():
  log = make_rows(np.random.default_rng(0), VECTOR, 16)
  source = fill(VECTOR, log, 16)
  plan = plan_of(16)
  assert plan.num_chunks == 2
  made, refresh = make(VECTOR, plan)
  state, searched_at = made.init(1), []
  for number in range(4):
    state = refresh(1.0, jax.random.key(number), source, state,
                    wide_counts.of(10 * number), True)
    searched_at.append(state.searched_at.tolist())
  assert searched_at == [[0, 0], [0, 10], [20, 10], [20, 30]]
  assert state.ring.num_added == 32


def test_every_row_is_drawn_and_rows_that_open_nothing_stay_closed():
  log = make_rows(np.random.default_rng(3), VECTOR, 16)
  source = fill(VECTOR, log, 16)
  dropped = np.asarray(source.priority).copy()
  dropped[5, 1] = 0
  source = source._replace(priority=jnp.asarray(dropped))
  made, refresh = make(VECTOR, plan_of(16))
  empty, drawn = made.init(1), set()
  for seed in range(40):
    state = refresh(
      1.0, jax.random.key(seed), source, empty, wide_counts.of(0), True)
    state = jax.tree.map(np.asarray, state)
    for i, r in np.argwhere(state.ring.priority > 0):
      t = state.first_row[0, r] + i
      frame = state.ring.rows.frame[i, r]
      env, = (e for e in range(NUM_ENVS)
              if np.array_equal(frame, log.frame[t, e]))
      drawn.add((t, env))
  expected = {
    (t, env) for t in range(15) for env in range(NUM_ENVS)
    if dropped[t, env] > 0}
  assert drawn == expected


def test_num_bytes_is_what_is_allocated():
  plan = plan_of(16)
  state = make(VECTOR, plan)[0].init(2)
  assert state.ring.priority.shape == (16, 12)
  assert reanalyse_buffer.num_bytes(VECTOR, plan, 2) == sum(
    x.nbytes for x in jax.tree.leaves(state))


# --- In the driver ----------------------------------------------------------

CONFIG = config.Config(
  num_envs=8, rollout_length=4, batch_size=16, updates_per_iteration=2,
  num_channels=8, num_blocks=0, head_hidden=4, support_bins=11,
  support_max=10.0, num_simulations=2, unroll_steps=2, td_steps=2,
  replay_capacity=128, min_replay=64, priority_alpha=0.6,
  reanalyse_fraction=0.5, reanalyse_form='stream', target_period=3,
  num_steps=1000, reanalyse_capacity=1,
)


def play(driver, num_iterations, run_config=CONFIG):
  state, history = driver.init(iteration.run_key(run_config)), []
  for _ in range(num_iterations):
    state, metrics = driver.step(state)
    history.append(metrics)
  return state, history


def driver_of(run_config, num_devices=1):
  env = helpers.counting_env(run_config.num_envs // num_devices)
  return anakin.make_anakin(
    run_config, env, num_devices=num_devices,
    rows_per_env=run_config.capacity_rows_per_env)


def test_the_budget_is_that_of_the_batch_form():
  batch = dataclasses.replace(CONFIG, reanalyse_form='batch')
  # Two updates of 8 sequences of 3 rows; chunks of 4 + 2 searched rows.
  assert build.searches_per_iteration(batch) == 2 * 8 * 3
  assert build.searches_per_iteration(CONFIG) == 8 * 6
  half = dataclasses.replace(CONFIG, reanalyse_rows_per_iteration=24)
  assert build.searches_per_iteration(half) == 24
  assert build.searches_per_iteration(CONFIG, 8) == 8 * 6
  none = dataclasses.replace(CONFIG, reanalyse_fraction=0.0)
  assert build.searches_per_iteration(none) == 0
  assert build.num_reanalysed(CONFIG) == 8
  # Whole sequences, and as many on each device.
  uneven = dataclasses.replace(CONFIG, reanalyse_fraction=0.4)
  assert build.num_reanalysed(uneven) == 6
  assert build.num_reanalysed(uneven, 8) == 8


def test_it_learns_from_rows_of_a_known_age():
  state, history = play(driver_of(CONFIG), 4)
  assert [int(m.num_updates) for m in history] == [0, 2, 4, 6]
  assert all(np.isfinite(m.learner.loss) for m in history)
  # One chunk, searched before the first of two updates.
  assert [float(m.learner.target_age) for m in history] == [0, 0.5, 0.5, 0.5]
  assert state.stream.searched_at.tolist() == [4]
  assert state.stream.ring.num_added == 3 * 9
  values = np.unique(state.stream.ring.priority)
  assert values[0] == 0 and len(values) > 4


@pytest.mark.thorough
def test_agents_on_several_devices():
  run_config = dataclasses.replace(CONFIG, num_seeds=2, reanalyse_capacity=0)
  driver = driver_of(run_config, num_devices=2)
  state, history = play(driver, 4, run_config)
  assert list(wide_counts.as_int(history[-1].num_updates)) == [6, 6]
  assert np.isfinite(history[-1].learner.loss).all()
  # Four actors on each device, their columns side by side; one chunk of each
  # takes 9 rows, and 128 rows of replay are room for one.
  assert state.stream.ring.priority.shape == (2, 9, 8)
  shards = state.stream.ring.priority.addressable_shards
  assert [shard.data.shape for shard in shards] == [(2, 9, 4)] * 2
  assert state.stream.searched_at.tolist() == [[4], [4]]
  abstract = driver.abstract()
  assert jax.tree.structure(abstract) == jax.tree.structure(state)
  for x, y in zip(jax.tree.leaves(abstract), jax.tree.leaves(state)):
    assert (x.shape, x.dtype) == (y.shape, y.dtype)
    assert x.sharding.is_equivalent_to(y.sharding, y.ndim)


def test_nobody_pays_for_a_stream_that_is_not_used():
  programs = []
  for form in ('batch', 'stream'):
    driver = driver_of(dataclasses.replace(
      CONFIG, reanalyse_fraction=0.0, reanalyse_form=form))
    abstract = driver.abstract()
    assert abstract.stream is None
    programs.append(driver.step.lower(abstract).as_text())
  assert programs[0] == programs[1]
