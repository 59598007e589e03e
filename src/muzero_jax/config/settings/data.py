"""Settings of stored data: replay, Reanalyse, datasets."""

import dataclasses

from muzero_jax.config.settings.base import Record, field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay(Record):
  """The rows that are stored, and how they are sampled."""

  replay_capacity: int = field(
    100_000, 'Rows in the replay, over all environments.', low=1)
  min_replay: int = field(
    2_000, 'Rows stored before the first update.', low=0)
  priority_alpha: float = field(
    0.0, 'Exponent of the priorities; 0 samples uniformly.', low=0, high=4)
  priority_beta: float = field(
    1.0, 'Exponent of the importance weights.', low=0, high=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reanalyse(Record):
  """Fresh policy and value targets for stored rows."""

  reanalyse_fraction: float = field(
    0.0, 'Share of each batch whose policy and value targets are computed '
    'afresh.', low=0, high=1)
  reanalyse_form: str = field(
    'batch', 'Where these targets are computed: within each update, for its '
    'batch, or as a stream that searches stretches of the replay before the '
    'updates of an iteration and keeps them in a second ring.', choices=(
      'batch', 'stream'))
  reanalyse_rows_per_iteration: int = field(
    0, 'Stream: rows searched in each iteration, in whole stretches; 0 for as '
    'many as the batch form would search.', low=0, high=2**31 - 1)
  reanalyse_capacity: int = field(
    0, 'Stream: rows in the second ring, but at least those of one iteration; '
    '0 for as many as in the replay.', low=0, high=2**31 - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation(Record):
  """What changes observations when they are trained."""

  augment_symmetry: bool = field(
    False, 'Boards, and MinAtar asterix, breakout and freeway: each sequence '
    'is turned and mirrored at random when it is trained.')
  shift_pixels: int = field(
    0, 'Images are shifted at random by up to so many pixels when they are '
    'trained (4 in EfficientZero).', low=0, high=32)
  intensity_scale: float = field(
    0.0, 'Images are brightened at random by this share when they are trained '
    '(0.05 in EfficientZero).', low=0, high=1)
