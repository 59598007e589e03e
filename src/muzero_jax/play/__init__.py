"""See and play: a trained agent as a program that others play against."""

from muzero_jax import _lazy

_MODULES = (
  'gtp_arguments',
  'gtp_boards',
  'gtp_clock',
  'gtp_engine',
  'gtp_game',
  'gtp_search',
  'gtp_session',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
