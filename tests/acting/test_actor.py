"""Acting: rows that follow from each other, and what is counted."""

import functools

import chex
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax.acting import actor
from muzero_jax.config import settings
from muzero_jax.replay import frame_stack
from muzero_jax.types import SearchOutput

NUM_ENVS, LENGTH, NUM_ACTIONS, STACK = 3, 12, 3, 2


def fake_search(params, rng_key, observation, legal_actions, temperature):
  """Random legal actions; `value` shows the temperature it was given."""
  logits = jnp.where(legal_actions, 0.0, -jnp.inf)
  action = jax.random.categorical(rng_key, logits).astype(jnp.int32)
  return SearchOutput(
    action=action,
    policy=legal_actions / legal_actions.sum(1, keepdims=True),
    value=temperature,
    network_value=observation.sum(axis=1),
  )


@functools.cache
def compiled(reward_clip=0.0, temperature_moves=0, stack_actions=False,
             num_players=1):
  env = helpers.counting_env(
    NUM_ENVS, num_actions=NUM_ACTIONS, num_players=num_players
  )

  @functools.partial(jax.jit, static_argnums=2)
  def play(state, rng_key, length=LENGTH):
    acting = settings.Acting(
      rollout_length=length, temperature_moves=temperature_moves,
      reward_clip=reward_clip)
    return actor.rollout(
      env, fake_search, None, state, rng_key, acting, temperature=0.75,
      stack_actions=stack_actions)

  state = actor.init(
    env, jax.random.key(0), num_envs=NUM_ENVS, stacked_frames=STACK
  )
  return env, state, play


def test_rows_chain_through_their_actions():
  env, state, play = compiled(num_players=2)
  last, rows, _ = play(state, jax.random.key(1))
  rows = jax.tree.map(np.asarray, rows)
  chex.assert_shape(rows.frame, (LENGTH, NUM_ENVS, 4))
  for e in range(NUM_ENVS):
    step = episode = 0
    for t in range(LENGTH):
      # The environment, by hand.
      is_last = step == 3 + e
      expected = [e, episode, step, rows.action[t - 1, e] if step else -1]
      np.testing.assert_array_equal(rows.frame[t, e], expected)
      assert rows.is_first[t, e] == (step == 0)
      assert rows.is_last[t, e] == is_last
      assert rows.discount[t, e] == 1 - (is_last and episode % 2 == 0)
      paid = step + 100 * rows.action[t - 1, e] if step else 0
      assert rows.reward[t, e] == paid
      assert rows.to_play[t, e] == step % 2
      illegal = step % NUM_ACTIONS
      assert list(np.flatnonzero(~rows.legal_actions[t, e])) == [illegal]
      assert rows.action[t, e] != illegal
      np.testing.assert_allclose(
        rows.policy[t, e], rows.legal_actions[t, e] / 2
      )
      step, episode = (0, episode + 1) if is_last else (step + 1, episode)
    # The next rollout goes on from here.
    np.testing.assert_array_equal(
      last.timestep.observation[e, :3], [e, episode, step]
    )


def test_the_history_ends_with_the_current_row():
  _, state, play = compiled()
  state, rows, _ = play(state, jax.random.key(1))
  np.testing.assert_array_equal(
    state.history.frames[:, -1], state.timestep.observation
  )
  before = np.where(
    np.asarray(state.timestep.is_first)[:, None], 0, rows.frame[-1]
  )
  np.testing.assert_array_equal(state.history.frames[:, 0], before)


@pytest.mark.parametrize('stack_actions', [False, True])
def test_the_search_sees_the_stack_of_the_row(stack_actions):
  """`network_value` of the fake search sums what it saw."""
  env, state, play = compiled(stack_actions=stack_actions)
  _, rows, stats = play(state, jax.random.key(1))
  seen = frame_stack.init(env.spec, NUM_ENVS, STACK)
  action, gap = jnp.full(NUM_ENVS, -1), 0.0
  for t in range(LENGTH):
    seen = frame_stack.push(seen, rows.frame[t], action, rows.is_first[t])
    action = rows.action[t]
    observed = frame_stack.observe(seen, NUM_ACTIONS, stack_actions)
    difference = np.abs(0.75 - observed.sum(axis=1))
    gap += np.sum(difference * ~np.asarray(rows.is_last[t]))
  np.testing.assert_allclose(stats.network_value_gap, gap, rtol=1e-5)


