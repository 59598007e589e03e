"""MuZero in JAX: pure networks, batched search, one jitted training step.

The packages and modules, in the order in which data flows; each is imported
when it is first named, so that a command line is checked before jax is loaded.
"""

from typing import Any

from muzero_jax import _lazy

__all__ = [
  'types',
  'transforms',
  'targets',
  'losses',
  'wide_counts',
  'console',
  'files',
  'paths',
  'processes',
  'errors',
  'config',
  'envs',
  'networks',
  'search',
  'replay',
  'acting',
  'learning',
  'drivers',
  'runs',
  'agent',
  'evaluation',
  'train',
  'tuning',
  'planning',
  'play',
  'commands',
]

_get_module, __dir__ = _lazy.attach(__name__, tuple(__all__))


def __getattr__(name: str) -> Any:
  """Return a module, or `__version__`: that of the installed package."""
  if name != '__version__':
    return _get_module(name)
  from importlib import metadata

  return metadata.version('muzero_jax')
