"""What the parts of a `Config` must be to each other; nothing imports jax.

What the fields of one record must be to each other stands with the record.
"""

import typing

from muzero_jax.errors import UserError

if typing.TYPE_CHECKING:
  from muzero_jax.config.config import Config

# Families whose environments only the host can step.
_ON_HOST = ('gymnasium', 'pettingzoo')
_CONTINUOUS = ('continuous', 'physics')


def check(config: 'Config') -> None:
  """Check what the parts must be to each other.

  Args:
    config: each of its records is right by itself.

  Raises:
    UserError: names the fields, their values and what is allowed.
  """
  if config.dataset:
    _check_offline(config)
  else:
    _check_sizes(config)
  _check_devices(config)
  _check_driver(config)
  _check_actions(config)
  _check_sampled(config)


def _check_sizes(config: 'Config') -> None:
  """Check that replay, rollouts and windows fit together."""
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
  if max(config.noise_steps) > config.rollout_length:
    raise UserError(
      f'noise_steps = {config.noise_steps!r} has more than rollout_length = '
      f'{config.rollout_length}, after which noise is drawn anew')
  if config.num_seeds > 1 and config.num_envs % len(config.noise_steps):
    raise UserError(
      f'noise_steps = {config.noise_steps!r} with num_seeds = '
      f'{config.num_seeds}: its {len(config.noise_steps)} numbers need equal '
      f'shares of num_envs = {config.num_envs}')
  if config.min_replay > config.replay_rows:
    raise UserError(
      f'min_replay = {config.min_replay} is more than the '
      f'{config.replay_rows} rows that the replay holds (replay_capacity = '
      f'{config.replay_capacity}, in whole rollouts)')


def _check_offline(config: 'Config') -> None:
  """Check that a run without environments can learn."""
  if not config.updates_per_iteration:
    raise UserError(
      f'updates_per_iteration = 0 leaves dataset = {config.dataset!r} unused: '
      'offline it must be at least 1')
  if config.mixed_value_age:
    raise UserError(
      f'mixed_value_age = {config.mixed_value_age} is for rows that age; those '
      f'of dataset = {config.dataset!r} do not: use 0')
  if config.search == 'gumbel' and not config.gumbel_min_range:
    raise UserError(
      'gumbel_min_range = 0 is measured while playing, which a run on dataset '
      f'= {config.dataset!r} does not do: give the difference of q-values, in '
      'units of reward, below which all are alike')
  if config.num_sampled_actions:
    raise UserError(
      f'num_sampled_actions = {config.num_sampled_actions} needs dataset to be '
      f'empty, not {config.dataset!r}: datasets hold no sampled actions')


def _check_devices(config: 'Config') -> None:
  """Check that a stated number of devices can share the work."""
  shared = ('batch_size',) if config.dataset else ('num_envs', 'batch_size')
  for name in shared:
    if config.num_devices and getattr(config, name) % config.num_devices:
      raise UserError(
        f'{name} = {getattr(config, name)} is not a multiple of num_devices '
        f'= {config.num_devices}')


def _check_driver(config: 'Config') -> None:
  """Check that the driver can step the environments."""
  if config.driver == 'anakin' and config.family in _ON_HOST:
    raise UserError(
      "driver = 'anakin' cannot compile the environments of family = "
      f'{config.family!r}; take auto or sebulba')
  if config.driver == 'sebulba' and config.family not in ('atari', *_ON_HOST):
    raise UserError(
      "driver = 'sebulba' needs environments of the host, family = 'atari', "
      f'{" or ".join(map(repr, _ON_HOST))}, not {config.family!r}; take auto '
      'or anakin')


def _check_actions(config: 'Config') -> None:
  """Check that continuous actions can be searched and seen."""
  if config.family not in _CONTINUOUS:
    return
  for name, refused, instead in (
    ('network', config.network not in ('auto', 'mlp'), 'mlp'),
    ('stack_actions', config.stack_actions, False),
  ):
    if refused:
      raise UserError(
        f'{name} = {getattr(config, name)!r} is not for the continuous '
        f'actions of family = {config.family!r}; take {instead}')


def _check_sampled(config: 'Config') -> None:
  """Check what Sampled MuZero needs and excludes in other parts."""
  number = config.num_sampled_actions
  if config.entropy_weight and not number:
    raise UserError(
      f'entropy_weight = {config.entropy_weight!r} does nothing without '
      'num_sampled_actions; allowed is 0')
  if number and config.chance_codes:
    raise UserError(
      f'num_sampled_actions = {number} needs chance_codes = 0, not '
      f'{config.chance_codes}')
