"""PRNG keys: nothing that an iteration draws is drawn from the same key twice.

Under jax's partitionable threefry `fold_in(k, i)` equals `split(k, n)[i]`: a
key that is split and folded, or consumed and split, repeats itself silently.
"""

import jax
import numpy as np
import pytest
import tiny_run
from jax._src import prng

from muzero_jax import envs
from muzero_jax.drivers import choose, iteration

SMALL = dict(
  rollout_length=2, num_envs=2, replay_capacity=64, min_replay=4,
  num_simulations=2, updates_per_iteration=2, batch_size=4, td_steps=2)


@pytest.fixture
def drawn(monkeypatch):
  """The keys that random bits were made of, as bytes, in the order of use."""
  found = []
  bits = prng.random_bits

  def record(data):
    found.extend(row.tobytes() for row in np.asarray(data).reshape(-1, 2))

  def recording(keys, bit_width, shape):
    jax.debug.callback(record, prng.random_unwrap(keys))
    return bits(keys, bit_width, shape)

  jax.clear_caches()
  monkeypatch.setattr(prng, 'random_bits', recording)
  yield found
  monkeypatch.undo()
  jax.clear_caches()


@pytest.mark.parametrize('changes', [
  dict(),
  dict(search='muzero', priority_alpha=0.6),
  dict(reanalyse_fraction=0.5, search='muzero'),
  dict(reanalyse_fraction=0.5, reanalyse_form='stream'),
  dict(num_sampled_actions=2),
  dict(num_seeds=2),
], ids=str)
def test_the_keys_of_a_start_and_two_iterations_differ(drawn, changes):
  config = tiny_run.config(**SMALL, **changes)
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
