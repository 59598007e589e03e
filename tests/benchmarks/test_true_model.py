"""The benchmark that searches the real environment, on one that is known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import true_model
from muzero_jax import agent, config
from muzero_jax.drivers import build
from muzero_jax.envs import base
from muzero_jax.errors import UserError
from muzero_jax.types import EnvSpec

LENGTH = 4
SPEC = EnvSpec('test/mine', (LENGTH + 1,), np.float32, 2)
CONFIG = config.from_fields(dict(
  network='mlp', num_channels=8, num_blocks=0, head_hidden=8, support_bins=11,
  support_max=4.0, search='gumbel', num_simulations=4, discount=0.5,
))


def make_mine(settings, *, num_envs, evaluation):
  """LENGTH steps that pay 1 each; action 0 ends the episode without pay."""

  def step(state, action, rng_key):
    fatal = action == 0
    return base.Transition(
      state + 1, jnp.where(fatal, 0.0, 1.0), fatal | (state == LENGTH - 1))

  return base.make_environment(
    SPEC, num_envs, reset=lambda rng_key: jnp.zeros((), jnp.int32), step=step,
    observe=lambda state: jax.nn.one_hot(state, LENGTH + 1))


@functools.cache
def parts():
  """A network that knows nothing: all actions are alike to it, all values 0."""
  system = build.make_system(CONFIG, SPEC)
  params = system.model.init(
    jax.random.key(0), build.example_observation(CONFIG, SPEC))
  player = agent.Agent(CONFIG, SPEC, params, step=7, make_env=make_mine)
  return true_model.make_parts(player, 3)


def test_only_the_true_model_knows_what_pays():
  found = {
    name: true_model.returns(parts(), choose, longest=200)
    for name, choose in (
      ('prior', functools.partial(true_model.choose_by_prior, parts())),
      ('learned', functools.partial(
        true_model.choose_by_search, parts(), 4, False)),
      ('true', functools.partial(
        true_model.choose_by_search, parts(), 4, True)))}
  for name in ('prior', 'learned'):
    assert found[name] == dict(
      mean=0, standard_error=0, mean_length=1, ended=1)
  assert found['true'] == dict(
    mean=LENGTH, standard_error=0, mean_length=LENGTH, ended=1)


def test_what_the_models_say_of_each_action():
  found = true_model.action_values(parts(), 30, steps_between=1)
  # The first rows of episodes count, and some of the others.
  assert 10 <= found['positions'] <= 30
  # Of 0 and 1, less their mean.
  np.testing.assert_allclose(found['spread_true'], 0.5, rtol=1e-5)
  np.testing.assert_allclose(found['end_true'], -0.5, rtol=1e-5)
  assert found['spread_learned'] < 1e-3 and abs(found['end_learned']) < 1e-3
  assert 0 < found['positions_where_some_actions_end_it'] <= 1


def test_the_summary_by_hand():
  true = np.array([[0.0, 2.0], [5.0, 5.0], [1.0, 3.0]])
  ends = np.array([[True, False], [True, True], [False, False]])
  found = true_model.summarise(true, 3 * true + 1, ends)
  np.testing.assert_allclose(found['correlation'], 1)
  assert found['end_true'] == -1 and found['end_learned'] == -3
  np.testing.assert_allclose(
    found['positions_where_some_actions_end_it'], 1 / 3)
  found = true_model.summarise(true, 0 * true, np.zeros_like(ends))
  assert found['correlation'] is None and found['end_true'] is None


def test_an_agent_that_cannot_be_compared_is_named():
  player = parts().agent
  other = dataclasses.replace(player.config, stacked_frames=4)
  player = agent.Agent(other, SPEC, player.params, make_env=make_mine)
  with pytest.raises(UserError, match='stacked_frames = 4: the comparison'):
    true_model.make_parts(player, 2)
