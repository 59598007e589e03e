"""The one configuration of a run: its fields, presets and command line.

Nothing here imports jax, so that a mistake is refused before anything slow
starts.
"""

from muzero_jax.config import presets, validation
from muzero_jax.config.config import (
  FIELDS,
  RESUMABLE_FIELDS,
  Config,
  allowed,
  check,
  diff,
  from_fields,
  from_json,
  from_preset,
  nearest,
  text,
  to_json,
)

__all__ = [
  'FIELDS',
  'RESUMABLE_FIELDS',
  'Config',
  'allowed',
  'check',
  'diff',
  'from_fields',
  'from_json',
  'from_preset',
  'nearest',
  'presets',
  'text',
  'to_json',
  'validation',
]
