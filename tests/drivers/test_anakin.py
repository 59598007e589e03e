"""Driver: the whole step, on one device and on eight."""

import dataclasses
import functools
import math
import os
import re
import subprocess
import sys

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import config
from muzero_jax.drivers import anakin, build
from muzero_jax.drivers import placement as placement_lib
from muzero_jax.envs import classic
from muzero_jax.errors import UserError
from muzero_jax.learning import total_loss

# 8 environments of 4 rows: 32 rows an iteration, and 2 updates of 16.
CONFIG = config.Config(
  num_envs=8, rollout_length=4, batch_size=16, updates_per_iteration=2,
  num_channels=8, num_blocks=0, head_hidden=4, support_bins=11,
  support_max=10.0, num_simulations=2, unroll_steps=2, td_steps=2,
  replay_capacity=128, min_replay=64, priority_alpha=0.6,
  reanalyse_fraction=0.5, target_period=3, num_steps=1000,
)


@functools.cache
def one_device():
  env = helpers.counting_env(CONFIG.num_envs)
  driver = anakin.make_anakin(
    CONFIG, env, rows_per_env=CONFIG.capacity_rows_per_env
  )
  return driver, play(driver, 6)


def play(driver, num_iterations, seed=0):
  """The last state and the metrics of each iteration."""
  state, history = driver.init(jax.random.key(seed)), []
  for _ in range(num_iterations):
    state, metrics = driver.step(state)
    history.append(metrics)
  return state, history


@functools.cache
def eight_devices():
  env = classic.make('cartpole', 1)
  driver = anakin.make_anakin(
    CONFIG, env, num_devices=8, rows_per_env=CONFIG.capacity_rows_per_env
  )
  return driver, play(driver, 4)


def test_nothing_crosses_to_the_host_inside_the_step():
  driver, _ = one_device()
  state = driver.init(jax.random.key(1))
  with jax.transfer_guard('disallow'):
    for _ in range(3):
      state, metrics = driver.step(state)
  assert metrics.has_learnt


def test_samples_per_row_is_exact():
  driver, (state, _) = one_device()
  assert driver.samples_per_row == 2 * 16 / (8 * 4)
  # Five of the six iterations learnt.
  samples = int(state.learner.num_updates) * CONFIG.batch_size
  assert samples == driver.samples_per_row * 5 * 8 * 4


def test_a_session_gives_the_step():
  driver, (state, _) = one_device()
  assert driver.num_devices == 1 and driver.restorable
  # Two updates of 8 sequences of 3 rows.
  assert driver.searches_per_iteration == 2 * 8 * 3
  again = driver.init(jax.random.key(0))
  with driver.session(again) as step:
    for _ in range(6):
      again, _ = step(again)
  helpers.assert_trees_equal(state, again)


def test_terms_of_ones_own_are_learnt_and_told():
  def make_terms(run_config, system):
    assert run_config == CONFIG and system.model is not None

    def size(unrolled):
      each = jnp.square(unrolled.output.value_logits).mean(axis=(1, 2))
      return each, {'value_size': each.mean()}

    return (total_loss.Term(size),)

  driver = anakin.make_anakin(
    CONFIG, helpers.counting_env(CONFIG.num_envs),
    rows_per_env=CONFIG.capacity_rows_per_env,
    extensions=build.Extensions(make_terms=make_terms))
  _, history = play(driver, 5)
  sizes = [float(m.learner.extra['value_size']) for m in history]
  # Heads are zero until the first update.
  assert sizes[0] == 0 and sizes[-1] > 0
  assert one_device()[1][1][-1].learner.extra is None


def test_what_is_switched_off_changes_nothing():
  """The settings of variants that are off do not reach the program."""
  variants = dict(
    chance_weight=3.0, commitment_weight=3.0, projection_size=7,
    prefix_units=3, reanalyse_rows_per_iteration=24, offline_updates=7,
    mixed_value_start=7, turn_weight=3.0,
  )
  programs = [
    anakin.make_anakin(
      dataclasses.replace(CONFIG, **changes),
      helpers.counting_env(CONFIG.num_envs),
      rows_per_env=CONFIG.capacity_rows_per_env,
    )
    for changes in (
      {}, variants, dict(reward_weight=3.0), dict(noise_steps=2))
  ]
  plain, off, *others = (
    driver.step.lower(driver.abstract()).as_text() for driver in programs
  )
  assert off == plain
  # And what is on does.
  assert plain not in others


