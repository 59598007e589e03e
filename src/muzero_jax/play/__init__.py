"""See and play: films, games against an agent, its page and its GTP engine."""

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
  'gtp_arguments',
  'gtp_boards',
  'gtp_clock',
  'gtp_engine',
  'gtp_game',
  'gtp_search',
  'gtp_session',
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
