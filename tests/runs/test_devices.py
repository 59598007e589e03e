"""A run that was saved on some devices goes on with others."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_dataset
import tiny_run
from helpers import assert_trees_equal

from muzero_jax import train
from muzero_jax.drivers import choose, iteration, offline
from muzero_jax.replay import dataset
from muzero_jax.runs import checkpoint, devices
from muzero_jax.runs.checkpoint import Checks

COUNTS = (1, 2, 8)
CONFIG = tiny_run.config(
  num_steps=200, checkpoint_period=1e6, eval_episodes=0, num_devices=1)


def _restore(workdir, driver):
  abstract = driver.abstract()
  step, state = checkpoint.restore(
    workdir, abstract, checks=Checks(adapt=devices.as_saved))
  return devices.adopt(state, abstract)


@pytest.mark.parametrize('counts', [
  (2, 1), pytest.param((1, 8, 2), marks=pytest.mark.thorough)])
def test_a_run_goes_on_with_another_number_of_devices(
    counts, tmp_path, capsys):
  """All but the keys is what it was, bit for bit."""
  steps = 0
  for number, count in enumerate(counts):
    config = dataclasses.replace(
      CONFIG, num_devices=count, num_steps=200 * (number + 1))
    if number:
      driver = choose.prepare(config, train.envs.make).driver
      before = _host_state(tmp_path)
      state, lines = _restore(tmp_path, driver)
      assert len(lines) == 1 and f'resumed with {count}' in lines[0]
      assert state.rng_key.shape == (count,)
      assert len(state.replay.rows.reward.sharding.device_set) == count
      expected = jax.random.split(before.rng_key[0], count)
      assert (state.rng_key == expected).all()
      same = lambda x: jax.device_get(x._replace(rng_key=jnp.zeros(())))
      assert_trees_equal(same(state), same(before))
    assert train.run(config, tmp_path) == 0
    out = capsys.readouterr().out
    assert ('the random numbers differ from here on' in out) == bool(number)
    assert checkpoint.steps(tmp_path)[-1] > steps
    steps = checkpoint.steps(tmp_path)[-1]
  assert [row['step'] for row in tiny_run.rows(tmp_path)] == sorted(
    {row['step'] for row in tiny_run.rows(tmp_path)})


def _host_state(workdir):
  """The newest state, as its own manifest has it."""
  config = dataclasses.replace(CONFIG, num_devices=1)
  abstract = choose.prepare(config, train.envs.make).driver.abstract()
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), abstract)
  return checkpoint.restore(
    workdir, abstract, checks=Checks(adapt=devices.as_saved))[1]


@functools.cache
def _driver(count, rows):
  del rows  # In `_data`.
  config = dataclasses.replace(
    CONFIG, num_devices=count, dataset='here', offline_updates=64,
    target_period=1, priority_alpha=0.0, reanalyse_fraction=0.0)
  return offline.make_offline(config, _data(), num_devices=count)


@functools.cache
def _data():
  """Rows that are all alike, so that every batch is the same one."""
  spec = train.envs.spec(CONFIG)
  rows = tiny_dataset.make_rows(num_rows=24, num_envs=8, spec=spec)
  alike = jax.tree.map(
    lambda x: np.broadcast_to(x[:1, :1], x.shape).copy(), rows)
  last = np.zeros((24, 8), bool)
  last[-1] = True
  first = np.zeros((24, 8), bool)
  first[0] = True
  alike = alike._replace(
    is_first=first, is_last=last, discount=np.ones((24, 8), np.float32),
    reward=np.zeros((24, 8), np.float32))
  return dataset.Dataset(spec, alike, {})


@pytest.mark.thorough
def test_the_next_loss_is_the_same_on_each_number_of_devices(tmp_path):
  driver = _driver(2, 0)
  state = driver.init(iteration.run_key(CONFIG))
  # Windows may open at one row alone, so that none differs from another.
  only = np.zeros(state.replay.priority.shape, np.float32)
  only[10] = 1
  state = state._replace(replay=state.replay._replace(priority=jax.device_put(
    only, state.replay.priority.sharding)))
  for _ in range(2):
    state, _ = driver.step(state)
  checkpoint.save(tmp_path, 4, state)
  params = jax.device_get(state.learner.params)
  losses = []
  for count in COUNTS:
    found, _ = _restore(tmp_path, _driver(count, 0))
    assert_trees_equal(jax.device_get(found.learner.params), params)
    _, metrics = _driver(count, 0).step(found)
    losses.append(float(metrics.learner.loss))
  assert losses[0] > 0 and np.isfinite(losses).all()
  np.testing.assert_allclose(losses, losses[0], rtol=0, atol=1e-5)


def test_agents_side_by_side_and_streams(tmp_path):
  config = dataclasses.replace(
    CONFIG, num_seeds=2, reanalyse_fraction=0.5, reanalyse_form='stream',
    reanalyse_rows_per_iteration=64)
  of = lambda count: choose.prepare(
    dataclasses.replace(config, num_devices=count), train.envs.make).driver
  state = of(2).init(iteration.run_key(config))
  checkpoint.save(tmp_path, 1, state)
  for count in (1, 4):
    driver = of(count)
    found, lines = _restore(tmp_path, driver)
    assert found.rng_key.shape == (2, count)
    for agent in range(2):
      expected = jax.random.split(state.rng_key[agent, 0], count)
      assert_trees_equal(
        jax.device_get(found.rng_key[agent]), jax.device_get(expected))
    wanted = driver.abstract().stream
    assert jax.tree.map(jnp.shape, found.stream) == jax.tree.map(
      lambda x: x.shape, wanted)
    assert_trees_equal(
      jax.device_get(found.replay), jax.device_get(state.replay))
    is_kept = jax.tree.leaves(jax.tree.map(
      lambda x, y: x.shape == y.shape, wanted, state.stream))
    assert len(lines) == 1 + (not all(is_kept))
  assert len(lines) == 2 and int(found.stream.ring.num_added.sum()) == 0
  same, lines = _restore(tmp_path, of(2))
  assert lines == [] and (same.rng_key == state.rng_key).all()


@pytest.mark.parametrize('count', [0, 10**9])
def test_a_manifest_of_no_devices_is_refused(count):
  driver = _driver(1, 0)
  abstract = driver.abstract()
  shape = {'rng_key': {'shape': [count], 'dtype': 'key<fry>'}}
  assert devices.as_saved(abstract, shape) is abstract
