"""See and play: films, games against an agent, its page and its GTP engine."""

from muzero_jax import _lazy

_MODULES = (
  'analysis',
  'api',
  'drawings',
  'film',
  'film_files',
  'future',
  'gtp',
  'halving',
  'imagination',
  'names',
  'pictures',
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
