"""See and play: games against an agent, its search trees, and its page."""

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
