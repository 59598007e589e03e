"""Tiny untrained agents of board games, and run directories of them."""

import helpers
import jax
import numpy as np

from muzero_jax import agent as agent_lib
from muzero_jax import config as config_lib
from muzero_jax.drivers import build
from muzero_jax.envs import pgx_games
from muzero_jax.runs import checkpoint, run_dir

_FIELDS = dict(
  network='mlp', num_channels=8, num_blocks=0, head_hidden=8, ema_decay=0.0,
  num_simulations=4, eval_simulations=0, max_considered_actions=4,
  num_envs=2, stacked_frames=2, stack_actions=False)


def make(name, **changes):
  """An agent of a board game; its parameters are random, and no head is 0."""
  config = config_lib.from_preset(
    'connect_four', env_id=name, **{**_FIELDS, **changes})
  spec = pgx_games.board_spec(name)
  system = build.make_system(config, spec)
  key = jax.random.key(0, impl='rbg')
  params = jax.jit(lambda key: helpers.random_params(
    system.model.init(key, build.example_observation(config, spec)), key,
  ))(key)
  return agent_lib.Agent(config, spec, params, step=7)


def store(folder, agent):
  """Writes an agent as a run directory, as far as agents are loaded from it."""
  config = agent.config
  learner = build.make_learner(
    config, agent.spec, build.make_system(config, agent.spec))
  learner = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype),
    jax.eval_shape(learner.init, agent.params))
  run_dir.store(folder, config)
  checkpoint.save(
    folder, 7, {'learner': learner._replace(params=agent.params)})
