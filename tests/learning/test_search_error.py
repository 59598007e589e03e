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
  columns.setdefault('action_value', columns['value'])
  make = lambda name, dtype: np.asarray(
    columns.get(name, [0] * length), dtype)[:, None]
  return Trajectory(
    frame=make('frame', 'f4'), reward=make('reward', 'f4'),
    discount=make('discount', 'f4'), is_first=make('is_first', bool),
    is_last=make('is_last', bool), legal_actions=make('legal', bool),
    to_play=make('to_play', 'i4'), action=make('action', 'i4'),
    policy=make('policy', 'f4'), value=make('value', 'f4'),
    action_value=make('action_value', 'f4'))


def test_errors_are_those_of_one_step():
  found = search_error.measure(_rows(
    value=[1, 4, 8, 100, 3, 5, 0, 0], reward=[9, 2, 1, 7, 9, 0, 0, 0],
    # The fourth row ends an episode for good: its value is nothing.
    discount=[1, 1, 1, 0, 1, 1, 1, 1], is_last=[0, 0, 0, 1, 0, 0, 0, 0],
    action_value=[2, 4, 8, 0, 3, 5, 0, 0]), GAMMA)
  # 2 + 4/2 - 1, 1 + 8/2 - 4, 7 + 0 - 8, none from the end; the last four rows
  # have no four steps behind them.
  assert (found.error, found.steps) == (3 + 1 + 1, 3)
  assert (found.a, found.aa, found.v, found.vv) == (1, 1, 13, 1 + 16 + 64)
  # Up to the end: 2 + 1/2 + 7/4 - 1, 1 + 7/2 - 4, 7 - 8.
  assert (found.d, found.ad) == (3.25 + 0.5 - 1, 3.25)
  assert found.vd == 3.25 + 4 * 0.5 - 8 and found.dd == 3.25**2 + 0.25 + 1


def test_time_limits_bootstrap_and_turns_change_the_sign():
  cut = dict(value=[1, 4], reward=[0, 2], discount=[1, 1], is_last=[0, 1])
  found = search_error.measure(_rows(**cut), GAMMA)
  assert (found.error, found.steps) == (3, 1)
  found = search_error.measure(_rows(**cut, to_play=[0, 1]), GAMMA)
  assert (found.error, found.d) == (1, -1)


def _played(knows, unit=1.0, noise=0.0, seed=0):
  """Steps that end episodes at once, with actions worth -1 to 1 more.

  Args:
    knows: whether the search knows them; else it has noise of that size.
    unit: of the rewards.
    noise: of the values, which the search's q-values share.
    seed: of all.
  """
  rng = np.random.default_rng(seed)
  level, better, other, error, luck = rng.normal(size=(5, 4000))
  level, better = 50 * level, np.sign(better)
  value = level + noise * error
  rows = {
    'value': value, 'action_value': value + (better if knows else other),
    'reward': level + better + 3 * luck}
  # A row that is acted from, then the end of its episode.
  pairs = {
    name: unit * np.stack(
      [np.zeros(4000), x] if name == 'reward' else [x, np.zeros(4000)], 1
    ).ravel() for name, x in rows.items()}
  ends = np.tile([0, 1], 4000)
  return search_error.measure(
    _rows(**pairs, is_last=ends, discount=1 - ends), GAMMA)


@pytest.mark.parametrize('unit', [1.0, 1000.0])
@pytest.mark.parametrize('noise', [0.0, 2.0])
def test_a_search_that_knows_better_is_trusted(unit, noise):
  trusts = [
    float(search_error.trust(_played(knows, unit, noise)))
    for knows in (True, False)]
  assert trusts[0] > 0.85 and trusts[1] < 0.15


def test_the_least_range_is_in_units_of_reward():
  one, other = (
    float(search_error.least_range(_played(True, unit))) for unit in (1, 100))
  assert other == pytest.approx(100 * one, rel=1e-2)


def test_where_little_can_be_told_a_search_is_trusted():
  rows = _rows(value=[1, 1, 1], reward=[0, 1, 1], discount=[1, 1, 1])
  assert search_error.trust(search_error.measure(rows, GAMMA)) == 1
  assert search_error.trust(search_error.init()) == 1


def test_older_iterations_count_for_less():
  empty = search_error.init()
  assert np.isinf(search_error.least_range(empty))
  one = empty._replace(steps=jnp.float32(2), error=jnp.float32(6))
  sums = search_error.update(empty, one)
  assert search_error.least_range(sums) == 3
  kept = search_error.update(sums, empty)  # Nothing was played.
  assert search_error.least_range(kept) == 3
  sums = search_error.update(sums, one._replace(error=jnp.float32(26)))
  assert search_error.least_range(sums) == pytest.approx(
    (0.9 * 6 + 26) / (0.9 * 2 + 2))
  # A search divides by it.
  none = search_error.update(empty, one._replace(error=jnp.float32(0)))
  assert search_error.least_range(none) > 0


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
  found = search(ScaledParams(params, jnp.float32(np.inf)), *GIVEN)
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
  trusts = [row['search_trust'] for row in tiny_run.rows(tmp_path)
            if 'search_trust' in row]
  assert len(trusts) == len(told) and all(0.02 <= x <= 1 for x in trusts)
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
