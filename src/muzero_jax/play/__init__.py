"""See and play: films and pictures, games against an agent, and its page."""

from muzero_jax import _lazy

_MODULES = (
  'analysis',
  'api',
  'boards',
  'canvas',
  'control',
  'film',
  'film_files',
  'future',
  'halving',
  'imagination',
  'names',
  'panel',
  'pictures',
  'planes',
  'players',
  'records',
  'screen',
  'server',
  'serving',
  'sessions',
  'svg_files',
  'worlds',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
