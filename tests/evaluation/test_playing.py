"""The two loops of noise-free play, on the device and on the host, agree."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import noted_keys
import numpy as np
import pytest
from counting_agent import CONFIG, NUM_ENVS, counting_agent
from helpers import counting_env
from opponent_player import Player

from muzero_jax import agent as agent_lib
from muzero_jax import errors
from muzero_jax.acting import actor
from muzero_jax.config import settings
from muzero_jax.drivers import build
from muzero_jax.evaluation import (
  device_play,
  diagnose,
  host_play,
  match,
  playing,
)
from muzero_jax.types import HostEnvironment

LENGTH = 70  # Of more than one chunk.


def on_the_host(env):
  """The environment as one that the host steps."""
  step, at = jax.jit(env.step), {}

  def moved(state, row):
    at['state'] = state
    return jax.tree.map(np.asarray, row)

  return HostEnvironment(
    env.spec, lambda seed: moved(*env.init(jax.random.key(seed))),
    lambda action: moved(*step(at['state'], action, jax.random.key(0))),
    lambda: None)


@functools.cache
def clipped_agent():
  player = counting_agent()
  return agent_lib.Agent(
    dataclasses.replace(CONFIG, reward_clip=2.0), player.spec, player.params)


@functools.cache
def device_rows():
  return device_play.collect(
    clipped_agent(), counting_env(NUM_ENVS), jax.random.key(3),
    num_envs=NUM_ENVS, num_steps=LENGTH)


def assert_same_rows(found, wanted):
  """Equal, but for the rounding of what the network computes."""
  for name in wanted._fields:
    if getattr(wanted, name) is None:
      assert getattr(found, name) is None
      continue
    np.testing.assert_allclose(
      getattr(found, name), getattr(wanted, name), atol=1e-4, err_msg=name)


def test_scores_are_the_same_on_the_device_and_on_the_host():
  env, player = counting_env(NUM_ENVS), counting_agent()
  played = device_play.make(
    player, env, None, num_envs=NUM_ENVS, num_episodes=4 * NUM_ENVS
  )(player.params, None, 0)
  for each in (env, on_the_host(env)):
    returns, lengths = host_play.play(
      player, each, num_envs=NUM_ENVS, num_episodes=4 * NUM_ENVS)
    np.testing.assert_array_equal(returns, played.scores)
    np.testing.assert_array_equal(lengths, played.lengths)
  # Not always the same action, or nothing would have been tested.
  assert len(np.unique(played.actions)) > 2


def test_rows_are_the_actors():
  """Frames, clipped rewards, and what the search found."""
  env, player = counting_env(NUM_ENVS), clipped_agent()
  search = build.make_search(
    player.config, env.spec, player.system, 'evaluation')
  state = actor.init(
    env, jax.random.key(0), num_envs=NUM_ENVS, stacked_frames=3)
  acting = settings.Acting(rollout_length=LENGTH, reward_clip=2.0)
  _, rows, _ = jax.jit(lambda params, state, key: actor.rollout(
    env, search, params, state, key, acting, temperature=0.0,
    stack_actions=True,
  ))(player.params, state, jax.random.key(5))
  # Whoever only looks at rows needs no q-values.
  assert_same_rows(device_rows(), rows._replace(action_value=None))
  assert rows.reward.max() == 2 and rows.is_last.any()


def test_rows_are_the_same_on_the_device_and_on_the_host():
  env = counting_env(NUM_ENVS)
  for each in (env, on_the_host(env)):
    rows = host_play.collect(
      clipped_agent(), each, jax.random.key(4), num_envs=NUM_ENVS,
      num_steps=LENGTH)
    assert_same_rows(rows, device_rows())
    assert all(type(x) is np.ndarray for x in jax.tree.leaves(rows))


def test_a_diagnosis_is_the_same_on_the_device_and_on_the_host():
  env, player = counting_env(NUM_ENVS), clipped_agent()
  found = [
    diagnose.diagnose(
      player, each, num_envs=NUM_ENVS, num_steps=LENGTH, num_samples=64)
    for each in (env, on_the_host(env))
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), *found)
  assert found[0].search_value.num_rows > 0


def test_all_keys_of_a_match_differ(monkeypatch):
  notes = noted_keys.NotedKeys()
  monkeypatch.setattr(
    playing, 'draw_opening', notes.shared(playing.draw_opening))
  first_legal = lambda key, state, row: jnp.argmax(
    row.legal_actions, axis=1).astype(jnp.int32)
  player = Player(first_legal)
  player.act_fn = notes.of(player.act_fn, position=2)
  env = counting_env(4, num_players=2)
  env = env._replace(
    init=notes.of(env.init, position=0), step=notes.of(env.step, position=2))
  play = match.make_match(
    player, env, notes.of(first_legal, position=0), num_envs=4, num_games=8,
    opening_moves=2)
  for seed in (0, 1):
    score = play(player, first_legal, 'first legal', seed)
    assert sum(score.total) == 8
  # Two starts, and three of each step.
  assert notes.num_used % 3 == 2 and notes.num_used > 2 + 3 * 2 * 8
  notes.check()


@pytest.mark.parametrize('num_episodes', [0, 4])
def test_episodes_that_cannot_be_shared_out(num_episodes):
  with pytest.raises(errors.UserError, match='num_episodes'):
    playing.episodes_per_env(num_episodes, 3)
