"""MuZero in JAX: pure networks, batched search, one jitted training step.

The modules, in the order in which data flows; each is imported when it is
first named, so that a command line is checked before jax is loaded.
"""

import importlib
from types import ModuleType

__all__ = [
  'types',
  'presets',
  'config',
  'flags',
  'envs',
  'transforms',
  'networks',
  'model',
  'search',
  'history',
  'actor',
  'replay',
  'reanalyse',
  'stream',
  'rings',
  'symmetry',
  'targets',
  'turns',
  'losses',
  'optimiser',
  'learner',
  'factory',
  'anakin',
  'workers',
  'host_actor',
  'sebulba',
  'drivers',
  'manifest',
  'checkpoint',
  'snapshots',
  'dataset_rules',
  'dataset',
  'offline',
  'progress',
  'agent',
  'gtp',
  'opponents',
  'play',
  'host_play',
  'host_match',
  'records',
  'matches',
  'evaluate',
  'diagnose',
  'ladder',
  'tournament',
  'connect_four',
  'means',
  'memory',
  'train',
  'atari_scores',
]


def __getattr__(name: str) -> ModuleType:
  if name in __all__:
    return importlib.import_module(f'{__name__}.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return __all__
