"""Continuous actions end to end: toys with known optima, replay, Reanalyse."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy_control

from muzero_jax import config as config_lib
from muzero_jax import targets
from muzero_jax.config import settings
from muzero_jax.drivers import build
from muzero_jax.envs import base
from muzero_jax.errors import UserError
from muzero_jax.learning import learner
from muzero_jax.replay import ring
from muzero_jax.types import EnvSpec, Sequence


@pytest.mark.thorough
def test_learns_a_toy_that_plain_muzero_cannot():
  config = toy_control.config(reanalyse_fraction=0.5)
  state, metrics = toy_control.train(
    config, toy_control.make('two_steps'), 80)
  assert np.isfinite(metrics.learner.loss)
  assert toy_control.regret(config, 'two_steps', state) < 0.03


@functools.cache
def played(changes=()):
  config = toy_control.config(
    num_channels=8, head_hidden=8, num_blocks=0, num_sampled_actions=4,
    num_simulations=2, num_envs=8, rollout_length=4, replay_capacity=64,
    min_replay=16, batch_size=8, updates_per_iteration=2, **dict(changes))
  return config, *toy_control.train(
    config, toy_control.make('two_steps'), 4)


def test_rows_hold_what_was_played_and_what_was_searched():
  config, state, metrics = played()
  rows = jax.device_get(state.replay.rows)
  assert rows.action.shape == (8, 8, 1) and rows.action.dtype == np.float32
  assert rows.candidates.shape == (8, 8, 4, 1)
  assert rows.policy.shape == (8, 8, 4)
  np.testing.assert_allclose(rows.policy.sum(axis=-1), 1, rtol=1e-5)
  among = (rows.candidates == rows.action[:, :, None]).all(axis=-1).any(axis=-1)
  assert among.all() and (np.abs(rows.action) < 2).all()
  # What was observed next is what that action leads to.
  inside = ~rows.is_last[:-1]
  moved = rows.frame[1:, :, 1] - rows.frame[:-1, :, 1]
  np.testing.assert_allclose(
    moved[inside], rows.action[:-1, :, 0][inside], atol=1e-5)
  # A uniform density over a range of 4 has entropy log 4.
  assert metrics.learner.policy_entropy == pytest.approx(np.log(4), abs=0.3)
  assert 0 < metrics.rollout.policy_entropy_sum / 32 <= np.log(4)
  del config


@pytest.mark.thorough
@pytest.mark.parametrize('changes', [
  (('reanalyse_fraction', 0.5), ('reanalyse_form', 'stream')),
  (('num_seeds', 2), ('reanalyse_fraction', 1.0)),
])
def test_it_goes_together_with(changes):
  _, state, metrics = played(changes)
  assert np.isfinite(metrics.learner.loss).all()
  assert (metrics.num_skipped == 0).all()
  if state.stream is not None:
    rows = jax.device_get(state.stream.ring.rows)
    filled = np.abs(rows.policy).sum(axis=-1) > 0
    # Candidates are new ones; the action is still what was played.
    among = (rows.candidates == rows.action[:, :, None]).all(axis=-1)
    assert filled.any() and not among.any(axis=-1)[filled].all()
  if dict(changes).get('num_seeds'):
    first, second = state.replay.rows.candidates
    assert not np.array_equal(first, second)


def batch(spec, num, length, num_sampled, seed=0):
  """Windows [N, L, ...] of which some end."""
  rng = np.random.default_rng(seed)
  f32 = lambda *s: rng.normal(size=s).astype(np.float32)  # noqa: E731
  is_last = rng.random((num, length)) < 0.2
  is_last[:, 0] = False
  actions = lambda *s: rng.uniform(  # noqa: E731
    -1.9, 1.9, (num, length, *s, 1)).astype(np.float32)
  return Sequence(
    observation=f32(num, 1, *spec.observation_shape),
    reward=f32(num, length),
    discount=(1 - is_last * rng.integers(0, 2, is_last.shape)).astype('f4'),
    is_last=is_last,
    legal_actions=np.ones((num, length, 1), bool),
    to_play=np.zeros((num, length), np.int32),
    action=actions(),
    policy=rng.dirichlet(
      np.ones(num_sampled), (num, length)).astype(np.float32),
    value=f32(num, length),
    candidates=actions(num_sampled),
  )


def test_targets_keep_candidates_and_draw_actions_between_the_bounds():
  spec = toy_control.make('bandit')(None, num_envs=1).spec
  sequence = jax.tree.map(lambda x: x[0], batch(spec, 1, 6, 3))
  last = np.array([0, 0, 1, 0, 0, 0], bool)
  sequence = sequence._replace(
    is_last=last, discount=np.float32([1, 1, 0, 1, 1, 1]),
    candidates=np.where(
      np.arange(6)[:, None, None] > 2, np.nan, sequence.candidates))
  make = lambda key: targets.make_targets(  # noqa: E731
    key, sequence, unroll_steps=3, td_steps=2, discount=0.9,
    action_bounds=(spec.action_low, spec.action_high))
  target = make(jax.random.key(0))
  np.testing.assert_array_equal(target.action[:2], sequence.action[:2])
  np.testing.assert_array_equal(target.candidates[:2], sequence.candidates[:2])
  assert (np.asarray(target.candidates[2:]) == 0).all()
  drawn = np.array([
    make(key).action[2, 0] for key in jax.random.split(jax.random.key(1), 30)])
  assert (np.abs(drawn) <= 2).all()
  assert drawn.min() < -1 and drawn.max() > 1


def least_cross_entropy(system, target):
  """The least [N, K + 1] that any Gaussian has, of a grid of them."""
  axis = np.linspace(-8, 8, 161)
  grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)

  @jax.jit
  @functools.partial(jnp.vectorize, signature='(c,d),(c)->()')
  def least(candidates, policy):
    log_prob = system.distribution.log_prob(grid, candidates)
    return -(log_prob * policy).sum(axis=-1).max()

  return np.asarray(least(target.candidates, target.policy))


def test_overfits_one_batch():
  config = toy_control.config(
    entropy_weight=0.0, num_sampled_actions=3, batch_size=8)
  spec = toy_control.make('bandit')(config, num_envs=1).spec
  system = build.make_system(config, spec)
  learn = learner.make_learner(
    build.make_total_loss(config, system), optax.adam(1e-2),
    settings.Learning(batch_size=8, unroll_steps=2, td_steps=2),
    action_bounds=(spec.action_low, spec.action_high))
  sequence = batch(spec, 8, 5, 3)
  make = functools.partial(
    targets.make_targets, unroll_steps=2, td_steps=2, discount=0.9,
    action_bounds=(spec.action_low, spec.action_high))
  target = jax.vmap(make)(jax.random.split(jax.random.key(0), 8), sequence)
  params = system.model.init(jax.random.key(1), jnp.zeros((1, 3)))

  @jax.jit
  def fit(state):
    step = lambda state, _: learn.step(  # noqa: E731
      state, sequence, target, jnp.ones(8))
    return jax.lax.scan(step, state, None, 400)

  _, metrics = fit(learn.init(params))
  mask = np.asarray(target.policy_mask)
  least = (least_cross_entropy(system, target) * mask).sum() / mask.sum()
  assert metrics.policy_loss[0] > least + 0.3
  assert metrics.policy_loss[-1] == pytest.approx(least, abs=0.05)
  assert metrics.reward_loss[-1] < metrics.reward_loss[0] / 2


def test_a_replay_returns_candidates_with_their_rows():
  spec = EnvSpec(
    'test/x', (2,), np.float32, 2, action_low=(0.0, 0.0),
    action_high=(9.0, 9.0))
  state = ring.init(spec, 3, 6, num_sampled=4)
  assert state.rows.action.shape == (6, 3, 2)
  grid = jnp.arange(18.0).reshape(6, 3)
  rows = jax.tree.map(
    lambda x: (jnp.zeros(x.shape) + grid.reshape(
      6, 3, *(1,) * (x.ndim - 2))).astype(x.dtype), state.rows)
  rows = rows._replace(is_last=rows.is_last & False)
  state = ring.add(state, rows)
  found = ring.sample(
    state, jax.random.key(0), batch_size=5, window=2).sequence
  np.testing.assert_array_equal(
    found.candidates, np.broadcast_to(
      found.reward[:, :, None, None], (5, 2, 4, 2)))
  np.testing.assert_array_equal(found.action[..., 1], found.reward)
  assert ring.num_bytes(spec, 3, 6, 4) > ring.num_bytes(spec, 3, 6)


def test_environments_check_bounds():
  spec = toy_control.make('bandit')(None, num_envs=2).spec
  played = base.check_environment(
    toy_control.make('two_steps')(None, num_envs=4), jax.random.key(0),
    num_steps=20)
  assert played.action.shape == (20, 4, 1)
  assert played.action.min() < -1 and played.action.max() > 1
  assert (np.abs(played.action) <= 2).all()
  for changes in (
    dict(action_low=(2.0,)), dict(action_low=(-1.0, -1.0)),
    dict(action_high=(np.inf,)), dict(action_high=()),
  ):
    with pytest.raises(UserError, match='action_low .* finite numbers each'):
      base.check_bounds(spec._replace(**changes))


@pytest.mark.parametrize('changes, words', [
  (dict(num_sampled_actions=1), 'num_sampled_actions = 1'),
  (dict(network='board_resnet'), "network = 'board_resnet'"),
  (dict(stack_actions=True), 'stack_actions = True'),
  (dict(chance_codes=4), 'num_sampled_actions = 8 .* chance_codes'),
  (dict(dataset='x'), 'num_sampled_actions = 8 .* dataset'),
  (dict(family='classic', num_sampled_actions=0),
   "policy_head = 'tanh_gaussian' .* num_sampled_actions"),
])
def test_settings_that_do_not_fit(changes, words):
  with pytest.raises(UserError, match=words):
    toy_control.config(**changes)


@pytest.mark.parametrize('changes, words', [
  (dict(stack_actions=True), 'stack_actions = True'),
  (dict(network='board_resnet'), "network = 'board_resnet'"),
])
def test_settings_that_do_not_fit_the_environment(changes, words):
  # Families that always have such actions are told by their configuration.
  config = toy_control.config(family='gymnasium', **changes)
  spec = toy_control.make('bandit')(config, num_envs=1).spec
  with pytest.raises(UserError, match=words):
    build.make_system(config, spec)


def test_presets_are_of_their_families():
  for name in ('pendulum', 'mountain_car_continuous'):
    config = config_lib.from_preset(name)
    assert config.family == 'continuous' and config.num_sampled_actions
    assert dataclasses.replace(config, seed=3).policy_head != 'categorical'
