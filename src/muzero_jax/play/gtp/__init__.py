"""The engine of the Go Text Protocol: a trained agent for other programs."""

from muzero_jax import _lazy

_MODULES = (
  'arguments',
  'boards',
  'clock',
  'engine',
  'game',
  'search',
  'session',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
