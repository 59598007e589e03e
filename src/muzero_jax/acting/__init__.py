"""Acting: one search and one environment step, on the device or the host."""

from muzero_jax import _lazy

_MODULES = (
  'actor',
  'host_actor',
  'host_worker',
  'lasting_noise',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
