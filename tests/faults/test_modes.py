"""JAX_ENABLE_X64 and JAX_DISABLE_JIT: the same dtypes, the same trees."""

import sys

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest
import tiny_run
from helpers import TRANSFORM

from muzero_jax import config as config_lib
from muzero_jax import envs, losses, search, targets
from muzero_jax.drivers import choose
from muzero_jax.errors import MissingPackageError
from muzero_jax.types import ModelOutput, Sequence

SMALL = dict(
  num_envs=4, rollout_length=8, replay_capacity=1024, batch_size=4,
  num_simulations=2, min_replay=64, num_steps=96, updates_per_iteration=1,
  num_channels=16, eval_episodes=0, num_devices=1)
VARIANTS = {
  'cartpole': {},
  'minatar': dict(reanalyse_fraction=0.5, consistency_weight=1.0),
  '2048': dict(search='muzero', max_depth=2),
  'pendulum': {},
  'atari_tiny': dict(shift_pixels=2, intensity_scale=0.05, prefix_steps=2,
                     value_target='td_lambda'),
}


def _wide(tree):
  """The arrays of 64 bits, by name."""
  return {
    jax.tree_util.keystr(path): str(x.dtype)
    for path, x in jax.tree_util.tree_leaves_with_path(tree)
    if '64' in str(x.dtype)}


@pytest.mark.parametrize('preset', VARIANTS)
def test_a_run_has_no_64_bits(preset):
  """Traced, not run: of state and metrics, what each iteration makes."""
  config = config_lib.from_preset(preset, **{**SMALL, **VARIANTS[preset]})
  with jax.enable_x64(True):
    try:
      probe = envs.make(config, num_envs=1)
    except MissingPackageError as error:
      pytest.skip(str(error))
    driver = choose.make_driver(config, envs.make, probe)
    state = driver.abstract()
    new, metrics = jax.eval_shape(driver.step, state)
  assert not {**_wide(state), **_wide(new), **_wide(metrics)}
  assert [x.dtype for x in jax.tree.leaves(state)] == [
    x.dtype for x in jax.tree.leaves(new)]


def _sequence(dtype):
  rng = np.random.default_rng(0)
  real = lambda *shape: rng.normal(size=shape).astype(dtype)
  return Sequence(
    observation=real(5, 2), reward=real(5), discount=np.ones(5, dtype),
    is_last=np.zeros(5, bool), legal_actions=np.ones((5, 3), bool),
    to_play=np.zeros(5, np.int32), action=np.zeros(5, np.int32),
    policy=np.full((5, 3), 1 / 3, dtype), value=real(5))


@pytest.mark.parametrize('value_target', ['n_step', 'td_lambda', 'monte_carlo'])
def test_targets_and_losses_keep_32_bits(value_target):
  def loss(sequence):
    target = targets.make_targets(
      jax.random.key(0), sequence, unroll_steps=2, td_steps=2, discount=0.9,
      value_target=value_target)
    logits = lambda size: jnp.zeros((3, size), jnp.float32)
    output = ModelOutput(
      state=None, reward_logits=logits(11), value_logits=logits(11),
      policy_logits=logits(3))
    return target, losses.muzero_loss(
      output, target, value_transform=TRANSFORM, reward_transform=TRANSFORM)

  found = jax.jit(loss)(_sequence(np.float32))
  with jax.enable_x64(True):
    wide = jax.jit(loss)(_sequence(np.float32))
    # Whoever brings 64 bits is not refused.
    jax.eval_shape(loss, _sequence(np.float64))
  assert not _wide(wide)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6),
    found, wide)


B, A, S = 2, 3, 3


class Game:
  """A small model of random weights, as mctx calls it."""

  def __init__(self, dtype):
    rng = np.random.default_rng(1)
    real = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)
    self.policy, self.value = real(4, A), real(4)
    self.follow, self.first = real(A, 4, 4), real(B, 4)
    self.discount = jnp.full(B, 0.9, dtype)
    self.root = mctx.RootFnOutput(
      prior_logits=self.first @ self.policy, value=self.first @ self.value,
      embedding=self.first)

  def _next(self, action, state):
    return jnp.tanh(jnp.einsum('bi,bij->bj', state, self.follow[action]))

  def recurrent(self, params, rng_key, action, state):
    state = self._next(action, state)
    return mctx.RecurrentFnOutput(
      reward=state[:, 0], discount=self.discount,
      prior_logits=state @ self.policy, value=state @ self.value), state

  def decide(self, params, rng_key, action, state):
    state = self._next(action, state)
    return mctx.DecisionRecurrentFnOutput(
      chance_logits=(state @ self.policy)[:, :2],
      afterstate_value=state @ self.value), state

  def happen(self, params, rng_key, outcome, state):
    state = self._next(outcome, state)
    return mctx.ChanceRecurrentFnOutput(
      action_logits=state @ self.policy, value=state @ self.value,
      reward=state[:, 0], discount=self.discount), state


