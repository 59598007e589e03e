"""Acting in host environments: the rows of `actor.rollout`, and their gaps."""

import functools

import helpers
import host_envs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax.acting import actor, host_actor, host_worker
from muzero_jax.config import settings
from muzero_jax.types import HostEnvironment, SearchOutput

NUM_ENVS, LENGTH, STACK = 2, 6, 2


def fake_search(params, rng_key, observation, legal_actions, temperature):
  """Random actions; `value` shows the temperature, `policy` what it saw."""
  draw = jax.random.uniform(rng_key, legal_actions.shape)
  return SearchOutput(
    action=jnp.argmax(jnp.where(legal_actions, draw, -1), 1).astype(jnp.int32),
    policy=legal_actions / legal_actions.sum(1, keepdims=True),
    value=temperature + params,
    network_value=observation.sum(axis=1),
  )


@functools.cache
def functions(spec=host_envs.SPEC, num_envs=NUM_ENVS):
  return host_actor.make_functions(
    fake_search, spec,
    settings.Acting(
      rollout_length=LENGTH, temperature_moves=3, noise_steps=2,
      reward_clip=1.5),
    settings.FrameStack(stacked_frames=STACK, stack_actions=True),
    num_envs=num_envs, temperature=lambda num_steps: num_steps / 10)


def make_actor(factory, **kwargs):
  return host_actor.HostActor(
    functions(),
    lambda: host_worker.Worker(
      lambda: factory(None, num_envs=NUM_ENVS), num_envs=NUM_ENVS,
      name='actor 0', timeout=kwargs.pop('timeout', 30)),
    length=LENGTH, seed=0, **kwargs)


def play(player, num_rollouts=1):
  """Rollouts one behind the other, on the host."""
  found = [
    player.rollout(jnp.float32(0), jnp.int32(5), jax.random.key(i))
    for i in range(num_rollouts)
  ]
  return jax.device_get(found)


