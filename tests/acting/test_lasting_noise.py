"""Which steps and groups of environments draw the same noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.acting import lasting_noise


def test_groups_of_environments_have_noise_of_their_own_span():
  key_of_step = functools.partial(jax.random.fold_in, jax.random.key(0))
  keys = jax.random.key_data(jax.vmap(lambda t: lasting_noise.search_key(
    key_of_step, t, (1, 2, 4)))(jnp.arange(8)))
  assert keys.shape[:2] == (8, 3)
  spans = [
    [0, 1, 2, 3, 4, 5, 6, 7],
    [0, 0, 2, 2, 4, 4, 6, 6],
    [0, 0, 0, 0, 4, 4, 4, 4],
  ]
  for group, first in enumerate(spans):
    np.testing.assert_array_equal(keys[:, group], keys[first, group])
  assert len({tuple(x) for x in keys.reshape(24, -1).tolist()}) == 8 + 4 + 2