def python_loop(low, high, body, carry):
  """Counts in Python, as whoever debugs a model does."""
  for i in range(int(low), int(high)):
    carry = body(i, carry)
  return carry


def _search(library, kind, game, **kwargs):
  """One search by mctx or by ours, which has its names."""
  kwargs = dict(num_simulations=S, **kwargs)
  key = jax.random.key(0)
  if kind == 'gumbel':
    return library.gumbel_muzero_policy(
      (), key, game.root, game.recurrent, **kwargs)
  if library is search:
    kwargs['tie_break'] = 'node'
  if kind == 'muzero':
    return library.muzero_policy((), key, game.root, game.recurrent, **kwargs)
  return library.stochastic_muzero_policy(
    (), key, game.root, game.decide, game.happen, **kwargs)


def _check_alike(ours, theirs):
  for name in ('action', 'action_weights'):
    _check_equal(name, getattr(ours, name), getattr(theirs, name))
  for name in (
    'node_visits', 'raw_values', 'node_values', 'parents',
    'action_from_parent', 'children_index', 'children_prior_logits',
    'children_values', 'children_visits', 'children_rewards',
    'children_discounts'):
    _check_equal(
      name, getattr(ours.search_tree, name), getattr(theirs.search_tree, name))


def _check_equal(name, ours, theirs):
  assert ours.dtype == theirs.dtype, name
  np.testing.assert_allclose(
    ours, theirs, rtol=1e-5, atol=1e-6, err_msg=name)


KINDS = ('muzero', 'gumbel', 'stochastic')
MASK = np.array([[0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize('kind', [
  'gumbel', *(pytest.param(kind, marks=pytest.mark.thorough)
              for kind in ('muzero', 'stochastic'))])
def test_a_loop_of_pythons_own_makes_mctxs_trees(kind):
  game = Game(jnp.float32)
  ours, theirs = (
    _search(library, kind, game, loop_fn=python_loop, invalid_actions=MASK)
    for library in (search, mctx))
  _check_alike(ours, theirs)


@pytest.mark.thorough
@pytest.mark.parametrize('kind', KINDS)
def test_without_jit_trees_are_mctxs(kind):
  game = Game(jnp.float32)
  with jax.disable_jit():
    ours, theirs = (
      _search(library, kind, game) for library in (search, mctx))
  _check_alike(ours, theirs)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_with_64_bits_trees_are_mctxs(kind, dtype):
  with jax.enable_x64(True):
    game = Game(dtype)
    ours, theirs = (
      jax.jit(lambda library=library: _search(library, kind, game))()
      for library in (search, mctx))
    assert ours.search_tree.node_values.dtype == dtype
    _check_alike(ours, theirs)


def test_what_mctx_does_not_have_works_without_jit():
  game = Game(jnp.float32)
  key = jax.random.key(0)
  with jax.disable_jit():
    search.gumbel_stochastic_muzero_policy(
      (), key, game.root, game.decide, game.happen, S)
    search.muzero_policy(
      (), key, game.root, game.recurrent, S, max_depth=2)


# Two iterations of each, really run.
RUN = '''
import sys
import jax
from muzero_jax import config as config_lib, envs
from muzero_jax.drivers import choose, iteration
assert jax.config.jax_enable_x64
for preset in sys.argv[1:]:
  config = config_lib.from_preset(preset, **{small})
  driver = choose.make_driver(
    config, envs.make, envs.make(config, num_envs=1))
  state = driver.init(iteration.run_key(config))
  for _ in range(2):
    state, _ = driver.step(state)
  assert not [x for x in jax.tree.leaves(state) if '64' in str(x.dtype)]
  print(preset, int(state.num_iterations))
'''


@pytest.mark.slow
@pytest.mark.thorough
def test_two_iterations_with_64_bits():
  presets = ['2048']
  small = dict(SMALL, min_replay=8, num_channels=8, num_blocks=0)
  done = tiny_run.call(
    [sys.executable, '-c', RUN.replace('{small}', repr(small)), *presets],
    env=tiny_run.environ(JAX_ENABLE_X64='1'))
  assert done.returncode == 0, done.stderr
  assert done.stdout.split('\n')[:-1] == [f'{name} 2' for name in presets]
