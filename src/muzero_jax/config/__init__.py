"""The one configuration of a run: its fields, presets and command line.

Nothing here imports jax, so that a mistake is refused before anything slow
starts.
"""

from muzero_jax import _lazy
from muzero_jax.config import (
  imports,
  legacy,
  presets,
  settings,
  validation,
)
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
  nearest_preset,
  notice,
  to_json,
)
from muzero_jax.config.settings.base import nearest, text

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
  'imports',
  'legacy',
  'nearest',
  'nearest_preset',
  'notice',
  'presets',
  'settings',
  'text',
  'to_json',
  'validation',
]

__getattr__, __dir__ = _lazy.attach(
  __name__, ('command_line', 'flagfiles'))
