"""The trained agent: loading, single and batched play, memory, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from counting_agent import CONFIG, NUM_ENVS, counting_agent
from helpers import assert_trees_equal, counting_env

from muzero_jax import agent, envs
from muzero_jax.acting import actor
from muzero_jax.config import settings
from muzero_jax.drivers import anakin, build
from muzero_jax.errors import UserError
from muzero_jax.runs import checkpoint, run_dir


@functools.cache
def played():
  """What the actor, without noise, does over several episodes."""
  env, player = counting_env(NUM_ENVS), counting_agent()
  system = build.make_system(CONFIG, env.spec)
  search = build.make_search(CONFIG, env.spec, system, 'evaluation')
  state = actor.init(
    env, jax.random.key(0), num_envs=NUM_ENVS, stacked_frames=3)
  rollout = jax.jit(lambda params, state, key: actor.rollout(
    env, search, params, state, key, settings.Acting(rollout_length=16),
    temperature=0.0, stack_actions=True))
  _, rows, _ = rollout(player.params, state, jax.random.key(5))
  return jax.tree.map(np.asarray, rows)


def test_batched_play_is_the_actors():
  rows, player = played(), counting_agent()
  assert rows.is_last.sum() > 6
  player.reset()
  for t in range(16):
    action = player.act(
      rows.frame[t], rows.legal_actions[t], rows.is_first[t])
    assert action.dtype == np.int32 and action.shape == (NUM_ENVS,)
    np.testing.assert_array_equal(action, rows.action[t])
    assert rows.legal_actions[t][np.arange(NUM_ENVS), action].all()
  # Not always the same, or nothing would have been tested.
  assert len(np.unique(rows.action)) > 1


def test_single_play_is_that_of_a_batch():
  rows, player = played(), counting_agent()
  player.reset(seed=7)
  for t in range(8):
    action = player.act(
      list(rows.frame[t, 1]), rows.legal_actions[t, 1], rows.is_first[t, 1])
    assert np.shape(action) == () and action == rows.action[t, 1]


def test_reset_forgets_and_the_first_call_opens_episodes():
  rows, player = played(), counting_agent()
  frames, legal = rows.frame[:3], rows.legal_actions[:3]
  runs = []
  for _ in range(2):
    player.reset()
    runs.append([player.act(*pair) for pair in zip(frames, legal)])
  np.testing.assert_array_equal(runs[0], runs[1])
  np.testing.assert_array_equal(runs[0], rows.action[:3])


def test_load_takes_the_newest_parameters(tmp_path):
  plain = tiny_run.config(ema_decay=0.0)
  params = tiny_run.store(tmp_path, plain, steps=(64, 128))
  before = tiny_run.snapshot(tmp_path)
  loaded = agent.load(tmp_path)
  assert loaded.step == 128 and loaded.config == plain
  assert loaded.spec == envs.make(loaded.config, num_envs=1).spec
  assert_trees_equal(loaded.params, params)
  assert tiny_run.snapshot(tmp_path) == before
  assert loaded.act(np.zeros(4)) in (0, 1)
  assert loaded.act(np.zeros(4), [False, True]) == 1
  assert loaded.act(np.zeros(4), [True, False]) == 0


def test_load_takes_the_running_mean_where_one_is_kept(tmp_path):
  decayed = tiny_run.config(ema_decay=0.9)
  tiny_run.store(tmp_path, decayed, steps=(64,))
  driver = anakin.make_anakin(
    decayed, envs.make(decayed), rows_per_env=decayed.capacity_rows_per_env
  )
  # What `store` leaves alone are the first parameters.
  first = driver.init(jax.random.key(0)).learner.average_params
  assert_trees_equal(agent.load(tmp_path).params, first)


def test_load_refuses_what_is_no_run(tmp_path):
  with pytest.raises(UserError, match='is not a run directory'):
    agent.load(tmp_path)
  run_dir.store(tmp_path, tiny_run.config())
  # Before anything is built, which can take long.
  with pytest.raises(UserError, match='has no checkpoint yet'):
    agent.load(tmp_path, make_env=None)
  checkpoint.save(tmp_path, 1, {'learner': {'params': {'x': jnp.ones(2)}}})
  with pytest.raises(UserError, match="has no 'learner/average_params/params"):
    agent.load(tmp_path)


@pytest.mark.parametrize('arguments, words', [
  ((np.zeros(5),), r'observation has shape \(5,\): must be \(4,\)'),
  ((np.zeros((2, 5)),), r'observation has shape \(2, 5\)'),
  ((np.array([0, 0, np.nan, 0]),), 'observation holds .* not finite'),
  ((np.zeros((2, 4)), np.ones((3, 2), bool)),
   r'legal_actions has shape \(3, 2\): must be \(2, 3\)'),
  ((np.zeros((2, 4)), np.ones(3, bool)), r'legal_actions has shape \(3,\)'),
  ((np.zeros(4), np.zeros(3, bool)), 'leaves an episode no action'),
  ((np.zeros((2, 4)), None, [True]), r'is_first has shape \(1,\)'),
])
def test_observations_that_do_not_fit(arguments, words):
  player = counting_agent()
  player.reset()
  with pytest.raises(UserError, match=words):
    player.act(*arguments)


def test_the_number_of_episodes_is_fixed_until_reset():
  player = counting_agent()
  player.reset()
  player.act(np.zeros((NUM_ENVS, 4)))
  with pytest.raises(UserError, match='holds 2 episodes.*playing 3; call'):
    player.act(np.zeros((2, 4)))


def test_frames_are_never_silently_cast():
  spec = counting_env(1).spec._replace(
    observation_dtype=np.uint8, name='test/frames')
  observe = functools.partial(agent._observation, spec=spec)
  assert observe([0, 255]).dtype == np.uint8
  np.testing.assert_array_equal(observe(np.array([3.0, 7.0])), [3, 7])
  for bad in ([0.5], [256], [-1]):
    with pytest.raises(UserError, match='no uint8, which is what test/frames'):
      observe(bad)