def test_nothing_is_learnt_before_min_replay():
  driver, (_, history) = one_device()
  assert [int(m.num_updates) for m in history] == [0, 2, 4, 6, 8, 10]
  assert [bool(m.has_learnt) for m in history] == [False] + [True] * 5
  first = history[0].learner
  assert all((value == 0).all() for value in jax.tree.leaves(first))
  start = driver.init(jax.random.key(0))
  params = jax.tree.map(np.asarray, start.learner.params)
  helpers.assert_trees_equal(driver.step(start)[0].learner.params, params)


def test_parameters_change_once_it_learns():
  driver, (state, history) = one_device()
  start = driver.init(jax.random.key(0)).learner.params
  changed = jax.tree.map(
    lambda x, y: not np.array_equal(x, y), start, state.learner.params
  )
  assert any(jax.tree.leaves(changed))
  assert all(np.isfinite(m.learner.loss) for m in history)
  assert all(m.learner.loss > 0 for m in history[1:])
  assert history[-1].num_skipped == 0


def test_steps_leave_out_the_resets():
  _, (state, history) = one_device()
  # Environment e ends an episode every 4 + e % 3 rows.
  counts = [
    sum(4 * i - 4 * i // (4 + e % 3) for e in range(8)) for i in range(1, 7)
  ]
  assert [int(m.num_steps) for m in history] == counts
  assert sum(int(m.rollout.num_steps) for m in history) == counts[-1]
  assert int(state.num_steps) == counts[-1]
  assert int(state.num_iterations) == 6
  assert state.replay.num_added == 24


def test_the_replay_holds_the_newest_rows():
  _, (state, _) = one_device()
  frames = np.asarray(state.replay.rows.frame)  # (env, episode, step, action)
  # 24 rows went round a ring of 16: slot 7 is the newest.
  newest = frames[7]
  for e in range(8):
    assert newest[e, 0] == e
    assert newest[e, 2] == 23 % (4 + e % 3)
  assert (state.replay.priority[7][newest[:, 2] == 3 + np.arange(8) % 3] == 0
          ).all()


def test_the_step_donates_its_argument():
  driver, _ = one_device()
  state = driver.init(jax.random.key(2))
  driver.step(state)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_the_same_seed_gives_the_same_run_bit_for_bit():
  driver, (state, _) = one_device()
  again, _ = play(driver, 6)
  helpers.assert_trees_equal(state, again)
  other, _ = play(driver, 6, seed=1)
  leaves = zip(
    jax.tree.leaves(state.learner.params), jax.tree.leaves(other.learner.params)
  )
  assert not any(np.array_equal(x, y) for x, y in leaves if x.ndim > 1)


def test_rows_that_are_not_finite_stop_the_learner():
  driver, _ = one_device()
  state, _ = play(driver, 2)
  params = jax.tree.map(np.asarray, state.learner.params)
  rows = state.replay.rows
  rows = rows._replace(reward=jnp.full_like(rows.reward, jnp.nan))
  state = state._replace(replay=state.replay._replace(rows=rows))
  for _ in range(2):
    state, metrics = driver.step(state)
  assert metrics.skips_in_a_row == 3
  helpers.assert_trees_equal(state.learner.params, params)


def test_eight_devices_learn_together():
  driver, (state, history) = eight_devices()
  assert all(np.isfinite(m.learner.loss) for m in history)
  assert [bool(m.has_learnt) for m in history] == [False, True, True, True]
  assert int(history[-1].num_updates) == 6 and history[-1].num_skipped == 0
  assert driver.samples_per_row == 1.0
  # CartPole lasts longer than 8 steps: every row is a step, of all devices.
  assert [int(m.num_steps) for m in history[:2]] == [32, 64]


def test_each_device_holds_its_share_and_all_of_the_parameters():
  _, (state, _) = eight_devices()
  for leaf in jax.tree.leaves((state.actor, state.rng_key)):
    shards = [shard.data.shape for shard in leaf.addressable_shards]
    assert shards == [(leaf.shape[0] // 8, *leaf.shape[1:])] * 8
  for leaf in jax.tree.leaves((state.replay.rows, state.replay.priority)):
    shards = [shard.data.shape for shard in leaf.addressable_shards]
    assert shards == [(16, 1, *leaf.shape[2:])] * 8
  for leaf in jax.tree.leaves(state.learner):
    copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
    assert len(copies) == 8
    assert all(np.array_equal(copies[0], copy) for copy in copies)


def test_devices_exchange_gradients_and_metrics_only():
  """The compiled program of one device: an eighth of the rows, no gather."""
  driver, _ = eight_devices()
  program = driver.step.lower(driver.abstract()).compile().as_text()
  # The replay's frames, [T, B, 4]: one environment here, never all eight.
  assert 'f32[16,1,4]' in program and 'f32[16,8,4]' not in program
  # Samples: 2 of the batch of 16.
  assert 'f32[2,1,4]' in program and 'f32[16,1,1,4]' not in program
  for exchange in (
    'all-gather', 'all-to-all', 'collective-permute', 'reduce-scatter'
  ):
    assert not re.search(rf'\b{exchange}(-start)?\(', program)
  params = jax.eval_shape(
    lambda: driver.init(jax.random.key(0)).learner.params
  )
  most = sum(leaf.size for leaf in jax.tree.leaves(params))
  reduced = re.findall(
    r'= \(?([^=]*?)\)? all-reduce(?:-start)?\(', program
  )
  assert reduced
  for shapes in reduced:
    sizes = [
      math.prod(map(int, filter(None, shape.split(','))))
      for shape in re.findall(r'\[([\d,]*)\]', shapes)
    ]
    # The largest is the sum of all gradients, with a few metrics.
    assert sum(sizes) <= most + 64


def test_devices_play_different_episodes():
  _, (state, _) = eight_devices()
  frames = np.asarray(state.replay.rows.frame)[0]
  assert len(np.unique(frames, axis=0)) == 8


def test_eight_devices_repeat_bit_for_bit():
  driver, (state, _) = eight_devices()
  again, _ = play(driver, 4)
  helpers.assert_trees_equal(state.learner, again.learner)


def test_abstract_states_describe_real_ones():
  for driver, (state, _) in (one_device(), eight_devices()):
    abstract = driver.abstract()
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    for x, y in zip(jax.tree.leaves(abstract), jax.tree.leaves(state)):
      assert (x.shape, x.dtype) == (y.shape, y.dtype)
      assert x.sharding.is_equivalent_to(y.sharding, y.ndim)


def test_choose_num_devices():
  choose = placement_lib.choose_num_devices
  make = functools.partial(
    config.Config, num_envs=12, batch_size=18, replay_capacity=10_000,
    min_replay=0,
  )
  assert len(jax.devices()) == 8
  assert choose(make()) == 6  # The most that divide both.
  assert choose(make(num_devices=3)) == 3
  assert choose(make(), restorable=False) == 1
  assert choose(make(num_devices=1), restorable=False) == 1
  with pytest.raises(UserError, match='num_devices=9'):
    choose(make(num_devices=9, num_envs=18))
  with pytest.raises(UserError, match='num_devices=2'):
    choose(make(num_devices=2), restorable=False)
  with pytest.raises(UserError, match='num_devices'):
    choose(make(num_devices=4))


def _num_cores():
  """Those that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


@pytest.mark.parametrize('told, found', [
  ({}, min(2, _num_cores())),
  (dict(XLA_FLAGS='--xla_force_host_platform_device_count=3'), 3),
  (dict(JAX_NUM_CPU_DEVICES='3'), 3),
])
def test_scripts_let_each_core_be_a_device(told, found):
  code = (
    'from muzero_jax.commands import train; train.divide_cpu(2); '
    'import jax; print(jax.device_count())')
  assert int(_without_devices([sys.executable, '-c', code], told).stdout
             ) == found


def test_scripts_count_cores_before_environments_start_devices():
  """pgx, which a board needs, makes arrays when it is imported."""
  done = _without_devices([
    sys.executable, '-m', 'experiments.board', '--num_devices=64',
    '--preset=tic_tac_toe', '--workdir=none'], {}, check=False)
  assert done.returncode == 2
  assert 'num_devices=64: this machine has' in done.stderr


def _without_devices(command, environment, check=True):
  """Runs a command as it is where no one has named any devices."""
  kept = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  return subprocess.run(
    command, env={**kept, **environment}, capture_output=True, text=True,
    check=check)
