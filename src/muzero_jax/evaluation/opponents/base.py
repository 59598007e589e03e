"""What opponents have in common, and the one that needs no rules."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from muzero_jax.types import Array, TimeStep

# rng_key, state of the environments, their rows -> actions [B]. Pure and
# batched; the action of a finished game is ignored.
Opponent = Callable[[Array, Any, TimeStep], Array]


def random(rng_key: Array, env_state: Any, timestep: TimeStep) -> Array:
  """Returns uniformly random legal actions [B]."""
  del env_state
  return choose(rng_key, timestep.legal_actions)


def choose(rng_key: Array, mask: Array) -> Array:
  """Returns an action [B] of each row's True ones [B, A], drawn uniformly."""
  logits = jnp.where(mask, 0.0, -jnp.inf)
  return jax.random.categorical(rng_key, logits).astype(jnp.int32)
