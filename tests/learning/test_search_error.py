"""The error of searched values: by hand, in any unit, and in whole runs."""

import dataclasses
import json

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from muzero_jax import agent, train
from muzero_jax import config as config_lib
from muzero_jax.config import settings
from muzero_jax.drivers import anakin, build, iteration
from muzero_jax.errors import UserError
from muzero_jax.learning import search_error
from muzero_jax.runs import policy_checkpoints
from muzero_jax.types import ScaledParams, Trajectory

GAMMA = 0.5
CONFIG = tiny_run.config(
  gumbel_min_range=0.0, num_steps=400, checkpoint_period=1e6)


def _rows(**columns):
  """One environment's rows; columns that are not given are zero."""
  length = len(columns['value'])
  make = lambda name, dtype: np.asarray(
    columns.get(name, [0] * length), dtype)[:, None]
  return Trajectory(
    frame=make('frame', 'f4'), reward=make('reward', 'f4'),
    discount=make('discount', 'f4'), is_first=make('is_first', bool),
    is_last=make('is_last', bool), legal_actions=make('legal', bool),
    to_play=make('to_play', 'i4'), action=make('action', 'i4'),
    policy=make('policy', 'f4'), value=make('value', 'f4'))


def test_errors_are_those_of_one_step():
  total, number = search_error.measure(_rows(
    value=[1, 4, 8, 100, 3, 5], reward=[9, 2, 1, 7, 9, 0],
    # The fourth row ends an episode for good: its value is nothing.
    discount=[1, 1, 1, 0, 1, 1], is_last=[0, 0, 0, 1, 0, 0]), GAMMA)
  # 2 + 4/2 - 1, 1 + 8/2 - 4, 7 + 0 - 8, none from the end, 0 + 5/2 - 3.
  assert (total, number) == (3 + 1 + 1 + 0.5, 4)


def test_time_limits_bootstrap_and_turns_change_the_sign():
  cut = dict(value=[1, 4], reward=[0, 2], discount=[1, 1], is_last=[0, 1])
  assert search_error.measure(_rows(**cut), GAMMA) == (3, 1)
  assert search_error.measure(_rows(**cut, to_play=[0, 1]), GAMMA) == (1, 1)


def test_it_is_in_the_units_of_the_rewards():
  rng = np.random.default_rng(0)
  columns = dict(
    value=rng.normal(size=9), reward=rng.normal(size=9), discount=[1] * 9)
  times = {**columns, 'value': 100 * columns['value'],
           'reward': 100 * columns['reward']}
  one, other = (
    float(search_error.measure(_rows(**x), GAMMA)[0])
    for x in (columns, times))
  assert other == pytest.approx(100 * one, rel=1e-5)


def test_the_mean_starts_with_the_first_measurement():
  error = search_error.update(search_error.init(), jnp.float32(6), 2.0)
  assert error == 3
  assert search_error.update(error, 0.0, 0.0) == 3  # Nothing was played.
  assert search_error.update(error, 26.0, 2.0) == pytest.approx(4)
  # A search divides by it.
  assert search_error.update(search_error.init(), 0.0, 5.0) > 0


def _search(config):
  spec = train.envs.spec(config)
  system = build.make_system(config, spec)
  params = helpers.random_params(
    system.model.init(
      jax.random.key(0), build.example_observation(config, spec)),
    jax.random.key(1), 1.0)
  return jax.jit(build.make_search(config, spec, system, 'acting')), params


OBSERVATION = np.random.default_rng(0).normal(size=(3, 4)).astype('f4')
GIVEN = jax.random.key(2), OBSERVATION, np.ones((3, 2), bool)


def test_a_search_takes_it_as_the_least_range():
  config = dataclasses.replace(CONFIG, num_simulations=8)
  search, params = _search(config)
  for error in (1e-3, 0.3, 40.0):
    given, _ = _search(dataclasses.replace(config, gumbel_min_range=error))
    helpers.assert_trees_equal(
      search(ScaledParams(params, jnp.float32(error)), *GIVEN),
      given(params, *GIVEN))
  # Before anything is known, nothing but the network decides.
  found = search(ScaledParams(params, search_error.init()), *GIVEN)
  even, _ = _search(dataclasses.replace(config, gumbel_min_range=1e9))
  np.testing.assert_allclose(
    found.policy, even(params, *GIVEN).policy, rtol=1e-5)


def test_each_of_several_agents_has_its_own():
  search, params = _search(CONFIG)
  errors = jnp.array([0.01, 5.0])
  both = jax.vmap(search, in_axes=(ScaledParams(None, 0), None, None, None))(
    ScaledParams(params, errors), *GIVEN)
  for i in range(2):
    alone = search(ScaledParams(params, errors[i]), *GIVEN)
    np.testing.assert_allclose(both.policy[i], alone.policy, rtol=1e-5)


def test_puct_and_a_stated_range_measure_nothing():
  assert build.measures_error(CONFIG)
  for changes in (dict(search='muzero'), dict(gumbel_min_range=0.1)):
    assert not build.measures_error(dataclasses.replace(CONFIG, **changes))


def test_a_run_measures_stores_and_plays_with_it(tmp_path):
  config = dataclasses.replace(
    CONFIG, eval_episodes=2, snapshot_period=200)
  assert train.run(config, tmp_path) == 0
  told = [row['search_error'] for row in tiny_run.rows(tmp_path)
          if 'search_error' in row]
  assert told and all(x > 0 for x in told)
  player = agent.load(tmp_path)
  assert isinstance(player.params, ScaledParams)
  # Metrics are of the beginning of an iteration, or of its end.
  assert player.params.search_error == pytest.approx(told[-1], rel=1e-6)
  assert player.act(np.zeros(4)) in (0, 1)
  step = policy_checkpoints.steps(tmp_path)[0]
  assert isinstance(
    agent.load(tmp_path, snapshot=step).params, ScaledParams)
  assert json.loads((tmp_path / 'evaluation.json').read_text())
  # It goes on from where it stood.
  assert train.run(dataclasses.replace(config, num_steps=500), tmp_path) == 0


@pytest.mark.thorough
@pytest.mark.parametrize('changes', [
  dict(num_devices=2),
  dict(num_seeds=2, reanalyse_fraction=0.5),
  dict(reanalyse_fraction=0.5, reanalyse_form='stream'),
])
def test_it_goes_with_devices_agents_and_reanalyse(changes):
  config = dataclasses.replace(CONFIG, **changes)
  num_devices = changes.get('num_devices', 1)
  env = train.envs.make(config, num_envs=config.num_envs // num_devices)
  driver = anakin.make_anakin(
    config, env, rows_per_env=64, num_devices=num_devices)
  state = driver.init(iteration.run_key(config))
  assert not np.isfinite(state.learner.search_error).any()
  for _ in range(6):
    state, metrics = driver.step(state)
  assert np.isfinite(metrics.learner.loss).all()
  assert np.isfinite(state.learner.search_error).all()
  assert (state.learner.search_error > 0).all()


def test_offline_it_has_to_be_stated():
  with pytest.raises(UserError, match='gumbel_min_range = 0 is measured'):
    config_lib.from_preset('cartpole', dataset='x', gumbel_min_range=0.0)
  with pytest.raises(UserError, match='gumbel_min_range'):
    settings.Gumbel(gumbel_min_range=-1.0)
