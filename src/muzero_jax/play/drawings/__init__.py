"""Drawings of environments, and of what a search found."""

from muzero_jax import _lazy

_MODULES = (
  'boards',
  'canvas',
  'control',
  'panel',
  'planes',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
