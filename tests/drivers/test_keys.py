"""PRNG keys: nothing that an iteration draws is drawn from the same key twice.

Under jax's partitionable threefry `fold_in(k, i)` equals `split(k, n)[i]`: a
key that is split and folded, or consumed and split, repeats itself silently.
"""

import jax
import numpy as np
import pytest
import tiny_run

from muzero_jax import envs
from muzero_jax.drivers import choose, iteration

SMALL = dict(
  rollout_length=2, num_envs=2, replay_capacity=64, min_replay=4,
  num_simulations=2, updates_per_iteration=2, batch_size=4, td_steps=2)


# What the source draws with.
DRAWS = (
  'bernoulli', 'bits', 'categorical', 'dirichlet', 'gumbel', 'loggamma',
  'normal', 'permutation', 'randint', 'uniform')


@pytest.fixture
def drawn(monkeypatch):
  """The keys that something was drawn from, as bytes."""
  found = []

  def record(data):
    rows = np.asarray(data)
    found.extend(row.tobytes() for row in rows.reshape(-1, rows.shape[-1]))

  def recording(draw):
    def wrapped(key, *args, **kwargs):
      jax.debug.callback(record, jax.random.key_data(key))
      return draw(key, *args, **kwargs)
    return wrapped

  for name in DRAWS:
    monkeypatch.setattr(jax.random, name, recording(getattr(jax.random, name)))
  yield found


@pytest.mark.slow
def test_the_keys_of_a_start_and_two_iterations_differ(drawn):
  config = tiny_run.config(
    **SMALL, search='muzero', num_seeds=2, priority_alpha=0.6)
  driver = choose.make_driver(config, envs.make, envs.make(config, num_envs=1))
  state = driver.init(iteration.run_key(config))
  with driver.session(state) as step:
    for _ in range(2):
      state, _ = step(state)
  jax.block_until_ready(state)
  jax.effects_barrier()
  assert len(drawn) > 20
  # A row of an environment either steps or starts anew: both draw from its key
  # (`envs.base`), and one of the two is thrown away.
  assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize('changes', [
  dict(search='muzero', priority_alpha=0.6, reanalyse_fraction=0.5),
  dict(num_sampled_actions=2, reanalyse_fraction=0.5,
       reanalyse_form='stream'),
], ids=['batch', 'stream'])
def test_jax_finds_no_key_that_is_used_twice(changes):
  """jax's own checker, which follows keys through a program."""
  config = tiny_run.config(**SMALL, **changes)
  driver = choose.make_driver(config, envs.make, envs.make(config, num_envs=1))
  with jax.debug_key_reuse(True):
    driver.step.lower(driver.abstract())
