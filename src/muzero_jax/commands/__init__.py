"""The commands: flags in, a run, a score, ratings, a dataset, an agent ...

Each command is a module with `define`, which defines its flags, and `run`. All
that needs jax is imported inside `run`, so that a mistake in the flags is told
before jax is loaded.
"""

from muzero_jax import _lazy

_MODULES = (
  'cluster',
  'dataset',
  'diagnose',
  'evaluate',
  'export',
  'filming',
  'gtp',
  'ladder',
  'main',
  'plan',
  'play',
  'report',
  'start',
  'train',
  'tune',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
