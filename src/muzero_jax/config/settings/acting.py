"""Settings of acting: what the agent sees, and how it explores."""

import dataclasses

from muzero_jax.config.settings.base import MOST_COUNTED, Record, field
from muzero_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameStack(Record):
  """What the network sees of the past."""

  stacked_frames: int = field(
    1, 'Last frames of the episode that h sees.', low=1, high=64)
  stack_actions: bool = field(
    False, 'h also sees the actions between the stacked frames.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Acting(Record):
  """How actions are chosen while training, and what is stored of them."""

  rollout_length: int = field(
    16, 'Rows played per environment and iteration.', low=1, high=10_000)
  temperature: tuple[float, ...] = field(
    (1.0, 0.5, 0.25), 'Temperature of acting (of the visit counts; with '
    'Gumbel, of the improved policy), in order, from the fractions of training '
    'in temperature_at. 0 is greedy.',
    low=0)
  temperature_at: tuple[float, ...] = field(
    (0.0, 0.5, 0.75), 'Fractions of training at which temperature changes.',
    low=0, high=1)
  temperature_moves: int = field(
    0, 'Moves of an episode after which actions are greedy; 0 for never. '
    'With Gumbel, until then actions are drawn from the improved policy.',
    low=0, high=MOST_COUNTED)
  noise_steps: tuple[int, ...] = field(
    (1,), 'Steps in a row whose searches draw the same noise, so that an agent '
    'that finds actions equally good goes on in one direction. Each rollout '
    'draws new noise. Of several numbers, each is for an equal share of the '
    'environments.', low=1)
  reward_clip: float = field(
    0.0, 'Rewards are clipped to +-this for training; 0 for no clip.', low=0)

  def _check(self) -> None:
    at = self.temperature_at
    if len(at) != len(self.temperature):
      raise UserError(
        f'temperature_at = {at!r} has {len(at)} entries, but temperature = '
        f'{self.temperature!r} has {len(self.temperature)}: give one each')
    if at[0] != 0 or any(a >= b for a, b in zip(at, at[1:])):
      raise UserError(f'temperature_at = {at!r} must start with 0 and rise')
