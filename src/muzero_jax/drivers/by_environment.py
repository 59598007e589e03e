"""Settings that a configuration leaves to the environment.

`network = 'auto'` takes the kind of network from the environment's spec, with
sizes for a run on a few cores; whoever names a network chooses its sizes too.
Continuous actions decide the policy head, and need candidates and a weight of
the entropy. What has no symmetries that are known is not turned.
"""

import dataclasses
from typing import Any

from muzero_jax.config import Config
from muzero_jax.learning import symmetry
from muzero_jax.types import EnvSpec

AUTO = 'auto'
# Families of which some games look the same turned or mirrored.
_TURNED = ('board', 'minatar', 'pettingzoo')
# Images up to this side are seen through one convolution, and become a vector.
_SMALL_IMAGE = 16
_PLANES = 32  # Of a hidden state that is an image.
_CANDIDATES = 16
_ENTROPY_WEIGHT = 5e-3


def resolve(config: Config, spec: EnvSpec) -> Config:
  """Return a configuration in which nothing is left to the environment.

  Args:
    config: of a run.
    spec: of its environment.
  """
  changes: dict[str, Any] = {}
  if config.network == AUTO:
    changes |= _network(config, spec)
  if config.family in _TURNED and config.augment_symmetry:
    changes['augment_symmetry'] = spec.name in symmetry.names()
  if spec.is_continuous:
    changes['policy_head'] = 'tanh_gaussian'
    changes['num_sampled_actions'] = config.num_sampled_actions or _CANDIDATES
    # A density narrows without end on its best candidates otherwise.
    changes['entropy_weight'] = config.entropy_weight or _ENTROPY_WEIGHT
  changes = {
    name: value for name, value in changes.items()
    if getattr(config, name) != value}
  return dataclasses.replace(config, **changes) if changes else config


def describe(before: Config, after: Config, spec: EnvSpec) -> list[str]:
  """Return a line on what `resolve` chose, if it was anything."""
  chosen = [
    f'{item.name} = {getattr(after, item.name)}'
    for item in dataclasses.fields(after)
    if getattr(before, item.name) != getattr(after, item.name)]
  if not chosen:
    return []
  actions = 'continuous' if spec.is_continuous else spec.num_actions
  return [
    f'chosen for observations {list(spec.observation_shape)} and {actions} '
    f'actions: {", ".join(chosen)}']


def _network(config: Config, spec: EnvSpec) -> dict[str, Any]:
  """Return network and sizes by the kind of observation."""
  is_image = len(spec.observation_shape) == 3
  if not is_image or config.stem_channels:
    return dict(network='mlp')
  sides = spec.observation_shape[:2]
  # What only an MLP can do; its stem sees images of any size.
  needs_mlp = bool(config.chance_codes) or spec.is_continuous
  if spec.num_players == 2 and not needs_mlp:
    return dict(
      network='board_resnet', num_channels=min(config.num_channels, _PLANES))
  if max(sides) <= _SMALL_IMAGE or min(sides) < 12 or needs_mlp:
    return dict(network='mlp', stem_channels=16)
  return dict(
    network='atari_resnet', stage_blocks=(0, 0, 0), head_channels=8,
    num_channels=min(config.num_channels, _PLANES))
