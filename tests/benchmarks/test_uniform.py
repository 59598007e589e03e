"""Random actions of any environment that runs in JAX."""

import numpy as np
import pytest
import toy_control

from benchmarks import uniform
from muzero_jax import envs
from muzero_jax.config import from_preset
from muzero_jax.errors import UserError


def test_the_mean_is_the_one_known_by_hand():
  """1 - 4 E|a - g| with a in [-2, 2] and g in [-1, 1] is 1 - 13 / 3."""
  env = toy_control.make('bandit')(None, num_envs=4_000)
  returns = uniform.play(env, 4_000, seed=0)
  error = returns.std() / np.sqrt(4_000)
  assert abs(returns.mean() + 10 / 3) < 4 * error < 0.2


def test_each_environment_counts_one_episode():
  env = envs.make(from_preset('cartpole'), num_envs=64, evaluation=True)
  returns = uniform.play(env, 64, seed=0)
  assert returns.shape == (64,)
  assert 8 <= returns.min() and 15 < returns.mean() < 30


@pytest.mark.parametrize('preset, words', [
  ('tic_tac_toe', 'tic_tac_toe has 2 players'),
  ('gymnasium', 'LunarLander-v3 is stepped by the host'),
])
def test_others_are_refused(preset, words):
  pytest.importorskip('pgx' if preset == 'tic_tac_toe' else 'Box2D')
  env = envs.make(from_preset(preset), num_envs=1, evaluation=True)
  with pytest.raises(UserError, match=words):
    uniform.check(env)
