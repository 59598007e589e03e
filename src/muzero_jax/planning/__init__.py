"""What a run will need and how long it will take, before it is paid for."""

from muzero_jax import _lazy

_MODULES = (
  'forecast',
  'needs',
  'rates',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
