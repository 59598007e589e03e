"""Offline runs: a dataset, updates, and no environment."""

import dataclasses
import functools
import json
import signal

import jax
import numpy as np
import pytest
import tiny_dataset
import tiny_run
from helpers import assert_trees_equal
from tiny_run import interrupt_after

from muzero_jax import agent, envs, train, wide_counts
from muzero_jax.config import Config
from muzero_jax.drivers import build, iteration, memory_check, offline
from muzero_jax.drivers import placement as placement_lib
from muzero_jax.errors import UserError
from muzero_jax.replay import dataset
from muzero_jax.runs import checkpoint, plots, policy_checkpoints

CONFIG = Config(
  dataset='memory', batch_size=16, updates_per_iteration=2, num_channels=8,
  num_blocks=0, head_hidden=4, support_bins=11, support_max=10.0,
  num_simulations=2, unroll_steps=2, td_steps=2, priority_alpha=0.6,
  target_period=3, offline_updates=20,
)


def make_data(num_rows=24, num_envs=8):
  return dataset.Dataset(
    tiny_dataset.SPEC,
    jax.tree.map(np.asarray, tiny_dataset.make_rows(num_rows, num_envs)), {})


def play(driver, num_iterations, config=CONFIG):
  state, history = driver.init(iteration.run_key(config)), []
  for _ in range(num_iterations):
    state, metrics = driver.step(state)
    history.append(metrics)
  return state, history


@functools.cache
def one_device():
  driver = offline.make_offline(CONFIG, make_data())
  return driver, play(driver, 3)


def test_each_iteration_is_updates_only():
  _, (state, history) = one_device()
  assert [int(m.num_updates) for m in history] == [2, 4, 6]
  assert [int(m.num_steps) for m in history] == [2, 4, 6]
  assert all(m.has_learnt and m.rollout is None for m in history)
  assert all(np.isfinite(m.learner.loss) for m in history)
  assert state.actor is None and state.replay.rows is None
  assert int(state.num_steps) == 6 and int(state.num_iterations) == 3
  start = one_device()[0].init(jax.random.key(0)).learner.params
  changed = jax.tree.map(
    lambda x, y: not np.array_equal(x, y), start, state.learner.params)
  assert any(jax.tree.leaves(changed))


def test_priorities_change_and_stay_zero_where_nothing_opens():
  _, (state, _) = one_device()
  opens = offline.opening_rows(make_data().rows, 1)
  priority = np.asarray(state.replay.priority)
  assert not priority[~opens].any() and (priority[opens] > 0).all()
  assert len(np.unique(priority)) > 10


def test_what_a_driver_tells_of_a_run_that_plays_nothing():
  driver, _ = one_device()
  assert driver.samples_per_row is None and driver.num_devices == 1
  assert driver.searches_per_iteration == 0 and driver.restorable
  config = dataclasses.replace(CONFIG, reanalyse_fraction=0.5)
  driver = offline.make_offline(config, make_data())
  # Two updates of 8 sequences of 3 rows.
  assert driver.searches_per_iteration == 2 * 8 * 3


def test_the_same_seed_gives_the_same_run():
  driver, (state, _) = one_device()
  assert_trees_equal(play(driver, 3)[0], state)


def test_a_compiled_step_is_the_step():
  driver, (state, _) = one_device()
  start = driver.init(jax.random.key(0))
  with driver.session(start) as step:
    for _ in range(3):
      start, _ = step(start)
  assert_trees_equal(start, state)


