"""What the fields of a `Config` must be to each other; nothing imports jax."""

import typing

from muzero_jax.errors import UserError

if typing.TYPE_CHECKING:
  from muzero_jax.config import Config


def check(config: 'Config') -> None:
  """Checks what fields must be to each other.

  Args:
    config: each of its fields is right by itself.

  Raises:
    UserError: names the fields, their values and what is allowed.
  """
  _check_temperature(config)
  if config.dataset:
    _check_offline(config)
  else:
    _check_sizes(config)
  _check_devices(config)
  _check_driver(config)
  _check_network(config)
  _check_search(config)
  _check_sampled(config)
  _check_targets(config)
  _check_augmentation(config)
  _check_symmetry(config)


def _check_temperature(config: 'Config') -> None:
  at = config.temperature_at
  if len(at) != len(config.temperature):
    raise UserError(
      f'temperature_at = {at!r} has {len(at)} entries, but temperature = '
      f'{config.temperature!r} has {len(config.temperature)}: give one each')
  if at[0] != 0 or any(a >= b for a, b in zip(at, at[1:])):
    raise UserError(
      f'temperature_at = {at!r} must start with 0 and rise')


def _check_sizes(config: 'Config') -> None:
  """Raises UserError where sizes do not fit together."""
  window = config.window_rows
  needed = max(window, config.rollout_length)
  if config.capacity_rows_per_env < needed:
    rows = -(-needed // config.rollout_length) * config.rollout_length
    raise UserError(
      f'replay_capacity = {config.replay_capacity} leaves '
      f'{config.capacity_rows_per_env} rows (whole rollouts of '
      f'{config.rollout_length}) to each of num_envs = {config.num_envs} '
      f'environments, but a training window takes {window} (unroll_steps + '
      f'td_steps + stacked_frames + 1): at least {rows * config.num_envs} '
      'is needed')
  if config.noise_steps > config.rollout_length:
    raise UserError(
      f'noise_steps = {config.noise_steps} is more than rollout_length = '
      f'{config.rollout_length}, after which noise is drawn anew')
  if config.min_replay > config.replay_rows:
    raise UserError(
      f'min_replay = {config.min_replay} is more than the '
      f'{config.replay_rows} rows that the replay holds (replay_capacity = '
      f'{config.replay_capacity}, in whole rollouts)')


def _check_offline(config: 'Config') -> None:
  """Raises UserError where a run without environments could not learn."""
  if not config.updates_per_iteration:
    raise UserError(
      f'updates_per_iteration = 0 leaves dataset = {config.dataset!r} unused: '
      'offline it must be at least 1')


def _check_devices(config: 'Config') -> None:
  """Raises UserError where a stated number of devices cannot share."""
  shared = ('batch_size',) if config.dataset else ('num_envs', 'batch_size')
  for name in shared:
    if config.num_devices and getattr(config, name) % config.num_devices:
      raise UserError(
        f'{name} = {getattr(config, name)} is not a multiple of num_devices '
        f'= {config.num_devices}')


def _check_driver(config: 'Config') -> None:
  """Raises UserError where the driver does not fit the environments."""
  if config.driver == 'anakin' and config.family == 'gymnasium':
    raise UserError(
      "driver = 'anakin' cannot compile the environments of family = "
      "'gymnasium'; take auto or sebulba")
  if config.driver == 'sebulba' and config.family not in ('atari', 'gymnasium'):
    raise UserError(
      "driver = 'sebulba' needs environments of the host, family = 'atari' or "
      f"'gymnasium', not {config.family!r}; take auto or anakin")
  if config.num_envs % config.actor_threads:
    raise UserError(
      f'num_envs = {config.num_envs} is not a multiple of actor_threads = '
      f'{config.actor_threads}')


def _check_network(config: 'Config') -> None:
  """Raises UserError where heads or network cannot fit."""
  if config.head == 'scalar' and config.support_mean != 'transformed':
    raise UserError(
      f"support_mean = {config.support_mean!r} needs head = 'categorical': a "
      'scalar head has no distribution to take a mean of')
  if config.support_bins % 2 == 0:
    raise UserError(
      f'support_bins = {config.support_bins} is even; it must be odd, so '
      'that one bin is 0')
  if config.stem_channels and config.network != 'mlp':
    raise UserError(
      f"stem_channels = {config.stem_channels} needs network = 'mlp', not "
      f'{config.network!r}')
  if config.stem_heads and not config.stem_channels:
    raise UserError(
      f'stem_heads = {config.stem_heads} needs stem_channels of at least 1, '
      'not 0')
  if config.chance_codes and config.network not in ('mlp', 'lines'):
    raise UserError(
      f"chance_codes = {config.chance_codes} needs network = 'mlp' or "
      f"'lines', not {config.network!r}")
  if config.prefix_steps and config.network in ('lines', 'windows'):
    raise UserError(
      f'prefix_steps = {config.prefix_steps} needs another network than '
      f'{config.network!r}, which has single rewards alone')
  if config.chance_codes and config.prefix_steps:
    raise UserError(
      f'prefix_steps = {config.prefix_steps} needs chance_codes = 0, not '
      f'{config.chance_codes}: chance makes each reward')
  if config.chance_codes == 1:
    raise UserError(
      'chance_codes = 1 tells nothing apart: allowed are 0, for a '
      'deterministic model, and 2 or more')
  if len(config.stage_blocks) != 3:
    raise UserError(
      f'stage_blocks = {config.stage_blocks!r} must have 3 entries')
  has_images = config.family in ('atari', 'gymnasium')
  if config.network == 'atari_resnet' and not has_images:
    raise UserError(
      "network = 'atari_resnet' needs images of family = 'atari' or "
      f"'gymnasium', not {config.family!r}; take mlp or board_resnet")


def _check_targets(config: 'Config') -> None:
  """Raises UserError where a correction has nothing to correct."""
  if config.td_correction and config.value_target == 'monte_carlo':
    raise UserError(
      f'td_correction = {config.td_correction} shortens td_steps, which '
      "value_target = 'monte_carlo' does not stop at; allowed is 0")
  all_searched = (
    config.reanalyse_fraction == 1 and config.reanalyse_form == 'batch')
  if config.mixed_value_age and not all_searched:
    raise UserError(
      f'mixed_value_age = {config.mixed_value_age} needs a fresh search of '
      "all rows: reanalyse_fraction = 1 with reanalyse_form = 'batch', not "
      f'{config.reanalyse_fraction} with {config.reanalyse_form!r}')
  if config.mixed_value_age and config.value_target == 'monte_carlo':
    raise UserError(
      f'mixed_value_age = {config.mixed_value_age} replaces returns that '
      "bootstrap from old values, and value_target = 'monte_carlo' bootstraps "
      'from none: allowed is 0')
  if config.mixed_value_age and config.dataset:
    raise UserError(
      f'mixed_value_age = {config.mixed_value_age} is for rows that age; those '
      f'of dataset = {config.dataset!r} do not: use 0')


def _check_augmentation(config: 'Config') -> None:
  """Raises UserError where images hold what must not be changed."""
  if config.intensity_scale and config.stack_actions:
    raise UserError(
      f'intensity_scale = {config.intensity_scale} would change the action '
      'planes of stack_actions = True: allowed is one of the two')


def _check_search(config: 'Config') -> None:
  """Raises UserError where a setting of the search would do nothing."""
  if config.gumbel_keep_prior and config.gumbel_prior_weight == 1:
    raise UserError(
      'gumbel_keep_prior = True keeps the prior always where '
      'gumbel_prior_weight = 1.0: give a weight below 1')


def _check_sampled(config: 'Config') -> None:
  """Raises UserError where sampled actions cannot be, or are needed."""
  number = config.num_sampled_actions
  if number == 1:
    raise UserError(
      'num_sampled_actions = 1 leaves no choice: allowed are 0, for all '
      'actions, and 2 or more')
  if config.family in ('continuous', 'physics') and not number:
    raise UserError(
      f'num_sampled_actions = 0 is for discrete actions; those of family = '
      f'{config.family!r} are continuous: give 2 or more')
  if config.family in ('continuous', 'physics'):
    for name, refused, instead in (
      ('policy_head', config.policy_head == 'categorical',
       'tanh_gaussian or factored_categorical'),
      ('network', config.network != 'mlp', 'mlp'),
      ('stack_actions', config.stack_actions, False),
    ):
      if refused:
        raise UserError(
          f'{name} = {getattr(config, name)!r} is not for the continuous '
          f'actions of family = {config.family!r}; take {instead}')
  for name, off in (
    ('policy_head', 'categorical'), ('entropy_weight', 0),
    ('proposal_temperature', 1), ('proposal_share', 1),
  ):
    if getattr(config, name) != off and not number:
      raise UserError(
        f'{name} = {getattr(config, name)!r} does nothing without '
        f'num_sampled_actions; allowed is {off!r}')
  if config.proposal_share != 1 and config.proposal_temperature == 1:
    raise UserError(
      f'proposal_share = {config.proposal_share!r} does nothing at '
      'proposal_temperature = 1.0; allowed is 1.0')
  if number and config.chance_codes:
    raise UserError(
      f'num_sampled_actions = {number} needs chance_codes = 0, not '
      f'{config.chance_codes}')
  if number and config.dataset:
    raise UserError(
      f'num_sampled_actions = {number} needs dataset to be empty, not '
      f'{config.dataset!r}: datasets hold no sampled actions')


def _check_symmetry(config: 'Config') -> None:
  """Raises UserError where boards cannot be turned; `symmetry` knows which
  games can."""
  if config.augment_symmetry and config.stack_actions:
    raise UserError(
      'augment_symmetry = True cannot turn the action planes of stack_actions '
      '= True: allowed is one of the two'
    )
