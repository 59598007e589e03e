"""See and play: films and pictures, games against an agent, and its page."""

from muzero_jax import _lazy

_MODULES = (
  'analysis',
  'api',
  'future',
  'imagination',
  'names',
  'players',
  'records',
  'screen',
  'server',
  'serving',
  'sessions',
  'worlds',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