def test_the_same_rows_as_an_environment_of_jax():
  """Searches, histories, clipping and sums, whoever steps the environment."""
  env = helpers.counting_env(NUM_ENVS, num_actions=3)
  step = jax.jit(env.step)

  class Stepped:
    """That environment, stepped by the host."""

    def reset(self, seed):
      self.state, row = env.init(jax.random.key(seed))
      return jax.tree.map(np.asarray, row)

    def step(self, action):
      self.state, row = step(self.state, action, jax.random.key(0))
      return jax.tree.map(np.asarray, row)

  stepped = Stepped()
  host = HostEnvironment(env.spec, stepped.reset, stepped.step, lambda: None)
  player = host_actor.HostActor(
    functions(env.spec), lambda: host_worker.Worker(
      lambda: host, num_envs=NUM_ENVS, name='x', timeout=30),
    length=LENGTH, seed=0)
  rollouts = play(player, 3)
  player.close()

  @jax.jit
  def advance(state, key):
    found = actor.choose(
      fake_search, jnp.float32(0), state, key, temperature=0.5,
      temperature_moves=3, stack_actions=True)
    env_state, row = env.step(state.env_state, found.action, key)
    return actor.advance(
      state, env_state, row, found.action
    ), *actor.record(state, found, reward_clip=1.5)

  state = actor.init(
    env, jax.random.key(0), num_envs=NUM_ENVS, stacked_frames=STACK)
  for i, rollout in enumerate(rollouts):
    chunk, sums = [], []
    for t in range(LENGTH):
      state, stored, stats = advance(
        state, jax.random.fold_in(jax.random.key(i), t // 2 * 2))
      chunk.append(stored)
      sums.append(stats)
    helpers.assert_trees_equal(
      rollout.chunk, jax.tree.map(lambda *x: np.stack(x), *chunk))
    jax.tree.map(
      lambda x, *parts: np.testing.assert_allclose(x, sum(parts), rtol=1e-5),
      rollout.stats, *sums)
    assert rollout.num_dropped.tolist() == [0, 0] and rollout.errors == ()


def steps_of(rollouts, e):
  """Step of the running episode in each row of environment e."""
  return np.concatenate([r.chunk.frame[:, e, 1] for r in rollouts]).tolist()


def last_of(rollouts, e):
  return np.concatenate(
    [r.chunk.is_last[:, e] for r in rollouts]).astype(int).tolist()


def test_episodes_that_break_off_are_dropped():
  # The 9th step fails. Environment 0 has then played 0 1 2 3 4, 0 1 2 3;
  # environment 1 has played 0 1 2 3 4 5, 0 1 2.
  factory = host_envs.Factory([(8, 'raise')])
  player = make_actor(factory, restarts=True)
  rollouts = play(player, 3)
  player.close()
  assert [env.is_closed for env in factory.made] == [True, True]
  assert steps_of(rollouts, 0) == [
    0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2, 3]
  assert steps_of(rollouts, 1) == [
    0, 1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2, 3, 4, 5, 0, 1, 2]
  # Rows 6 to 8 are marked; row 5 of environment 0, which belongs to the
  # rollout before, is what is left to drop there.
  assert last_of(rollouts, 0) == [
    0, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]
  assert last_of(rollouts, 1) == [
    0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]
  assert [r.num_dropped.tolist() for r in rollouts] == [
    [0, 0], [1, 0], [0, 0]]
  assert [len(r.errors) for r in rollouts] == [0, 1, 0]
  assert rollouts[1].errors == ("actor 0: step raised KeyError: 'lost'",)
  first = np.concatenate([r.chunk.is_first for r in rollouts])
  assert np.flatnonzero(first[:, 0]).tolist() == [0, 5, 9, 14]
  # Only episodes that ended are counted, with returns of their own.
  assert sum(r.stats.num_episodes for r in rollouts) == 4
  assert sum(r.stats.length_sum for r in rollouts) == 4 + 4 + 5 + 5
  # Seeds have changed with the environments.
  seeds = np.concatenate([r.chunk.frame[:, 0, 2] for r in rollouts])
  assert seeds.tolist() == [seeds[0]] * 9 + [seeds[9]] * 9
  assert seeds[0] != seeds[9]


def test_an_episode_that_had_ended_is_whole():
  # The 5th step fails: environment 0 stands at its last row, environment 1
  # does not.
  player = make_actor(host_envs.Factory([(4, 'shape')]), restarts=True)
  rollouts = play(player, 1)
  player.close()
  assert steps_of(rollouts, 0) == [0, 1, 2, 3, 4, 0]
  assert last_of(rollouts, 0) == [0, 0, 0, 0, 1, 0]
  assert steps_of(rollouts, 1) == [0, 1, 2, 3, 4, 0]
  assert last_of(rollouts, 1) == [1, 1, 1, 1, 1, 0]


def test_two_failures_in_one_rollout():
  player = make_actor(
    host_envs.Factory([(7, 'raise')], [(2, 'nan')]), restarts=True)
  rollouts = play(player, 2)
  player.close()
  assert steps_of(rollouts, 1) == [0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 2, 0]
  assert last_of(rollouts, 1) == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0]
  assert rollouts[1].num_dropped.tolist() == [1, 0]
  raised, returned = rollouts[1].errors
  assert 'raised' in raised and 'return a valid row' in returned


def test_a_failure_ends_it_all_unless_told_otherwise():
  factory = host_envs.Factory([(3, 'raise')])
  player = make_actor(factory)
  with pytest.raises(host_worker.WorkerError, match='step raised KeyError'):
    play(player)
  player.close()
  assert len(factory.made) == 1 and factory.made[0].is_closed


def test_environments_that_cannot_make_a_step_are_not_made_for_ever():
  factory = host_envs.Factory([(3, 'raise')], [(0, 'raise')])
  player = make_actor(factory, restarts=True)
  with pytest.raises(host_worker.WorkerError, match='step raised KeyError'):
    play(player)
  player.close()
  assert len(factory.made) == 2
  assert all(env.is_closed for env in factory.made)


def test_it_stops_when_it_is_told():
  factory = host_envs.Factory()
  player = make_actor(
    factory, is_stopped=lambda: factory.made[0].num_steps == 3)
  with pytest.raises(host_actor.StoppedError):
    play(player)
  player.close()
  assert factory.made[0].num_steps == 3
