"""A state that goes on with another number of devices than it was saved with.

All of it is the same on any number, but for the keys, of which each device has
one, and the stream of reanalysed rows, whose columns belong to devices.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.drivers.iteration import TrainState
from muzero_jax.runs import leaves

_MOST_DEVICES = 1 << 16


def as_saved(
  abstract: TrainState, saved: Mapping[str, Any]
) -> TrainState:
  """Returns the state to be read: with the keys and the stream as saved.

  Args:
    abstract: the state of this number of devices.
    saved: shapes and dtypes by name, as the manifest has them.
  """
  count = saved.get('rng_key', {}).get('shape', [0])[-1:]
  if count and 0 < count[0] <= _MOST_DEVICES:
    shape = (*abstract.rng_key.shape[:-1], *count)
    if shape != abstract.rng_key.shape:
      keys: Any = jax.ShapeDtypeStruct(shape, abstract.rng_key.dtype)
      abstract = abstract._replace(rng_key=keys)
  if abstract.stream is None:
    return abstract
  names = leaves.flatten(abstract.stream, 'stream')
  if all(name in saved for name in names):
    as_they_are = [
      leaf if list(leaf.shape) == saved[name]['shape']
      # Without memory of its own, and so read to the host.
      else np.broadcast_to(np.zeros((), leaf.dtype), saved[name]['shape'])
      for name, leaf in names.items()]
    abstract = abstract._replace(stream=jax.tree.unflatten(
      jax.tree.structure(abstract.stream), as_they_are))
  return abstract


def adopt(
  state: TrainState, abstract: TrainState
) -> tuple[TrainState, list[str]]:
  """Returns a state for this number of devices, and lines on what changed.

  Its keys are the split of the first key that was saved; a stream that does
  not fit starts empty.

  Args:
    state: as it was read.
    abstract: the state of this number of devices.
  """
  lines = []
  there, here = state.rng_key.shape[-1], abstract.rng_key.shape[-1]
  if there != here:
    first = state.rng_key[..., 0]
    split = lambda key: jax.random.split(key, here)
    keys = jax.vmap(split)(first) if first.ndim else split(first)
    state = state._replace(
      rng_key=leaves.place(keys, abstract.rng_key.sharding))
    lines.append(
      f'saved with {_devices(there)}, resumed with {here}: the random numbers '
      'differ from here on')
  shapes = lambda tree: [leaf.shape for leaf in jax.tree.leaves(tree)]
  if shapes(state.stream) != shapes(abstract.stream):
    state = state._replace(stream=jax.tree.map(
      lambda leaf: leaves.place(
        jnp.zeros(leaf.shape, leaf.dtype), leaf.sharding),
      abstract.stream))
    lines.append('the stream of reanalysed rows starts anew')
  return state, lines


def _devices(count: int) -> str:
  return f'{count} device{"s" if count > 1 else ""}'