def test_opening_rows():
  first, last = np.zeros((6, 2), bool), np.zeros((6, 2), bool)
  # Environment 0 starts in the middle of an episode, which ends at row 1.
  last[[1, 5], 0] = first[2, 0] = True
  first[0, 1] = last[5, 1] = True
  rows = make_data().rows._replace(is_first=first, is_last=last)
  opens = offline.opening_rows(rows, 1)
  assert opens.T.astype(int).tolist() == [
    [0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0]]
  opens = offline.opening_rows(rows._replace(is_last=~first & False), 4)
  assert opens.T.astype(int).tolist() == [
    [0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]


def test_eight_devices_share_the_rows():
  driver = offline.make_offline(CONFIG, make_data(), num_devices=8)
  state, history = play(driver, 2)
  assert np.isfinite(history[-1].learner.loss)
  assert int(history[-1].num_updates) == 4
  shards = state.replay.priority.addressable_shards
  assert [shard.data.shape for shard in shards] == [(24, 1)] * 8
  abstract = driver.abstract()
  assert jax.tree.structure(abstract) == jax.tree.structure(state)
  for x, y in zip(jax.tree.leaves(abstract), jax.tree.leaves(state)):
    assert (x.shape, x.dtype) == (y.shape, y.dtype)
    assert x.sharding.is_equivalent_to(y.sharding, y.ndim)
  with pytest.raises(UserError, match='num_devices=4.*num_envs=6'):
    placement_lib.choose_num_devices(
      Config(dataset='d', num_devices=4), num_envs=6)


def test_agents_side_by_side_learn_from_the_same_rows():
  config = dataclasses.replace(CONFIG, num_seeds=2)
  state, history = play(offline.make_offline(config, make_data()), 2, config)
  assert list(wide_counts.as_int(history[-1].num_updates)) == [4, 4]
  assert np.isfinite(history[-1].learner.loss).all()
  assert state.replay.priority.shape == (2, 24, 8)
  kernels = [x for x in jax.tree.leaves(state.learner.params) if x.ndim == 3]
  assert kernels and all((x[0] != x[1]).any() for x in kernels)


# --- Whole runs -------------------------------------------------------------

@pytest.fixture(name='data', scope='module')
def _data(tmp_path_factory):
  """Rows of CartPole, as a run leaves them."""
  directory = tmp_path_factory.mktemp('offline') / 'data'
  spec = envs.spec(tiny_run.config())
  dataset.save(directory, spec, tiny_dataset.make_rows(40, 8, spec=spec))
  return directory


def run_config(data, **changes):
  return tiny_run.config(**{
    'dataset': str(data), 'offline_updates': 40, 'reanalyse_fraction': 1.0,
    'priority_alpha': 0.0, **changes})


def no_env(config, **kwargs):
  raise AssertionError('an environment was made')


@pytest.mark.thorough
def test_a_run_and_one_that_is_stopped(tmp_path, data, monkeypatch, capsys):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  config = run_config(
    data, checkpoint_period=1e6, snapshot_period=15, eval_episodes=2)
  assert train.run(config, whole) == 0
  out = capsys.readouterr().out
  mean = dataset.load(data).facts['mean_return']
  for words in ('offline, batches of 16 over 1 device', '40/40 updates 100%',
                f'40 rows of 8 environments of classic/cartpole, mean return '
                f'{mean:.2f}', 'saved the checkpoint of step 40'):
    assert words in out, words
  assert 'steps/s' not in out and 'return - (' not in out
  assert policy_checkpoints.steps(whole) == [16, 30]
  rows = tiny_run.rows(whole)
  assert rows.pop()['eval_return'] > 0
  assert [row['step'] for row in rows] == list(range(2, 41, 2))
  assert all(row['step'] == row['updates'] for row in rows)
  assert 'steps_per_second' not in rows[0] and 'search_value' not in rows[0]
  assert (whole / 'dataset.json').read_bytes() == (
    data / 'dataset.json').read_bytes()
  report = json.loads((whole / 'evaluation.json').read_text())
  assert report['step'] == 40 and report['unit'] == 'updates'
  assert 'classic/cartpole after 40 updates, 2 episodes' in out
  assert agent.load(whole).step == 40

  # No environment is needed where none is played.
  monkeypatch.setattr(plots, 'plot_curves', lambda workdir: None)
  with monkeypatch.context() as patch:
    interrupt_after(patch, 1)
    stopped = run_config(data)
    assert train.run(stopped, parts, make_env=no_env) == 128 + signal.SIGTERM
  assert checkpoint.steps(parts)[-1] < 40
  config = run_config(data, checkpoint_period=1e6, snapshot_period=15)
  assert train.run(config, parts, make_env=no_env) == 0
  assert 'resumed from the checkpoint at step' in capsys.readouterr().out
  driver = offline.make_offline(config, dataset.load(data))
  states = [
    checkpoint.restore(path, driver.abstract()) for path in (whole, parts)]
  assert states[0][0] == 40
  assert_trees_equal(*(state for _, state in states))


def refused(tmp_path, config, words, **kwargs):
  """Checks that a run is refused, and that it writes nothing."""
  with pytest.raises(UserError, match=words):
    train.run(config, tmp_path / 'run', **kwargs)
  assert not (tmp_path / 'run').exists()


def test_runs_that_are_refused(tmp_path, data, monkeypatch):
  refused(tmp_path, run_config(tmp_path / 'none'), 'it has no dataset.json')
  refused(
    tmp_path, run_config(data, td_steps=40, replay_capacity=1024),
    '40 rows .* training window takes 44')
  spec = envs.spec(tiny_run.config())
  other = spec._replace(observation_shape=(5,))

  def make_env(config, **kwargs):
    return envs.make(config, **kwargs)._replace(spec=other)

  refused(
    tmp_path, run_config(data, eval_episodes=2), (
      r'observation_shape is \(4,\) there and \(5,\) in the environment'),
    make_env=make_env)
  refused(
    tmp_path, run_config(data, network='board_resnet'), 'needs images')
  monkeypatch.setattr(memory_check, 'free_bytes', lambda: 10_000)
  refused(tmp_path, run_config(data), 'its rows would take 0.00 GB, but 0.00')


def test_a_directory_belongs_to_one_dataset(tmp_path, data):
  other = tmp_path / 'other'
  spec = dataset.load(data).spec
  dataset.save(other, spec, tiny_dataset.make_rows(40, 8, seed=1, spec=spec))
  run = tmp_path / 'run'
  run.mkdir()
  dataset.write_facts(run, dataset.load(other).facts)
  with pytest.raises(UserError, match='frame is not the same'):
    train.run(run_config(data), run, make_env=no_env)
  with pytest.raises(UserError, match='updates_per_iteration = 0'):
    run_config(data, updates_per_iteration=0)


def test_the_learning_rate_falls_over_all_updates():
  assert build.total_updates(CONFIG) == 20
  assert CONFIG.total_steps == 20
  assert Config(num_steps=30).total_steps == 30


def test_a_command_line_needs_an_environment_for_evaluation_alone(tmp_path):
  for eval_episodes, words in ((0, 'it has no dataset.json'),
                               (1, 'no classic environment')):
    done = tiny_run.call(tiny_run.command(
      tmp_path / 'run', dataset=tmp_path / 'none', env_id='no_such_thing',
      eval_episodes=eval_episodes))
    assert done.returncode == 2 and words in done.stderr
