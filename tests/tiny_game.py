"""A run directory of tic-tac-toe with snapshots, as training leaves it."""

import functools

import jax
from helpers import random_params

from muzero_jax import config as config_lib
from muzero_jax import envs
from muzero_jax.drivers import build
from muzero_jax.runs import checkpoint, policy_checkpoints, run_dir


def config(**changes):
  """The game's Config."""
  return config_lib.from_preset('tic_tac_toe', **{
    **dict(num_blocks=0, num_channels=8, head_hidden=8, num_simulations=2,
           eval_simulations=0, eval_envs=8),
    **changes})


@functools.cache
def params(run_config, seed):
  """Parameters in which no head is zero."""
  spec = envs.spec(run_config)
  init = build.make_system(run_config, spec).model.init
  key = jax.random.key(seed)
  found = jax.jit(init)(key, build.example_observation(run_config, spec))
  return random_params(found, key)


def store(workdir, run_config, *, snapshot_steps, step):
  """Makes a run directory; the parameters of step S are those of seed S."""
  spec = envs.spec(run_config)
  system = build.make_system(run_config, spec)
  learner = build.make_learner(run_config, spec, system)
  run_dir.store(workdir, run_config)
  checkpoint.save(
    workdir, step, {'learner': learner.init(params(run_config, step))})
  for each in snapshot_steps:
    policy_checkpoints.save(workdir, each, params(run_config, each))
