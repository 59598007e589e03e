"""The benchmark of afterstates, on a game whose values are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from helpers import random_params

from benchmarks import afterstates
from muzero_jax import agent, config, factory
from muzero_jax.envs import base
from muzero_jax.types import EnvSpec

LENGTH, GAMMA = 4, 0.5
SPEC = EnvSpec('test/coins', (LENGTH + 1,), np.float32, 2)
CONFIG = config.from_fields(dict(
  network='mlp', num_channels=8, num_blocks=0, head_hidden=8, chance_codes=2,
  support_bins=11, support_max=4.0, search='gumbel', num_simulations=2,
  discount=GAMMA,
))


def make_coins(num_envs):
  """LENGTH steps, each of which pays 0 or 4 whatever is done."""

  def step(state, action, rng_key):
    reward = 4.0 * jax.random.bernoulli(rng_key)
    return base.Transition(state + 1, reward, state == LENGTH - 1)

  return base.make_environment(
    SPEC, num_envs,
    reset=lambda rng_key: jnp.zeros((), jnp.int32),
    step=step,
    observe=lambda state: jax.nn.one_hot(state, LENGTH + 1),
  )


@functools.cache
def random_agent():
  system = factory.make_system(CONFIG, SPEC)
  observation = factory.example_observation(CONFIG, SPEC)

  @jax.jit
  def init(key):
    return random_params(system.model.init(key, observation), key)

  return agent.Agent(CONFIG, SPEC, init(jax.random.key(0)))


def test_positions_are_uniform_and_returns_are_theirs():
  number, repeats = 400, 16
  found = afterstates.compare(
    random_agent(), make_coins, num_positions=number,
    num_continuations=repeats)
  # With n steps to go, 2 (1 + 1/2 + ...) is expected, of variance 4 each.
  steps = np.arange(1, LENGTH + 1)
  means = 2 * (1 - GAMMA**steps) / (1 - GAMMA)
  variances = 4 * (1 - GAMMA ** (2 * steps)) / (1 - GAMMA**2) / repeats
  error = 5 * (np.var(means) + variances.mean()) ** 0.5 / number**0.5
  assert abs(found.real.mean() - means.mean()) < error
  assert abs(found.variance.mean() / variances.mean() - 1) < 0.2
  # An agent that knows no more than the step says the same wherever it is so.
  assert len(set(found.searched.round(4))) == LENGTH
  order = np.unique(found.searched.round(4), return_inverse=True)[1]
  groups = sorted(found.real[order == i].mean() for i in range(LENGTH))
  np.testing.assert_allclose(groups, means, atol=0.25)
  assert np.bincount(order).min() > number / LENGTH * 0.7


def test_errors_are_shares_of_the_mean():
  found = afterstates.summarise(afterstates.Compared(
    searched=np.array([11.0, 9.0, 23.0, 21.0]),
    real=np.array([9.0, 11.0, 19.0, 21.0]),
    variance=np.full(4, 2.0)))
  assert found['mean_searched'] == 16 and found['mean_real'] == 15
  assert found['bias'] == pytest.approx(1 / 15)
  assert found['mean_absolute_error'] == pytest.approx(2 / 15)
  assert found['rms_error'] == pytest.approx(6**0.5 / 15)
  assert found['rms_error_beyond_noise'] == pytest.approx(2 / 15)


def test_runs_without_afterstates_are_refused(tmp_path):
  tiny_run.store(tmp_path, tiny_run.config(), [64])
  with pytest.raises(ValueError, match='chance_codes = 0; allowed are 1 pl'):
    afterstates.run(
      tmp_path, tmp_path / 'afterstates.json', command='x', num_positions=2,
      num_continuations=2)
