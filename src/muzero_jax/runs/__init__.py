"""A run directory: configuration, lock, checkpoints, metrics and curves."""

from muzero_jax import _lazy

_MODULES = (
  'checkpoint',
  'dataset_export',
  'finite',
  'leaves',
  'lock',
  'manifest',
  'metrics',
  'plots',
  'policy_checkpoints',
  'progress',
  'run_dir',
  'signals',
  'writers',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
