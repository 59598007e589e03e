"""Builds the network of a Config, after a look at what it is to see and do."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from muzero_jax import networks
from muzero_jax.config import Config
from muzero_jax.errors import UserError
from muzero_jax.types import EnvSpec

# What `networks.RotationEquivariantNetwork` takes actions 0 to 3 for.
_DIRECTIONS = ('left', 'up', 'right', 'down')


class HeadSizes(NamedTuple):
  """Outputs of the heads."""

  values: int  # D, of the value and the reward head.
  policy: int  # A, or as many as a `Distribution` wants.


def make_network(
  config: Config, spec: EnvSpec, sizes: HeadSizes
) -> networks.Network:
  """Make the Flax module of h, g and f.

  Args:
    config: what it is to be like.
    spec: of the environment.
    sizes: of the heads.

  Raises:
    UserError: it does not fit the environment.
  """
  _check_augmentation(config, spec)
  _check_actions(config, spec)
  dtype = jnp.dtype(config.compute_dtype)
  common: dict[str, Any] = dict(
    num_actions=spec.num_actions,
    num_outputs=sizes.values,
    num_blocks=config.num_blocks,
    head_hidden=config.head_hidden,
    projection=config.projection_size if config.consistency_weight else 0,
    dtype=dtype,
  )
  if not spec.alternates and not config.chance_codes:
    raise UserError(
      f'chance_codes=0: players of {spec.name} do not alternate, and only a '
      'model with chance codes predicts who moves next; use 2 or more'
    )
  _check_images(config, spec)
  if config.network == 'rotation_equivariant':
    return _make_line_network(config, spec, common)
  if config.network == 'k_in_a_row':
    return _make_window_network(config, spec, common)
  common.update(
    prefix_steps=config.prefix_steps, prefix_units=config.prefix_units)
  if config.network == 'mlp':
    common.update(
      width=config.num_channels,
      stem_channels=config.stem_channels,
      attention_heads=config.attention_heads,
      policy_outputs=sizes.policy if config.num_sampled_actions else 0,
      action_low=spec.action_low,
      action_high=spec.action_high,
    )
    if not config.chance_codes:
      return networks.MLPNetwork(**common)
    return networks.StochasticMLPNetwork(
      num_codes=config.chance_codes,
      predicts_turn=not spec.alternates,
      **common,
    )
  common.update(
    channels=config.num_channels, head_channels=config.head_channels
  )
  if config.network == 'board_resnet':
    return networks.BoardResNet(**common)
  first, second, third = config.stage_blocks
  return networks.AtariResNet(
    stage_blocks=(first, second, third), **common
  )


def _make_line_network(
  config: Config, spec: EnvSpec, common: dict[str, Any]
) -> networks.RotationEquivariantNetwork:
  """Returns the network of a board that is moved in four directions.

  Raises:
    UserError: the environment has other actions, or codes cannot be shared
      out over its squares.
  """
  if spec.action_names != _DIRECTIONS:
    raise UserError(
      "network='rotation_equivariant': needs the actions "
      f"{', '.join(_DIRECTIONS)}, but "
      f"those of {spec.name} are {', '.join(spec.action_names) or 'unnamed'}")
  common.update(
    channels=config.num_channels, line_channels=config.line_channels)
  if not config.chance_codes:
    return networks.RotationEquivariantNetwork(**common)
  height, width = spec.observation_shape[:2]
  if config.chance_codes % (height * width):
    raise UserError(
      f'chance_codes={config.chance_codes}: network = '
      "'rotation_equivariant' has as many for "
      f'each square; of {spec.name} allowed are 0 and multiples of '
      f'{height * width}')
  return networks.StochasticRotationEquivariantNetwork(
    num_codes=config.chance_codes, num_squares=height * width, **common)


def _make_window_network(
  config: Config, spec: EnvSpec, common: dict[str, Any]
) -> networks.KInARowNetwork:
  """Returns the network of a board on which so many in a row count.

  Raises:
    UserError: the board has no line of so many squares.
  """
  height, width = spec.observation_shape[:2]
  if config.window_length > max(height, width):
    raise UserError(
      f'window_length={config.window_length}: the board of {spec.name} is '
      f'{height} by {width}; allowed are 2 to {max(height, width)}')
  return networks.KInARowNetwork(
    channels=config.num_channels, units=config.line_channels,
    length=config.window_length, head_channels=config.head_channels,
    **common)


def _check_images(config: Config, spec: EnvSpec) -> None:
  """Raises UserError where observations are not the images that are needed."""
  wanted = f'network={config.network!r}'
  if config.network == 'mlp':
    if not config.stem_channels:
      return
    wanted = f'stem_channels={config.stem_channels}'
  if len(spec.observation_shape) != 3:
    raise UserError(
      f'{wanted}: needs images, but observations of '
      f"{spec.name} have shape {spec.observation_shape}; use network='mlp' "
      'with stem_channels=0'
    )
  height, width = spec.observation_shape[:2]
  if config.network == 'rotation_equivariant' and height != width:
    raise UserError(
      f'{wanted}: needs square images, but those of {spec.name} are {height} '
      f'by {width}')
  if config.network == 'atari_resnet' and min(height, width) < 12:
    raise UserError(
      f"network='atari_resnet': needs frames of at least 12 pixels, but "
      f'{spec.name} has {spec.observation_shape}'
    )


def _check_augmentation(config: Config, spec: EnvSpec) -> None:
  """Raises UserError where observations cannot be augmented."""
  if (
    config.shift_pixels or config.intensity_scale
  ) and len(spec.observation_shape) != 3:
    raise UserError(
      f'shift_pixels={config.shift_pixels}, '
      f'intensity_scale={config.intensity_scale}: images are needed, but '
      f'observations of {spec.name} have shape {spec.observation_shape}'
    )
  if config.intensity_scale and spec.observation_dtype == np.bool_:
    raise UserError(
      f'intensity_scale={config.intensity_scale}: observations of {spec.name} '
      'are true or false, which cannot be brightened; use 0'
    )


def _check_actions(config: Config, spec: EnvSpec) -> None:
  """Raises UserError where networks cannot take continuous actions."""
  if spec.is_continuous and config.network != 'mlp':
    raise UserError(
      f"network = {config.network!r}: the actions of {spec.name} are "
      "continuous, which network = 'mlp' alone takes (with stem_channels for "
      'images)')
  if spec.is_continuous and config.stack_actions:
    raise UserError(
      f'stack_actions = True: the actions of {spec.name} are continuous, and '
      'only discrete ones can be stacked')
