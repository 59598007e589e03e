"""Diagnosis: real returns, and windows that line up with them."""

import functools
import math

import jax
import numpy as np
import pytest
import tiny_run
import toy_control
from helpers import counting_env, random_params

from muzero_jax import agent
from muzero_jax.drivers import build
from muzero_jax.evaluation import device_play, diagnose

GAMMA = 0.9
CONFIG = tiny_run.config(unroll_steps=2, discount=GAMMA)
NUM_ENVS, NUM_STEPS = 4, 40


@functools.cache
def random_agent():
  spec = counting_env(NUM_ENVS).spec
  system = build.make_system(CONFIG, spec)
  observation = build.example_observation(CONFIG, spec)

  @jax.jit
  def init(key):
    return random_params(system.model.init(key, observation), key)

  return agent.Agent(CONFIG, spec, init(jax.random.key(0)))


@functools.cache
def played():
  return device_play.collect(
    random_agent(), counting_env(NUM_ENVS), jax.random.key(1),
    num_envs=NUM_ENVS, num_steps=NUM_STEPS)


def returns_by_row():
  """Real returns by (environment, episode, step), one episode at a time."""
  rows, found = played(), {}
  for env in range(NUM_ENVS):
    ends = np.flatnonzero(rows.is_last[:, env])
    starts = [0, *(ends + 1)]
    for start, end in zip(starts, ends):
      if rows.discount[end, env]:
        continue  # Cut off.
      rewards = rows.reward[start + 1:end + 1, env]
      for t in range(start, end + 1):
        rest = rewards[t - start:]
        name = tuple(rows.frame[t, env, :3].astype(int))
        found[name] = float(np.sum(rest * GAMMA ** np.arange(len(rest))))
  return found


def terminals():
  """Rows (environment, episode, step) at which an episode ended by itself."""
  rows = played()
  ends = np.argwhere(rows.is_last & (rows.discount == 0))
  return {tuple(rows.frame[t, env, :3].astype(int)) for t, env in ends}


def test_real_returns_are_those_of_each_episode():
  rows = played()
  returns, known = diagnose.real_returns(rows, GAMMA)
  wanted = returns_by_row()
  for t in range(NUM_STEPS):
    for env in range(NUM_ENVS):
      name = tuple(rows.frame[t, env, :3].astype(int))
      assert known[t, env] == (name in wanted)
      if name in wanted:
        assert returns[t, env] == pytest.approx(wanted[name], rel=1e-5)
  assert 0 < known.mean() < 1


def test_the_other_players_gain_is_a_loss():
  rows = played()._replace(
    to_play=np.arange(NUM_STEPS)[:, None] % 2 + np.zeros((1, NUM_ENVS), int)
  )
  returns, known = diagnose.real_returns(rows, GAMMA)
  ends = rows.is_last[2:, 0] & known[:-2, 0]
  t = np.flatnonzero(ends)[0]
  expected = rows.reward[t + 1, 0] - GAMMA * rows.reward[t + 2, 0]
  assert returns[t, 0] == pytest.approx(expected, rel=1e-5)


def test_what_is_imagined_meets_what_follows(monkeypatch):
  """An oracle that is 0.5 too high, and whose rewards are exact."""
  wanted = returns_by_row()

  def oracle(
      player, params, observation, action, legal_actions, candidates):
    del player, params, legal_actions, candidates
    frames = np.asarray(observation)[:, :4].astype(int)
    values = np.full((len(frames), 3), 1e9)
    rewards = np.zeros((len(frames), 3))
    for n, (env, episode, step, _) in enumerate(frames):
      for k in range(3):
        value = wanted.get((env, episode, step + k))
        values[n, k] = 1e9 if value is None else value + 0.5
        if k:
          rewards[n, k] = step + k + 100 * int(action[n, k - 1])
        if k and (env, episode, step + k) in terminals():
          values[n, k] = 0.25
    return values, rewards, np.ones((len(frames), 3)) / 3

  monkeypatch.setattr(diagnose, '_imagine', oracle)
  monkeypatch.setattr(device_play, 'collect', lambda *_, **__: played())
  found = diagnose.diagnose(
    random_agent(), counting_env(NUM_ENVS), num_envs=NUM_ENVS,
    num_steps=NUM_STEPS, num_samples=512,
  )
  for value in found.values:
    assert value.num_rows > 50
    assert value.bias == pytest.approx(0.5, abs=1e-3)
    assert value.explained == pytest.approx(1, abs=1e-6)
  assert [reward.error for reward in found.rewards] == [0, 0]
  assert found.end_value.num_rows > 20
  assert found.end_value.bias == found.end_value.error == 0.25
  assert found.policy_entropy == pytest.approx(math.log(3))
  text = '\n'.join(diagnose.describe(found))
  assert 'value, step 2' in text and 'reward, step 2' in text
  assert 'value, at the end      0.250' in text


