"""Evaluations on the way: compiled once, and the best parameters kept."""

import jax
import pytest
import tiny_run

from muzero_jax import envs
from muzero_jax.config import from_preset
from muzero_jax.drivers import build
from muzero_jax.errors import StoppedError, UserError
from muzero_jax.evaluation import during_training, playing
from muzero_jax.runs import best


def _make(tmp_path, **options):
  config = tiny_run.config(eval_episodes=2, num_simulations=2)
  spec = envs.spec_of(config, envs.make)
  system = build.make_system(config, spec)
  params = jax.jit(system.model.init)(
    jax.random.key(0), build.example_observation(config, spec))
  return params, during_training.make(
    config, spec, workdir=tmp_path, make_env=envs.make, **options)


def test_play_is_compiled_once_and_the_best_is_kept(tmp_path):
  params, evaluate = _make(tmp_path)
  before = playing.compiled.cache_info()
  first, again = evaluate(params, 10), evaluate(params, 20)
  after = playing.compiled.cache_info()
  assert after.misses - before.misses == 1 and after.hits > before.hits
  # The same episodes: only better parameters take the place.
  assert first.mean == again.mean
  assert first.line == f'mean return {first.mean:.2f} (the best so far)'
  assert again.line == (
    f'mean return {first.mean:.2f} (best {first.mean:.2f}, step 10)')
  assert best.find(tmp_path) == (10, first.mean)


def test_a_signal_ends_it_and_nothing_is_kept(tmp_path):
  params, evaluate = _make(tmp_path, should_stop=lambda: True)
  with pytest.raises(StoppedError):
    evaluate(params, 10)
  assert best.find(tmp_path) is None


def test_it_needs_episodes():
  with pytest.raises(UserError, match=(
      'eval_period = 100 needs eval_episodes of at least 1, not 0')):
    from_preset('cartpole', eval_period=100, eval_episodes=0)
