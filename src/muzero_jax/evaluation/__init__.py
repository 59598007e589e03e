"""Noise-free play: scores, matches, ratings and diagnoses of trained agents."""

from muzero_jax import _lazy

_MODULES = (
  'after_training',
  'agent_export',
  'agent_pages',
  'atari_scores',
  'curves',
  'device_play',
  'diagnose',
  'during_training',
  'elo',
  'game_records',
  'gtp',
  'host_match',
  'host_play',
  'hub',
  'match',
  'opponents',
  'playing',
  'program_match',
  'random_play',
  'report',
  'run_files',
  'run_page',
  'run_tables',
  'tournament',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
