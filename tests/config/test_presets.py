"""Presets whose full size is too large to run here: traced, and run in small.
"""

import functools

import helpers
import jax
import numpy as np
import pytest

from muzero_jax import config as config_lib
from muzero_jax.drivers import anakin, build
from muzero_jax.errors import UserError
from muzero_jax.replay import ring
from muzero_jax.types import EnvSpec


def test_efficientzero_v2_step_traces_at_full_size():
  """With the published sizes, on frames of 96 pixels; nothing is run."""
  config = config_lib.from_preset('atari_100k_v2')
  spec = EnvSpec('atari/test', (96, 96, 3), np.uint8, 6)
  system = build.make_system(config, spec)
  learn = build.make_learner(config, spec, system)
  key = jax.eval_shape(lambda: jax.random.key(0))
  observation = jax.eval_shape(
    functools.partial(build.example_observation, config, spec))
  params = jax.eval_shape(system.model.init, key, observation)
  state = jax.eval_shape(learn.init, params)
  buffer = jax.eval_shape(functools.partial(
    ring.init, spec, config.num_envs, config.capacity_rows_per_env))
  after, _, metrics = jax.eval_shape(learn.update, state, buffer, key)
  shapes = functools.partial(jax.tree.map, lambda x: (x.shape, x.dtype))
  assert shapes(after) == shapes(state)
  assert metrics.consistency_loss.shape == ()


def test_values_that_would_never_be_mixed_are_refused():
  config = config_lib.from_preset(
    'cartpole', mixed_value_age=5_000, reanalyse_fraction=1.0)
  spec = EnvSpec('classic/test', (4,), np.float32, 2)
  system = build.make_system(config, spec)
  with pytest.raises(UserError, match='mixed_value_start = 30000'):
    build.make_learner(config, spec, system)


@pytest.mark.thorough
def test_efficientzero_v2_learns_in_small():
  config = config_lib.from_preset(
    'atari_100k_v2', family='classic', env_id='cartpole', network='mlp',
    num_blocks=0, num_channels=8, head_hidden=8, stacked_frames=1,
    shift_pixels=0, intensity_scale=0.0, prefix_units=4, projection_size=4,
    support_bins=11, support_max=30.0, num_simulations=4, batch_size=8,
    rollout_length=4, updates_per_iteration=2, replay_capacity=1_024,
    min_replay=64, mixed_value_age=32, mixed_value_start=1)
  driver = anakin.make_anakin(
    config, helpers.counting_env(config.num_envs), num_devices=1,
    rows_per_env=config.capacity_rows_per_env)
  state = driver.init(jax.random.key(0))
  for _ in range(4):
    state, metrics = driver.step(state)
  assert int(metrics.num_updates) == 6
  assert np.isfinite(float(metrics.learner.loss))
  assert int(state.learner.num_skipped) == 0
