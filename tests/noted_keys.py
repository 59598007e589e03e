"""Notes which PRNG keys are used, also inside of compiled functions."""

import functools

import jax
import numpy as np


class NotedKeys:
  """Keys that were used, each of them once or, if shared, often."""

  def __init__(self):
    self._once, self._shared = [], set()

  @property
  def num_used(self):
    """How many keys were used, shared ones aside."""
    jax.effects_barrier()
    return len(self._once)

  def of(self, function, *, position):
    """A function that uses its argument at `position`, once in each call."""

    @functools.wraps(function)
    def noted(*args):
      jax.debug.callback(
        lambda x: self._once.append(_words(x)),
        jax.random.key_data(args[position]))
      return function(*args)

    return noted

  def shared(self, function):
    """A function whose first argument is the same key in many calls."""

    @functools.wraps(function)
    def noted(*args):
      jax.debug.callback(
        lambda x: self._shared.add(_words(x)), jax.random.key_data(args[0]))
      return function(*args)

    return noted

  def check(self):
    """Asserts that neither keys nor any of their children are the same."""
    jax.effects_barrier()
    assert self._once and self._shared
    found = [*self._once, *self._shared]
    keys = jax.random.wrap_key_data(np.array(found, np.uint32))
    children = jax.vmap(lambda key: jax.random.split(key, 8))(keys)
    found += map(_words, jax.random.key_data(children).reshape(-1, 2))
    assert len(set(found)) == len(found)


def _words(data):
  return tuple(np.asarray(data).tolist())
