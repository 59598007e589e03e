"""Agents with random parameters and a tiny network, of any environment."""

import jax
from helpers import random_params

from muzero_jax import agent, envs
from muzero_jax import config as config_lib
from muzero_jax.drivers import build, by_environment

FIELDS = dict(
  network='mlp', num_channels=16, num_blocks=0, head_hidden=8,
  support_bins=11, support_max=10.0, num_simulations=2,
  max_considered_actions=2, eval_simulations=0, worker_timeout=60.0)


def make(family, env_id, **changes):
  """An agent that plays as its random network says."""
  config = config_lib.Config(
    family=family, env_id=env_id, **{**FIELDS, **changes})
  spec = envs.spec(config)
  config = by_environment.resolve(config, spec)
  system = build.make_system(config, spec)

  def init(key):
    params = system.model.init(key, build.example_observation(config, spec))
    return random_params(params, key)

  return agent.Agent(config, spec, jax.jit(init)(jax.random.key(0)))
