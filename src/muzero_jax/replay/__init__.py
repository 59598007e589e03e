"""Replay: rows stored, sampled, searched again, and kept as files."""

from muzero_jax import _lazy

_MODULES = (
  'dataset',
  'dataset_validation',
  'frame_stack',
  'mixture',
  'reanalyse',
  'reanalyse_buffer',
  'ring',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
