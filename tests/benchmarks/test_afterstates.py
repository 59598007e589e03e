"""The benchmark of afterstates, on a game whose values are known."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from helpers import random_params

from benchmarks import afterstates
from muzero_jax import agent, config
from muzero_jax.drivers import build
from muzero_jax.envs import base
from muzero_jax.errors import UserError
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
def random_agent(**changes):
  settings = dataclasses.replace(CONFIG, **changes)
  system = build.make_system(settings, SPEC)
  observation = build.example_observation(settings, SPEC)

  @jax.jit
  def init(key):
    return random_params(system.model.init(key, observation), key)

  return agent.Agent(
    settings, SPEC, init(jax.random.key(0)), step=7,
    make_env=lambda config, *, num_envs, evaluation: make_coins(num_envs))


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_rewards_are_clipped_as_in_training():
  found = afterstates.compare(
    random_agent(reward_clip=1.0), make_coins, num_positions=8,
    num_continuations=4)
  assert 0 < found.real.max() < 1 / (1 - GAMMA)


@pytest.mark.thorough
def test_what_is_stored(tmp_path, monkeypatch):
  path = tmp_path / 'afterstates.json'
  asked = []

  def load(workdir, *, index):
    asked.append(index)
    return random_agent(reward_clip=1.0)

  monkeypatch.setattr(agent, 'load', load)
  for index in (0, 1):
    afterstates.run(
      tmp_path / 'coins', path, command='x', num_positions=8,
      num_continuations=4, index=index)

  def refuse(constant):
    raise AssertionError(f'{constant} is no JSON')

  stored = json.loads(path.read_text(), parse_constant=refuse)
  assert asked == [0, 1] and list(stored) == ['coins', 'coins/1']
  wanted = dict(
    command='x', environment='test/coins', step=7, index=0, num_simulations=2,
    num_positions=8, num_continuations=4)
  assert wanted.items() <= stored['coins'].items()
  assert 0 < stored['coins']['mean_real'] < 2
  assert 'pgx' in stored['coins']['versions']


def test_shares_of_nothing_are_none():
  nothing = np.zeros(2)
  found = afterstates.summarise(
    afterstates.Compared(nothing + 1, nothing, nothing))
  assert found['mean_searched'] == 1 and found['mean_real'] == 0
  assert found['bias'] is None and found['correlation'] is None


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


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
  tiny_run.store(tmp_path, tiny_run.config(), [64])
  words = '1 players, a limit of 500 steps and chance_codes = 0; allowed are 1'
  with pytest.raises(UserError, match=words):
    afterstates.run(
      tmp_path, tmp_path / 'afterstates.json', command='x', num_positions=2,
      num_continuations=2)


def test_the_command_says_what_is_wrong(tmp_path, monkeypatch, capsys):
  command = ['afterstates', f'--workdir={tmp_path}']
  monkeypatch.setattr('sys.argv', [*command, '--num_positions=1'])
  with pytest.raises(SystemExit) as error:
    afterstates.main()
  assert error.value.code == 2
  assert '--num_positions=1 must be at least 2' in capsys.readouterr().err
  monkeypatch.setattr('sys.argv', command)
  with pytest.raises(SystemExit, match=f'error: workdir.*{tmp_path.name}'):
    afterstates.main()
