"""The one configuration of a run: frozen, validated, every field a flag.

It opens the data flow: flags and presets become a Config, and only drivers,
`evaluate`, `agent` and `experiments` unpack it. Nothing here imports jax, so
that a mistake is refused before anything slow starts.
"""

import dataclasses
import difflib
import json
import math
import numbers
import typing
from collections.abc import Mapping
from typing import Any

from muzero_jax.config import presets, validation
from muzero_jax.errors import UserError


def _field(
  default: Any,
  help: str,  # pylint: disable=redefined-builtin
  *,
  low: float | None = None,
  high: float | None = None,
  choices: tuple[str, ...] | None = None,
  optional: bool = False,  # Of a text: may be empty.
) -> Any:
  """Returns a dataclass field with its description and allowed values."""
  metadata = dict(
    help=help, low=low, high=high, choices=choices, optional=optional)
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Everything that determines a run.

  Units: *step* is one agent step of one environment (four frames on Atari),
  *row* one stored moment (a step or an episode's last row), *update* one
  optimiser step. Whole numbers given for real fields and lists given for
  tuples are converted.

  Raises:
    UserError: names the field, its value and what is allowed.
  """

  # Environment.
  family: str = _field('classic', 'Environment family.', choices=(
    'atari', 'classic', 'board', 'minatar', 'stochastic', 'gymnax',
    'continuous', 'physics', 'gymnasium'))
  env_id: str = _field('cartpole', 'Environment within the family.')
  frame_size: int = _field(96, 'Atari: pixels per side.', low=36, high=210)
  grayscale: bool = _field(True, 'Atari: grey frames, else RGB.')
  frame_skip: int = _field(4, 'Atari: frames per step.', low=1, high=60)
  noop_max: int = _field(
    30, 'Atari: most no-ops at the start of an episode.', low=0, high=300)
  repeat_action_probability: float = _field(
    0.0, 'Atari and MinAtar: sticky actions.', low=0, high=1)
  full_action_set: bool = _field(
    False, 'Atari: all 18 actions, else the minimal set.')
  episodic_life: bool = _field(
    True, 'Atari: a lost life ends a training episode. Never in evaluation.')
  max_episode_frames: int = _field(
    108_000, 'Atari: frame cap of an episode.', low=100)
  env_threads: int = _field(
    0, 'Atari: emulator threads; 0 for one per core.', low=0, high=1024)
  reward_clip: float = _field(
    0.0, 'Rewards are clipped to +-this for training; 0 for no clip.', low=0)

  vectorisation: str = _field(
    'sync', 'Gymnasium: environments one after another in their actor\'s '
    'thread, each in a process of its own, or the vector environment that was '
    'registered with the id.', choices=('sync', 'async', 'own'))

  # Driver.
  driver: str = _field(
    'auto', 'anakin compiles environments into the training step, sebulba '
    'steps them on the host, in actor threads; auto takes anakin wherever the '
    'environments are JAX\'s or ALE\'s.',
    choices=('auto', 'anakin', 'sebulba'))
  actor_threads: int = _field(
    1, 'Sebulba: actor threads, each with num_envs / actor_threads '
    'environments.', low=1, high=256)
  policy_lag: int = _field(
    1, 'Sebulba: iterations by which the parameters that play are behind when '
    'what they played has been learnt from. With 1, actors and learner take '
    'turns; with more, actors play meanwhile.', low=1, high=100)
  on_worker_error: str = _field(
    'stop', 'Sebulba: environments that raise, hang or return wrong shapes '
    'end the run, or are made anew, the episodes that broke off dropped.',
    choices=('stop', 'restart'))
  worker_timeout: float = _field(
    60.0, 'Seconds after which a step of host environments counts as hung.',
    low=1e-3)

  # Network input and network.
  stacked_frames: int = _field(
    1, 'Last frames of the episode that h sees.', low=1, high=64)
  stack_actions: bool = _field(
    False, 'h also sees the actions between the stacked frames.')
  network: str = _field(
    'mlp', 'Architecture of h, g and f. lines: boards that are moved in four '
    'directions; windows: boards on which so many in a row win.', choices=(
      'mlp', 'board_resnet', 'atari_resnet', 'lines', 'windows'))
  num_blocks: int = _field(
    1, 'Residual blocks (hidden layers of an MLP).', low=0, high=64)
  stage_blocks: tuple[int, ...] = _field(
    (1, 1, 1), 'atari_resnet: residual blocks after each of the first three '
    'halvings of the frame.', low=0, high=64)
  num_channels: int = _field(
    128, 'Planes of the hidden state (units of an MLP).', low=4, high=4096)
  stem_channels: int = _field(
    0, 'mlp: planes of a 3x3 convolution before the first layer, for images; '
    '0 for none.', low=0, high=1024)
  stem_heads: int = _field(
    0, 'stem_channels: heads that look where they like on what a second '
    'convolution sees; 0 for none.', low=0, high=64)
  line_channels: int = _field(
    64, 'lines, windows: units of the layers along the lines of a board.',
    low=1, high=1024)
  window_length: int = _field(
    4, 'windows: squares in a row that are seen together, as many as win.',
    low=2, high=19)
  head_channels: int = _field(
    16, 'Planes of the 1x1 convolution before a head.', low=1, high=1024)
  head_hidden: int = _field(
    32, 'Units of the hidden layer of a head.', low=1, high=4096)
  chance_codes: int = _field(
    0, 'mlp, lines: codes of what chance does between two rows, of Stochastic '
    'MuZero (32 there); 0 for a deterministic model.', low=0, high=4096)
  projection_size: int = _field(
    256, 'consistency_weight: units of the projection.', low=2, high=8192)
  prefix_steps: int = _field(
    0, 'Rewards are predicted as sums (EfficientZero\'s value prefix) that '
    'start anew after so many transitions (5 there); 0 for single rewards.',
    low=0, high=1_000)
  prefix_units: int = _field(
    64, 'prefix_steps: units of the LSTM (512 in EfficientZero).', low=1,
    high=4096)
  policy_head: str = _field(
    'categorical', 'num_sampled_actions: distribution of the policy; discrete '
    'actions are categorical, continuous ones a squashed Gaussian or bins.',
    choices=('categorical', 'tanh_gaussian', 'factored_categorical'))
  action_bins: int = _field(
    7, 'factored_categorical: bins of each component of an action.', low=2,
    high=1_001)
  head: str = _field('categorical', 'Value and reward heads.', choices=(
    'categorical', 'scalar'))
  support_bins: int = _field(
    601, 'Bins of a categorical head; odd.', low=3, high=4001)
  support_max: float = _field(
    300.0, 'Largest transformed value h(x) that the support covers.', low=1e-3)
  support_mean: str = _field(
    'transformed', 'What a categorical head stands for: "transformed", h^-1 of '
    'the mean of h(x) (MuZero), or "scalar", the mean of x, which is not '
    'too low where returns are chance.', choices=('transformed', 'scalar'))
  compute_dtype: str = _field(
    'float32', 'Arithmetic of the networks; parameters and search statistics '
    'stay float32.', choices=('float32', 'bfloat16'))

  # Search.
  search: str = _field('gumbel', 'Search policy.', choices=(
    'gumbel', 'muzero'))
  num_simulations: int = _field(
    16, 'Simulations per search.', low=1, high=10_000)
  max_depth: int = _field(
    0, 'Deepest node of the tree; 0 for no limit.', low=0, high=10_000)
  num_sampled_actions: int = _field(
    0, 'Sampled MuZero: actions drawn at each node, over which the search then '
    'is (20 there), as continuous actions need; 0 for all actions.', low=0,
    high=1_000)
  proposal_temperature: float = _field(
    1.0, 'num_sampled_actions: temperature of the policy that they are drawn '
    'from; above 1 it is wider than the policy.', low=0.01, high=100)
  proposal_share: float = _field(
    1.0, 'num_sampled_actions: share that is drawn at proposal_temperature; '
    'the rest is drawn from the policy itself.', low=0, high=1)
  max_considered_actions: int = _field(
    16, 'Gumbel: actions considered at the root.', low=1, high=10_000)
  gumbel_value_scale: float = _field(
    0.1, 'Gumbel: c_scale of sigma(q); 0.1 on Atari, 1 on boards.', low=0)
  gumbel_min_range: float = _field(
    1e-8, 'Gumbel: q-values of a node are scaled to [0, 1], but never by less '
    'than this: what differs less is noise and must not decide.', low=1e-8)
  gumbel_min_share: float = _field(
    0.0, 'Gumbel: nor by less than this share of the node\'s value, whose '
    'error grows with it.', low=0)
  gumbel_prior_weight: float = _field(
    1.0, 'Gumbel: weight of the network\'s logits in the policy target; below '
    '1 the policy stays open between actions of nearly equal value.',
    low=0, high=1)
  gumbel_keep_prior: bool = _field(
    False, 'Gumbel: with gumbel_prior_weight below 1, keep the policy where '
    'q-values hardly differ, in place of opening it.')
  gumbel_maxvisit_init: float = _field(
    50.0, 'Gumbel: c_visit of sigma(q).', low=0)
  q_normalisation: str = _field(
    'siblings', 'MuZero search: q scaled over a node\'s own children or over '
    'the whole tree.', choices=('siblings', 'tree'))
  pb_c_init: float = _field(1.25, 'MuZero search: c1 of pUCT.', low=0)
  pb_c_base: float = _field(19_652.0, 'MuZero search: c2 of pUCT.', low=1)
  dirichlet_alpha: float = _field(
    0.25, 'MuZero search: root noise, legal actions only.', low=1e-6)
  dirichlet_fraction: float = _field(
    0.25, 'MuZero search: share of root noise.', low=0, high=1)
  temperature: tuple[float, ...] = _field(
    (1.0, 0.5, 0.25), 'Temperature of acting (of the visit counts; with '
    'Gumbel, of the improved policy), in order, from the fractions of training '
    'in temperature_at. 0 is greedy.',
    low=0)
  temperature_at: tuple[float, ...] = _field(
    (0.0, 0.5, 0.75), 'Fractions of training at which temperature changes.',
    low=0, high=1)
  temperature_moves: int = _field(
    0, 'Moves of an episode after which actions are greedy; 0 for never. '
    'With Gumbel, until then actions are drawn from the improved policy.',
    low=0)
  noise_steps: int = _field(
    1, 'Steps in a row whose searches draw the same noise, so that an agent '
    'that finds actions equally good goes on in one direction. Each rollout '
    'begins anew.', low=1)

  # Data.
  num_envs: int = _field(
    64, 'Environments stepped together, over all devices.', low=1,
    high=1 << 20)
  rollout_length: int = _field(
    16, 'Rows played per environment and iteration.', low=1, high=10_000)
  replay_capacity: int = _field(
    100_000, 'Rows in the replay, over all environments.', low=1)
  min_replay: int = _field(
    2_000, 'Rows stored before the first update.', low=0)
  priority_alpha: float = _field(
    0.0, 'Exponent of the priorities; 0 samples uniformly.', low=0, high=4)
  priority_beta: float = _field(
    1.0, 'Exponent of the importance weights.', low=0, high=1)
  reanalyse_fraction: float = _field(
    0.0, 'Share of each batch whose policy and value targets are computed '
    'afresh.', low=0, high=1)
  reanalyse_form: str = _field(
    'batch', 'Where these targets are computed: within each update, for its '
    'batch, or as a stream that searches stretches of the replay before the '
    'updates of an iteration and keeps them in a second ring.', choices=(
      'batch', 'stream'))
  reanalyse_rows_per_iteration: int = _field(
    0, 'Stream: rows searched in each iteration, in whole stretches; 0 for as '
    'many as the batch form would search.', low=0, high=2**31 - 1)
  reanalyse_capacity: int = _field(
    0, 'Stream: rows in the second ring, but at least those of one iteration; '
    '0 for as many as in the replay.', low=0, high=2**31 - 1)
  dataset: str = _field(
    '', 'Trains offline from this directory, which experiments.dataset wrote, '
    'and steps no environment: num_envs, rollout_length, noise_steps, '
    'replay_capacity, min_replay and num_steps do not count then.',
    optional=True)
  augment_symmetry: bool = _field(
    False, 'Boards, and MinAtar asterix, breakout and freeway: each sequence '
    'is turned and mirrored at random when it is trained.')

  # Targets and losses.
  discount: float = _field(0.997, 'gamma per step.', low=0, high=1)
  unroll_steps: int = _field(5, 'K.', low=1, high=100)
  value_target: str = _field('n_step', 'Value target.', choices=(
    'n_step', 'td_lambda', 'monte_carlo'))
  td_steps: int = _field(
    5, 'n of the n-step target, horizon of the others.', low=1, high=10_000)
  td_lambda: float = _field(0.95, 'lambda of td_lambda.', low=0, high=1)
  policy_weight: float = _field(1.0, 'Weight of the policy loss.', low=0)
  entropy_weight: float = _field(
    0.0, 'num_sampled_actions: weight of the policy\'s entropy in its loss.',
    low=0)
  value_weight: float = _field(0.25, 'Weight of the value loss.', low=0)
  reward_weight: float = _field(1.0, 'Weight of the reward loss.', low=0)
  chance_weight: float = _field(
    1.0, 'chance_codes: weight of the loss of their distribution.', low=0)
  commitment_weight: float = _field(
    1.0, 'chance_codes: weight of the encoder\'s commitment to its codes.',
    low=0)

  turn_weight: float = _field(
    1.0, 'Where players do not alternate: weight of the loss of whether the '
    'turn passes.', low=0)
  consistency_weight: float = _field(
    0.0, 'Weight of EfficientZero\'s consistency loss (2 there); 0 for none.',
    low=0)
  td_correction: int = _field(
    0, 'Steps of age that shorten a sample\'s td_steps by one, for data that '
    'older policies played; 0 for none.', low=0)
  mixed_value_age: int = _field(
    0, 'Steps of age from which a sample\'s values are trained on a fresh '
    'search of each row (EfficientZero V2\'s mixed value target; 5000 in its '
    'code), those of newer ones on value_target; 0 for never.', low=0)
  mixed_value_start: int = _field(
    30_000, 'mixed_value_age: updates before which all values are trained on '
    'value_target (30000 in EfficientZero V2\'s code).', low=0)
  shift_pixels: int = _field(
    0, 'Images are shifted at random by up to so many pixels when they are '
    'trained (4 in EfficientZero).', low=0, high=32)
  intensity_scale: float = _field(
    0.0, 'Images are brightened at random by this share when they are trained '
    '(0.05 in EfficientZero).', low=0, high=1)

  # Optimiser.
  batch_size: int = _field(256, 'Sequences per update.', low=1, high=1 << 20)
  updates_per_iteration: int = _field(
    4, 'Updates after each rollout.', low=0, high=10_000)
  optimiser: str = _field('adamw', 'Optimiser.', choices=('adamw', 'sgd'))
  learning_rate: float = _field(1e-3, 'Peak learning rate.', low=0)
  learning_rate_schedule: str = _field('cosine', 'Schedule.', choices=(
    'constant', 'cosine', 'exponential'))
  learning_rate_end: float = _field(
    0.1, 'Final learning rate as a share of the peak.', low=0, high=1)
  warmup_updates: int = _field(
    0, 'Updates over which the rate rises from 0.', low=0)
  momentum: float = _field(0.9, 'SGD momentum.', low=0, high=1)
  weight_decay: float = _field(1e-4, 'Weight decay on kernels.', low=0)
  max_grad_norm: float = _field(
    5.0, 'Gradients are clipped to this global norm; 0 for no clip.', low=0)
  target_period: int = _field(
    200, 'Updates between refreshes of the target network.', low=1)
  average_decay: float = _field(
    0.0, 'Decay per update of the running mean of the parameters, with which '
    'the trained agent plays; 0 plays with the last ones.', low=0, high=1)

  # Run.
  num_steps: int = _field(
    100_000, 'Environment steps in all.', low=1, high=2**31 - 1)
  offline_updates: int = _field(
    20_000, 'Updates in all of a run with a dataset; what is said of '
    'environment steps counts updates there.', low=1, high=2**31 - 1)
  num_devices: int = _field(
    0, 'Devices to shard over; 0 for all that fit. Where more than '
    'one are asked for, scripts let each core of a processor be one.', low=0)
  seed: int = _field(0, 'Random seed.', low=0, high=2**31 - 1)
  num_seeds: int = _field(
    1, 'Independent agents that train side by side in one program.', low=1,
    high=64)
  eval_episodes: int = _field(
    32, 'Episodes of the evaluation at the end.', low=0)
  eval_envs: int = _field(
    32, 'Most environments of an evaluation.', low=1, high=1 << 20)
  eval_simulations: int = _field(
    0, 'Simulations in evaluation; 0 for num_simulations.', low=0)
  log_period: float = _field(
    10.0, 'Seconds between progress lines.', low=0)
  checkpoint_period: float = _field(
    300.0, 'Seconds between checkpoints; 0 for every iteration.', low=0)
  max_checkpoints: int = _field(2, 'Checkpoints kept.', low=1)
  snapshot_period: int = _field(
    0, 'Environment steps between snapshots of the parameters to play with, '
    'all of which are kept: for rating curves. 0 for none.', low=0)

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      value = check(field.name, getattr(self, field.name))
      object.__setattr__(self, field.name, value)
    validation.check(self)

  @property
  def capacity_rows_per_env(self) -> int:
    """Returns replay rows per environment, a whole number of rollouts."""
    rows = self.replay_capacity // self.num_envs
    return rows - rows % self.rollout_length

  @property
  def window_rows(self) -> int:
    """Returns the least rows per environment from which one can train."""
    return self.unroll_steps + self.td_steps + self.stacked_frames + 1

  @property
  def total_steps(self) -> int:
    """Returns the environment steps of the run; offline, its updates."""
    return self.offline_updates if self.dataset else self.num_steps

  @property
  def replay_rows(self) -> int:
    """Returns the rows that the replay really holds, over all environments."""
    return self.capacity_rows_per_env * self.num_envs


FIELDS: dict[str, dataclasses.Field] = {
  field.name: field for field in dataclasses.fields(Config)
}

# What may differ when a run is resumed: none of it changes what was learnt, but
# another num_steps (or offline_updates) stretches what is left of the
# schedules.
RESUMABLE_FIELDS = frozenset({
  'num_steps', 'offline_updates', 'log_period', 'checkpoint_period',
  'max_checkpoints', 'snapshot_period',
  'eval_episodes', 'eval_envs', 'eval_simulations', 'env_threads',
  'on_worker_error', 'worker_timeout',
})


def allowed(name: str) -> str:
  """Returns what field `name` accepts, in words, for help and errors."""
  field = FIELDS[name]
  low, high = field.metadata['low'], field.metadata['high']
  if field.metadata['choices']:
    return 'one of ' + ', '.join(field.metadata['choices'])
  if field.type is bool:
    return 'true or false'
  if field.type is str:
    return 'a path, or nothing' if field.metadata['optional'] else 'a name'
  entry = (typing.get_args(field.type) or (None,))[0]
  kind = 'one or more ' + ('whole numbers' if entry is int else 'numbers')
  if field.type in (int, float):
    kind = 'a whole number' if field.type is int else 'a number'
  if low is not None and high is not None:
    return f'{kind} from {_number(low)} to {_number(high)}'
  if low is not None:
    return f'{kind}, at least {_number(low)}'
  return kind


def check(name: str, value: Any) -> Any:
  """Returns `value` in the type of field `name`.

  Raises:
    UserError: names the field, its value and what is allowed.
  """
  field = FIELDS[name]
  try:
    is_none = field.metadata['optional'] and value == ''
    converted = '' if is_none else _convert(field.type, value)
  except TypeError:
    raise _refusal(name, value) from None
  entries = converted if isinstance(converted, tuple) else (converted,)
  low, high = field.metadata['low'], field.metadata['high']
  choices = field.metadata['choices']
  for entry in entries:
    outside = (
      (choices is not None and entry not in choices)
      or (low is not None and entry < low)
      or (high is not None and entry > high))
    if outside:
      raise _refusal(name, value)
  return converted


def nearest(name: str, known: Any) -> str:
  """Returns "; did you mean x?" for the known name nearest to `name`, or ""."""
  matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
  return f'; did you mean {matches[0]}?' if matches else ''


def from_preset(name: str, **overrides: Any) -> Config:
  """Returns the Config of a preset, with some of its fields replaced.

  Raises:
    UserError: no such preset or field, or a value that is not allowed.
  """
  if name not in presets.PRESETS:
    raise UserError(
      f'preset = {name!r} is not one of {", ".join(presets.PRESETS)}'
      + nearest(name, presets.PRESETS))
  return from_fields({**presets.PRESETS[name], **overrides})


def from_fields(fields: Mapping[str, Any]) -> Config:
  """Returns a Config with these fields, the others at their defaults.

  Raises:
    UserError: an unknown field, with the nearest name, or a bad value.
  """
  for name in fields:
    if name not in FIELDS:
      raise UserError(f'there is no field {name!r}' + nearest(name, FIELDS))
  return Config(**fields)


def to_json(config: Config) -> str:
  """Returns `config` as JSON text, one field per line."""
  return json.dumps(dataclasses.asdict(config), indent=2) + '\n'


def from_json(text: str) -> Config:
  """Returns the Config that `to_json` wrote; absent fields take defaults.

  Raises:
    UserError: not a JSON object, an unknown field or a bad value.
  """
  try:
    fields = json.loads(text)
  except ValueError as error:
    raise UserError(f'not a configuration: {error}') from None
  if not isinstance(fields, dict):
    raise UserError('not a configuration: a JSON object is needed')
  return from_fields(fields)


def text(value: Any) -> str:
  """Returns a field's value as a flag has it."""
  if isinstance(value, tuple):
    return ','.join(map(text, value))
  return str(value).lower() if isinstance(value, bool) else str(value)


def diff(a: Config, b: Config) -> dict[str, tuple[Any, Any]]:
  """Returns the fields in which two Configs differ, as (a's, b's)."""
  pairs = {name: (getattr(a, name), getattr(b, name)) for name in FIELDS}
  return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _convert(kind: Any, value: Any) -> Any:
  """Returns `value` as `kind`; TypeError where that would change it."""
  if kind is bool:
    valid = isinstance(value, bool)
  elif kind is str:
    valid = isinstance(value, str) and bool(value)
  elif isinstance(value, bool):  # An int to Python, a mistake here.
    valid = False
  elif kind is int:
    valid = isinstance(value, numbers.Integral)
  elif kind is float:
    valid = isinstance(value, numbers.Real) and math.isfinite(value)
  else:
    if not isinstance(value, (tuple, list)) or not value:
      raise TypeError
    entry_kind = typing.get_args(kind)[0]
    return tuple(_convert(entry_kind, entry) for entry in value)
  if not valid:
    raise TypeError
  return kind(value)


def _number(value: float) -> str:
  return str(int(value)) if value == int(value) else str(value)


def _refusal(name: str, value: Any) -> UserError:
  known = FIELDS[name].metadata['choices']
  hint = nearest(value, known) if known and isinstance(value, str) else ''
  return UserError(f'{name} = {value!r} is not {allowed(name)}{hint}')
