"""The one configuration of a run: frozen, validated, every field a flag."""

import dataclasses
import difflib
from typing import Any


def _field(
  default: Any,
  help: str,  # pylint: disable=redefined-builtin
  *,
  low: float | None = None,
  high: float | None = None,
  choices: tuple[str, ...] | None = None,
) -> Any:
  """Returns a dataclass field with its description and allowed values."""
  metadata = dict(help=help, low=low, high=high, choices=choices)
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Everything that determines a run.

  Units: *step* is one agent step of one environment (four frames on Atari),
  *row* one stored moment (a step or an episode's last row), *update* one
  optimiser step.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """

  # Environment.
  family: str = _field('classic', 'Environment family.', choices=(
    'atari', 'classic', 'board', 'minatar', 'gymnax'))
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

  # Network input and network.
  stacked_frames: int = _field(
    1, 'Last frames of the episode that h sees.', low=1, high=64)
  stack_actions: bool = _field(
    False, 'h also sees the actions between the stacked frames.')
  network: str = _field('mlp', 'Architecture of h, g and f.', choices=(
    'mlp', 'board_resnet', 'atari_resnet'))
  num_blocks: int = _field(
    1, 'Residual blocks (hidden layers of an MLP).', low=0, high=64)
  num_channels: int = _field(
    128, 'Planes of the hidden state (units of an MLP).', low=4, high=4096)
  head_channels: int = _field(
    16, 'Planes of the 1x1 convolution before a head.', low=1, high=1024)
  head_hidden: int = _field(
    32, 'Units of the hidden layer of a head.', low=1, high=4096)
  head: str = _field('categorical', 'Value and reward heads.', choices=(
    'categorical', 'scalar'))
  support_bins: int = _field(
    601, 'Bins of a categorical head; odd.', low=3, high=4001)
  support_max: float = _field(
    300.0, 'Largest transformed value h(x) that the support covers.', low=1e-3)
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
  max_considered_actions: int = _field(
    16, 'Gumbel: actions considered at the root.', low=1, high=10_000)
  gumbel_value_scale: float = _field(
    0.1, 'Gumbel: c_scale of sigma(q); 0.1 on Atari, 1 on boards.', low=0)
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
    (1.0, 0.5, 0.25), 'MuZero search: temperature of the visit counts, in '
    'order, at the fractions of training in temperature_at. 0 is greedy.',
    low=0)
  temperature_at: tuple[float, ...] = _field(
    (0.0, 0.5, 0.75), 'Fractions of training at which temperature changes.',
    low=0, high=1)
  temperature_moves: int = _field(
    0, 'Moves of an episode after which actions are greedy; 0 for never. '
    'With Gumbel, until then actions are drawn from the improved policy.',
    low=0)

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

  # Targets and losses.
  discount: float = _field(0.997, 'gamma per step.', low=0, high=1)
  unroll_steps: int = _field(5, 'K.', low=1, high=100)
  value_target: str = _field('n_step', 'Value target.', choices=(
    'n_step', 'td_lambda', 'monte_carlo'))
  td_steps: int = _field(
    5, 'n of the n-step target, horizon of the others.', low=1, high=10_000)
  td_lambda: float = _field(0.95, 'lambda of td_lambda.', low=0, high=1)
  policy_weight: float = _field(1.0, 'Weight of the policy loss.', low=0)
  value_weight: float = _field(0.25, 'Weight of the value loss.', low=0)
  reward_weight: float = _field(1.0, 'Weight of the reward loss.', low=0)

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

  # Run.
  num_steps: int = _field(
    100_000, 'Environment steps in all.', low=1)
  num_devices: int = _field(
    0, 'Devices to shard over; 0 for all that fit.', low=0)
  seed: int = _field(0, 'Random seed.', low=0, high=2**31 - 1)
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
