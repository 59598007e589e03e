"""Settings of the network: architecture, variants and heads."""

import dataclasses

from muzero_jax.config.settings.base import Record, field
from muzero_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture(Record):
  """The functions h, g and f."""

  network: str = field(
    'auto', 'Architecture of h, g and f. auto: by what is observed, a vector, '
    'a small or a large image, or a board. rotation_equivariant: boards that '
    'are moved in four directions; k_in_a_row: boards on which so many in a '
    'row win.', choices=(
      'auto', 'mlp', 'board_resnet', 'atari_resnet', 'rotation_equivariant',
      'k_in_a_row'))
  num_blocks: int = field(
    1, 'Residual blocks (hidden layers of an MLP).', low=0, high=64)
  stage_blocks: tuple[int, ...] = field(
    (1, 1, 1), 'atari_resnet: residual blocks after each of the first three '
    'halvings of the frame.', low=0, high=64)
  num_channels: int = field(
    128, 'Planes of the hidden state (units of an MLP).', low=4, high=4096)
  stem_channels: int = field(
    0, 'mlp: planes of a 3x3 convolution before the first layer, for images; '
    '0 for none.', low=0, high=1024)
  attention_heads: int = field(
    0, 'stem_channels: attention-pooling heads over the planes of a second '
    'convolution; 0 for none.', low=0, high=64)
  line_channels: int = field(
    64, 'rotation_equivariant, k_in_a_row: units of the layers along the '
    'lines of a board.', low=1, high=1024)
  window_length: int = field(
    4, 'k_in_a_row: squares in a row that are seen together, as many '
    'as win.',
    low=2, high=19)
  head_channels: int = field(
    16, 'Planes of the 1x1 convolution before a head.', low=1, high=1024)
  head_hidden: int = field(
    32, 'Units of the hidden layer of a head.', low=1, high=4096)
  chance_codes: int = field(
    0, 'mlp, rotation_equivariant: codes of what chance does between two '
    'rows, of Stochastic MuZero (32 there); 0 for a deterministic model.',
    low=0, high=4096)
  projection_size: int = field(
    256, 'consistency_weight: units of the projection.', low=2, high=8192)
  prefix_steps: int = field(
    0, 'Rewards are predicted as sums (EfficientZero\'s value prefix) that '
    'start anew after so many transitions (5 there); 0 for single rewards.',
    low=0, high=1_000)
  prefix_units: int = field(
    64, 'prefix_steps: units of the LSTM (512 in EfficientZero).', low=1,
    high=4096)
  compute_dtype: str = field(
    'float32', 'Arithmetic of the networks; parameters and search statistics '
    'stay float32.', choices=('float32', 'bfloat16'))

  def _check(self) -> None:
    if self.stem_channels and self.network not in ('auto', 'mlp'):
      raise UserError(
        f"stem_channels = {self.stem_channels} needs network = 'mlp', not "
        f'{self.network!r}')
    if self.attention_heads and not self.stem_channels:
      raise UserError(
        f'attention_heads = {self.attention_heads} needs stem_channels of at '
        'least 1, not 0')
    if len(self.stage_blocks) != 3:
      raise UserError(
        f'stage_blocks = {self.stage_blocks!r} must have 3 entries')
    self._check_chance()
    if self.prefix_steps and self.network in (
        'rotation_equivariant', 'k_in_a_row'):
      raise UserError(
        f'prefix_steps = {self.prefix_steps} needs another network than '
        f'{self.network!r}, which predicts single rewards only')

  def _check_chance(self) -> None:
    """Check that a stochastic model is possible."""
    if not self.chance_codes:
      return
    if self.network not in ('auto', 'mlp', 'rotation_equivariant'):
      raise UserError(
        f"chance_codes = {self.chance_codes} needs network = 'mlp' or "
        f"'rotation_equivariant', not {self.network!r}")
    if self.prefix_steps:
      raise UserError(
        f'prefix_steps = {self.prefix_steps} needs chance_codes = 0, not '
        f'{self.chance_codes}: chance makes each reward')
    if self.chance_codes == 1:
      raise UserError(
        'chance_codes = 1 tells nothing apart: allowed are 0, for a '
        'deterministic model, and 2 or more')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heads(Record):
  """Value and reward heads."""

  head: str = field('categorical', 'Value and reward heads.', choices=(
    'categorical', 'scalar'))
  support_bins: int = field(
    601, 'Bins of a categorical head; odd.', low=3, high=4001)
  support_max: float = field(
    300.0, 'Largest transformed value h(x) that the support covers.', low=1e-3)
  support_mean: str = field(
    'transformed', 'What a categorical head stands for: "transformed", h^-1 of '
    'the mean of h(x) (MuZero), or "scalar", the mean of x, which is not '
    'too low where returns are chance.', choices=('transformed', 'scalar'))

  def _check(self) -> None:
    if self.head == 'scalar' and self.support_mean != 'transformed':
      raise UserError(
        f"support_mean = {self.support_mean!r} needs head = 'categorical': a "
        'scalar head has no distribution to take a mean of')
    if self.support_bins % 2 == 0:
      raise UserError(
        f'support_bins = {self.support_bins} is even; it must be odd, so '
        'that one bin is 0')