def test_steps_episodes_returns_and_lengths_are_counted_exactly():
  _, state, play = compiled()
  state, rows, stats = play(state, jax.random.key(2))
  is_last = np.asarray(rows.is_last)
  # Environment e: rows of an episode are 4 + e, of which 3 + e are steps.
  ends = sum(LENGTH // (4 + e) for e in range(NUM_ENVS))
  assert stats.num_episodes == is_last.sum() == ends
  assert stats.num_steps == NUM_ENVS * LENGTH - ends
  assert stats.length_sum == sum(
    (3 + e) * (LENGTH // (4 + e)) for e in range(NUM_ENVS)
  )
  total = 0.0
  for e in range(NUM_ENVS):
    stop = np.flatnonzero(is_last[:, e])[-1]
    total += np.asarray(rows.reward)[: stop + 1, e].sum()
  np.testing.assert_allclose(stats.return_sum, total)
  np.testing.assert_allclose(
    stats.policy_entropy_sum, stats.num_steps * np.log(2), rtol=1e-5
  )
  np.testing.assert_allclose(stats.value_sum, 0.75 * stats.num_steps)
  assert stats.num_bad == 0


def test_episodes_are_counted_across_rollouts():
  _, state, play = compiled()
  whole, _, total = play(state, jax.random.key(0), LENGTH)
  sums = []
  for _ in range(3):
    state, _, stats = play(state, jax.random.key(0), 4)
    sums.append(stats)
  for name in ('num_steps', 'num_episodes', 'length_sum'):
    assert sum(getattr(s, name) for s in sums) == getattr(total, name)
  np.testing.assert_array_equal(whole.episode_length, state.episode_length)
  np.testing.assert_array_equal(
    state.episode_length, state.timestep.observation[:, 2]
  )


def test_only_stored_rewards_are_clipped():
  _, state, play = compiled(reward_clip=1.5)
  _, clipped, stats = play(state, jax.random.key(2))
  _, state, play = compiled()
  _, plain, expected = play(state, jax.random.key(2))
  assert plain.reward.max() > 100
  np.testing.assert_array_equal(
    clipped.reward, np.clip(plain.reward, -1.5, 1.5)
  )
  chex.assert_trees_all_equal(stats, expected)


def test_actions_turn_greedy_after_temperature_moves():
  _, state, play = compiled(temperature_moves=2)
  _, rows, _ = play(state, jax.random.key(0))
  step = np.asarray(rows.frame)[..., 2]
  np.testing.assert_array_equal(rows.value, np.where(step < 2, 0.75, 0.0))


def test_rows_share_their_noise():
  env, state, _ = compiled()

  def noisy(params, rng_key, observation, legal_actions, temperature):
    found = fake_search(
      params, rng_key, observation, legal_actions, temperature)
    return found._replace(value=jax.random.uniform(rng_key, (NUM_ENVS,)))

  def chancy(state, action, rng_key):
    state, row = env.step(state, action, rng_key)
    return state, row._replace(reward=jax.random.uniform(rng_key, (NUM_ENVS,)))

  rollout = lambda noise_steps: jax.device_get(actor.rollout(
    env._replace(step=chancy), noisy, None, state, jax.random.key(0),
    settings.Acting(rollout_length=LENGTH, noise_steps=noise_steps))[1])
  fresh, kept = rollout(1).value, rollout(5).value
  assert len(set(fresh.flatten().tolist())) == LENGTH * NUM_ENVS
  np.testing.assert_array_equal(kept, fresh[[0] * 5 + [5] * 5 + [10] * 2])
  # Chance in the environment goes on as ever.
  assert len(set(rollout(5).reward[1:].flatten().tolist())) == (
    (LENGTH - 1) * NUM_ENVS)


def test_keys_repeat_and_differ():
  _, state, play = compiled()
  first, second, other = (play(state, jax.random.key(s)) for s in (0, 0, 1))
  helpers.assert_trees_equal(first, second)
  assert (first[1].action != other[1].action).any()


def test_broken_rewards_and_frames_are_counted():
  env, state, _ = compiled()

  def broken(state, action, rng_key):
    state, row = env.step(state, action, rng_key)
    return state, row._replace(
      observation=row.observation.at[0, 2].set(jnp.nan),
      reward=row.reward.at[2].set(jnp.inf),
    )

  _, rows, stats = actor.rollout(
    env._replace(step=broken), fake_search, None, state, jax.random.key(0),
    settings.Acting(rollout_length=3))
  # The first row came from `init`.
  assert stats.num_bad == 2 * 2
  del rows
