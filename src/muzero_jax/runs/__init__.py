"""A run directory: configuration, lock, checkpoints, metrics and curves."""

from muzero_jax import _lazy

_MODULES = (
  'agent_card',
  'agent_file',
  'agent_source',
  'array_files',
  'best',
  'checkpoint',
  'dataset_export',
  'devices',
  'folders',
  'iterate',
  'joining',
  'leaves',
  'lock',
  'manifest',
  'metrics',
  'opening',
  'peers',
  'plots',
  'policy_checkpoints',
  'progress',
  'record',
  'resume',
  'run_dir',
  'safetensors_files',
  'saver',
  'shared_checkpoint',
  'signals',
  'silence',
  'soundness',
  'terminal',
  'writers',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
