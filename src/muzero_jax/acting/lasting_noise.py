"""Keys of the searches of a rollout: which steps draw the same noise.

Where actions seem equally good, noise that is drawn anew at each step moves an
agent to and fro. Noise that lasts moves it in one direction. How long it should
last depends on the environment, so that a batch of environments may have
several spans (as Ape-X gives each actor its own epsilon, Horgan et al. 2018).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from muzero_jax.types import Array


def search_key(
  key_of_step: Callable[[Array], Array], t: Array, noise_steps: Sequence[int]
) -> Array:
  """Return the key of a rollout's search at step t.

  Args:
    key_of_step: step [] i32 -> the key of that step.
    t: [] i32, steps since the rollout began.
    noise_steps: for each of G equal groups of environments, the number of
      steps that share a key.

  Returns:
    A key [] where G is 1, else [G]: one of each group, as `search.keys` takes
    them.
  """
  first = [t // span * span for span in noise_steps]
  if len(noise_steps) == 1:
    return key_of_step(first[0])
  # Each group has its own child, also where two groups share a step.
  return jnp.stack([
    jax.random.split(key_of_step(step), len(noise_steps))[group]
    for group, step in enumerate(first)])
