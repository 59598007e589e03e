"""Settings of learning: targets, losses, updates and the optimiser."""

import dataclasses

from muzero_jax.config.settings.acting import FrameStack
from muzero_jax.config.settings.base import MOST_COUNTED, Record, field
from muzero_jax.config.settings.data import Augmentation, Reanalyse, Replay
from muzero_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Targets(Record):
  """What an unroll is trained towards."""

  discount: float = field(0.997, 'gamma per step.', low=0, high=1)
  unroll_steps: int = field(5, 'K.', low=1, high=100)
  value_target: str = field('n_step', 'Value target.', choices=(
    'n_step', 'td_lambda', 'monte_carlo'))
  td_steps: int = field(
    5, 'n of the n-step target, horizon of the others.', low=1, high=10_000)
  td_lambda: float = field(0.95, 'lambda of td_lambda.', low=0, high=1)
  fresh_values: bool = field(
    False, 'The values that returns bootstrap from are the target network\'s, '
    'computed for each batch, in place of those that the search found when the '
    'rows were played.')
  td_correction: int = field(
    0, 'Steps of age that shorten a sample\'s td_steps by one, for data that '
    'older policies played; 0 for none.', low=0,
    high=MOST_COUNTED)
  mixed_value_age: int = field(
    0, 'Steps of age from which a sample\'s values are trained on a fresh '
    'search of each row (EfficientZero V2\'s mixed value target; 5000 in its '
    'code), those of newer ones on value_target; 0 for never.', low=0)
  mixed_value_start: int = field(
    30_000, 'mixed_value_age: updates before which all values are trained on '
    'value_target (30000 in EfficientZero V2\'s code).', low=0)

  def _check(self) -> None:
    for name in ('td_correction', 'mixed_value_age'):
      value = getattr(self, name)
      if value and self.value_target == 'monte_carlo':
        raise UserError(
          f'{name} = {value} changes where returns bootstrap, and value_target '
          "= 'monte_carlo' never does: allowed is 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossWeights(Record):
  """Weights of the parts of the total loss."""

  policy_weight: float = field(1.0, 'Weight of the policy loss.', low=0)
  policy_gradient_weight: float = field(
    0.0, 'Weight of the policy gradient: actions that turned out better than '
    'expected become likelier, whatever the model knows of them; 0 for none.',
    low=0)
  entropy_weight: float = field(
    0.0, 'num_sampled_actions: weight of the policy\'s entropy in its loss.',
    low=0)
  value_weight: float = field(0.25, 'Weight of the value loss.', low=0)
  reward_weight: float = field(1.0, 'Weight of the reward loss.', low=0)
  chance_weight: float = field(
    1.0, 'chance_codes: weight of the loss of their distribution.', low=0)
  commitment_weight: float = field(
    1.0, 'chance_codes: weight of the encoder\'s commitment to its codes.',
    low=0)
  turn_weight: float = field(
    1.0, 'Where players do not alternate: weight of the loss of whether the '
    'turn passes.', low=0)
  consistency_weight: float = field(
    0.0, 'Weight of EfficientZero\'s consistency loss (2 there); 0 for none.',
    low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Updates(Record):
  """How often, and on how much, the learner updates."""

  batch_size: int = field(256, 'Sequences per update.', low=1, high=1 << 20)
  updates_per_iteration: int = field(
    4, 'Updates after each rollout.', low=0, high=10_000)
  target_period: int = field(
    200, 'Updates between refreshes of the target network.', low=1,
    high=2**16)
  ema_decay: float = field(
    0.0, 'Decay per update of the exponential moving average of the parameters '
    'that the trained agent plays with; 0 for the last parameters.', low=0,
    high=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning(FrameStack, Replay, Reanalyse, Augmentation, Targets, Updates):
  """All that makes sequences of stored rows and trains on them."""

  def _check(self) -> None:
    all_searched = (
      self.reanalyse_fraction == 1 and self.reanalyse_form == 'batch')
    if self.mixed_value_age and not all_searched:
      raise UserError(
        f'mixed_value_age = {self.mixed_value_age} needs a fresh search of '
        "all rows: reanalyse_fraction = 1 with reanalyse_form = 'batch', not "
        f'{self.reanalyse_fraction} with {self.reanalyse_form!r}')
    streams = self.reanalyse_fraction and self.reanalyse_form == 'stream'
    if self.fresh_values and streams:
      raise UserError(
        "fresh_values = True: with reanalyse_form = 'stream' the second ring "
        'has values of its own searches: allowed is one of the two')
    for name in ('intensity_scale', 'augment_symmetry'):
      if getattr(self, name) and self.stack_actions:
        raise UserError(
          f'{name} = {getattr(self, name)} would change the action planes of '
          'stack_actions = True: allowed is one of the two')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimiser(Record):
  """The update rule, its schedule and its clipping."""

  optimiser: str = field('adamw', 'Optimiser.', choices=('adamw', 'sgd'))
  learning_rate: float = field(1e-3, 'Peak learning rate.', low=0)
  learning_rate_schedule: str = field('cosine', 'Schedule.', choices=(
    'constant', 'cosine', 'exponential'))
  learning_rate_end: float = field(
    0.1, 'Final learning rate as a share of the peak.', low=0, high=1)
  warmup_updates: int = field(
    0, 'Updates over which the rate rises from 0.', low=0,
    high=MOST_COUNTED)
  momentum: float = field(0.9, 'SGD momentum.', low=0, high=1)
  weight_decay: float = field(1e-4, 'Weight decay on kernels.', low=0)
  max_grad_norm: float = field(
    5.0, 'Gradients are clipped to this global norm; 0 for no clip.', low=0)
