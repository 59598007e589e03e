"""How a run is driven: what is compiled, donated, sharded and started.

The only place where `jit`, donation, sharding and devices are named.
"""

from muzero_jax import _lazy

_MODULES = (
  'anakin',
  'build',
  'by_environment',
  'choose',
  'cluster',
  'iteration',
  'memory_check',
  'offline',
  'placement',
  'sebulba',
  'train_state',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
