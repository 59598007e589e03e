"""Several agents side by side: what they share, and what they do not."""

import json

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from muzero_jax import agent, train
from muzero_jax.drivers import anakin, iteration
from muzero_jax.errors import UserError
from muzero_jax.evaluation import report
from muzero_jax.search import keys as keys_lib

NUM_AGENTS, NUM_ROOTS = 3, 4


@pytest.mark.parametrize('noise', [False, True, 'groups'])
@pytest.mark.parametrize('policy', ['gumbel', 'muzero'])
def test_a_vmapped_search_is_that_of_each_agent(policy, noise):
  """With its noise, which is drawn from its own keys as if it were alone."""
  model = helpers.tiny_model(3)
  run = helpers.make_search(
    model, helpers.TRANSFORM, helpers.TRANSFORM, policy=policy,
    num_simulations=4, noise=bool(noise),
  )
  temperature = 1.0 if noise else 0.0
  observation = jax.random.normal(
    jax.random.key(0), (NUM_AGENTS, NUM_ROOTS, 5)
  )
  keys = jax.random.split(jax.random.key(1), NUM_AGENTS)
  params = jax.vmap(
    lambda key: helpers.random_params(model.init(key, observation[0]), key)
  )(keys)
  if noise == 'groups':  # Of each agent's roots.
    keys = jax.vmap(lambda key: jax.random.split(key, 2))(keys)
  legal = jnp.ones((NUM_AGENTS, NUM_ROOTS, 3), bool).at[1, 2, 0].set(False)
  found = jax.jit(jax.vmap(run, in_axes=(0, 0, 0, 0, None)))(
    params, keys, observation, legal, temperature
  )
  single = jax.jit(run)
  for i in range(NUM_AGENTS):
    wanted = single(
      jax.tree.map(lambda x, i=i: x[i], params), keys[i], observation[i],
      legal[i], temperature,
    )
    np.testing.assert_array_equal(found.action[i], wanted.action)
    for one, other in zip(*map(jax.tree.leaves, (found[1:], wanted[1:]))):
      np.testing.assert_allclose(one[i], other, rtol=1e-5, atol=1e-5)
  # The agents differ, or nothing would have been tested.
  assert not np.allclose(found.value[0], found.value[1])


def test_noise_differs_between_agents_of_the_same_parameters():
  model = helpers.tiny_model(8)
  run = helpers.make_search(
    model, helpers.TRANSFORM, helpers.TRANSFORM, num_simulations=2,
    max_considered_actions=2,
  )
  observation = jnp.zeros((2, 64, 5))
  params = model.init(jax.random.key(0), observation[0])
  found = jax.vmap(run, in_axes=(None, 0, 0, None))(
    params, jax.random.split(jax.random.key(1)), observation,
    jnp.ones((64, 8), bool),
  )
  assert (found.action[0] != found.action[1]).mean() > 0.5


def test_groups_of_roots_have_keys_of_their_own():
  draw = lambda key, shape: jax.random.uniform(key, shape)
  each = jax.random.split(jax.random.key(0), 3)
  noise = keys_lib.draw(draw, each, (7, 2))  # The last group is smaller.
  wanted = np.concatenate([draw(key, (3, 2)) for key in each])[:7]
  np.testing.assert_array_equal(noise, wanted)


def test_agent_i_has_the_key_of_seed_plus_i():
  several = iteration.run_key(tiny_run.config(seed=5, num_seeds=3))
  alone = [iteration.run_key(tiny_run.config(seed=5 + i)) for i in range(3)]
  assert (several == jnp.stack(alone)).all()


@pytest.mark.thorough
def test_agents_of_a_driver_learn_apart():
  config = tiny_run.config(num_seeds=2, reanalyse_fraction=0.5)
  env = helpers.counting_env(config.num_envs)
  driver = anakin.make_anakin(
    config, env, rows_per_env=config.capacity_rows_per_env
  )
  state = driver.init(iteration.run_key(config))
  first = jax.tree.map(np.asarray, state.learner.params)
  while True:
    state, metrics = driver.step(state)
    if metrics.has_learnt.all():
      break
  assert metrics.num_steps.low.shape == (2,)
  assert metrics.learner.value_error_at.shape == (2, config.unroll_steps + 1)
  assert np.isfinite(metrics.learner.loss).all()
  kernels = [
    (np.asarray(new), old) for new, old in zip(
      jax.tree.leaves(state.learner.params), jax.tree.leaves(first)
    ) if old.ndim > 2 and old.any()  # Heads start at zero.
  ]
  for new, old in kernels:
    assert not np.array_equal(old[0], old[1])
    assert not np.array_equal(new[0] - old[0], new[1] - old[1])


@pytest.mark.thorough
def test_a_run_of_two_agents(tmp_path, capsys):
  config = tiny_run.config(
    num_seeds=2, num_steps=2_000, eval_episodes=4, checkpoint_period=1e9
  )
  assert train.run(config, tmp_path) == 0
  printed = capsys.readouterr().out
  assert '2 agents side by side' in printed
  assert '2 agents: mean' in printed
  rows = [
    json.loads(line)
    for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()
  ]
  assert any({'return_of_agent/0', 'return_of_agent/1'} <= set(r) for r in rows)
  result = json.loads((tmp_path / train.EVALUATION_FILE).read_text())
  assert len(result['agents']) == 2
  assert result['mean'] == pytest.approx(
    np.mean([one['mean'] for one in result['agents']])
  )
  players = [agent.load(tmp_path, index=i) for i in (0, 1)]
  pairs = zip(*(jax.tree.leaves(player.params) for player in players))
  assert any(not np.array_equal(one, other) for one, other in pairs)
  with pytest.raises(UserError, match='index=2'):
    agent.load(tmp_path, index=2)


def test_confidence_is_students():
  found = report.over_agents([dict(mean=x) for x in (1.0, 2.0, 6.0)])
  assert found['mean'] == 3.0
  # t(0.975, 2) = 4.3027; the standard error is sqrt(7 / 3).
  assert found['confidence'] == pytest.approx(4.3027 * (7 / 3) ** 0.5, rel=1e-4)


def test_environments_behind_a_pointer_take_one_agent():
  env = helpers.counting_env(4)._replace(restorable=False)
  with pytest.raises(UserError, match='num_seeds=2'):
    anakin.make_anakin(
      tiny_run.config(num_seeds=2, num_envs=4), env, rows_per_env=64
    )
