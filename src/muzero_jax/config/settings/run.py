"""Settings of a run: its length, evaluation and bookkeeping."""

import dataclasses

from muzero_jax.config.settings.base import Record, field
from muzero_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Record):
  """How long, from which seed, and what is reported and kept."""

  num_steps: int = field(
    100_000, 'Environment steps in all.', low=1, high=2**53)
  dataset: str = field(
    '', 'Trains offline from this directory, which experiments.dataset wrote, '
    'and steps no environment: num_envs, rollout_length, noise_steps, '
    'replay_capacity, min_replay and num_steps do not count then.',
    optional=True)
  offline_updates: int = field(
    20_000, 'Updates in all of a run with a dataset; what is said of '
    'environment steps counts updates there.', low=1, high=2**53)
  seed: int = field(0, 'Random seed.', low=0, high=2**31 - 1)
  num_seeds: int = field(
    1, 'Independent agents that train side by side in one program.', low=1,
    high=64)
  eval_episodes: int = field(
    32, 'Episodes of an evaluation; 0 for none at the end.', low=0)
  eval_period: int = field(
    0, 'Environment steps between evaluations during training; the parameters '
    'of the best are kept in best/. 0 for none.', low=0)
  eval_envs: int = field(
    32, 'Most environments of an evaluation.', low=1, high=1 << 20)
  eval_simulations: int = field(
    0, 'Simulations in evaluation; 0 for num_simulations.', low=0)
  log_period: float = field(
    10.0, 'Seconds between progress lines.', low=0)
  checkpoint_period: float = field(
    300.0, 'Seconds between checkpoints; 0 for every iteration.', low=0)
  max_checkpoints: int = field(2, 'Checkpoints kept.', low=1)
  snapshot_period: int = field(
    0, 'Environment steps between snapshots of the parameters to play with, '
    'all of which are kept: for rating curves. 0 for none.', low=0)

  def _check(self) -> None:
    """Check that what is evaluated has episodes."""
    if self.eval_period and not self.eval_episodes:
      raise UserError(
        f'eval_period = {self.eval_period} needs eval_episodes of at least 1, '
        f'not {self.eval_episodes}')