def test_windows_end_with_their_episode_and_with_the_record():
  rows = tiny_rows(
    is_last=[0, 1, 0, 1, 0, 1], discount=[1, 0, 1, 1, 1, 0])
  found = diagnose._windows(
    rows, np.arange(6), np.zeros(6, int), length=5)
  yes = lambda *rows: np.array(  # noqa: E731
    [[mark == 'x' for mark in row] for row in rows])
  np.testing.assert_array_equal(found.inside, yes(
    'x....', '.....', 'x....', '.....', 'x....', '.....'))
  np.testing.assert_array_equal(found.reached, yes(
    'xx...', 'x....', 'xx...', 'x....', 'xx...', 'x....'))
  # Not of the second episode, which is cut off, nor where the end is observed.
  np.testing.assert_array_equal(found.ended, yes(
    '.x...', '.....', '.....', '.....', '.x...', '.....'))
  long = diagnose._windows(
    tiny_rows(is_last=[0, 0, 0, 1], discount=[1, 1, 1, 0]),
    np.array([0, 1]), np.zeros(2, int), length=4)
  np.testing.assert_array_equal(long.ended, yes('...x', '..x.'))
  np.testing.assert_array_equal(long.inside, yes('xxx.', 'xx..'))


def tiny_rows(*, is_last, discount):
  """Rows [T, 1] of play of which nothing else is known."""
  return played()._replace(
    is_last=np.array(is_last, bool)[:, None],
    discount=np.array(discount, np.float32)[:, None])


def test_a_random_model_explains_little():
  found = diagnose.diagnose(
    random_agent(), counting_env(NUM_ENVS), num_envs=NUM_ENVS,
    num_steps=NUM_STEPS, num_samples=128,
  )
  assert all(value.explained < 0.5 for value in found.values)
  assert all(np.isfinite(value.error) for value in found.values)


def test_without_an_end_rewards_are_compared_all_the_same():
  found = diagnose.diagnose(
    random_agent(), counting_env(NUM_ENVS), num_envs=NUM_ENVS, num_steps=3,
    num_samples=16,
  )
  assert found.search_value.num_rows == 0
  assert found.rewards[0].num_rows > 0
  assert 'no episode ended by itself' in '\n'.join(diagnose.describe(found))


def test_illegal_actions_are_no_part_of_the_policy():
  found = diagnose.diagnose(
    random_agent(), counting_env(NUM_ENVS), num_envs=NUM_ENVS,
    num_steps=NUM_STEPS, num_samples=64,
  )
  # One of three actions is always illegal.
  assert found.policy_entropy <= math.log(2) + 1e-6


def test_of_sampled_muzero_the_policy_is_that_over_candidates():
  config = toy_control.config(
    num_channels=8, head_hidden=8, num_blocks=0, num_sampled_actions=4,
    num_simulations=2)
  env = toy_control.make('two_steps')(config, num_envs=2)
  params = jax.jit(build.make_system(config, env.spec).model.init)(
    jax.random.key(0), build.example_observation(config, env.spec))
  player = agent.Agent(config, env.spec, params)
  rows = device_play.collect(
    player, env, jax.random.key(1), num_envs=2, num_steps=9)
  assert rows.action.shape == (9, 2, 1)
  assert rows.candidates.shape == (9, 2, 4, 1)
  among = (rows.candidates == rows.action[:, :, None]).all(-1).any(-1)
  assert among.all()
  found = diagnose.diagnose(
    player, env, num_envs=2, num_steps=9, num_samples=16)
  assert 0 < found.policy_entropy <= math.log(4) + 1e-6
