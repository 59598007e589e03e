"""What a configuration leaves to the environment."""

import numpy as np
import pytest

from muzero_jax import config as config_lib
from muzero_jax.drivers import build, by_environment
from muzero_jax.types import EnvSpec


def _spec(shape, **changes):
  return EnvSpec(**{**dict(
    name='own/x', observation_shape=shape, observation_dtype=np.float32,
    num_actions=3), **changes})


@pytest.mark.parametrize('spec, fields, chosen', [
  (_spec((4,)), {}, dict(network='mlp', stem_channels=0)),
  (_spec((1,)), {}, dict(network='mlp')),
  (_spec((10, 10, 4)), {}, dict(network='mlp', stem_channels=16)),
  (_spec((64, 64, 3)), {}, dict(
    network='atari_resnet', num_channels=32, stage_blocks=(0, 0, 0))),
  (_spec((64, 11, 3)), {}, dict(network='mlp', stem_channels=16)),
  (_spec((6, 7, 2), num_players=2), {}, dict(
    network='board_resnet', num_channels=32)),
  (_spec((4, 4, 16)), dict(chance_codes=4), dict(
    network='mlp', stem_channels=16)),
  (_spec((64, 64, 3)), dict(stem_channels=8), dict(
    network='mlp', stem_channels=8)),
  (_spec((64, 64, 3)), dict(network='mlp'), dict(
    network='mlp', stem_channels=0, num_channels=128)),
  (_spec((3,), action_low=(-1.0,) * 3, action_high=(1.0,) * 3), {}, dict(
    network='mlp', policy_head='tanh_gaussian', num_sampled_actions=16,
    entropy_weight=5e-3)),
  (_spec((3,), action_low=(-1.0,) * 3, action_high=(1.0,) * 3),
   dict(num_sampled_actions=4, entropy_weight=0.1), dict(
    policy_head='tanh_gaussian', num_sampled_actions=4, entropy_weight=0.1)),
])
def test_the_kind_of_environment_decides(spec, fields, chosen):
  before = config_lib.Config(**fields)
  after = by_environment.resolve(before, spec)
  assert {name: getattr(after, name) for name in chosen} == chosen
  assert by_environment.resolve(after, spec) == after
  lines = by_environment.describe(before, after, spec)
  assert len(lines) == (before != after)
  assert all(f'{name} = ' in lines[0]
             for name in config_lib.diff(before, after))


@pytest.mark.parametrize('name, stays', [
  ('board/hex', False), ('board/tic_tac_toe', True),
  ('minatar/seaquest', False), ('minatar/asterix', True)])
def test_games_of_unknown_symmetries_are_not_turned(name, stays):
  config = config_lib.Config(
    family=name.split('/')[0], augment_symmetry=True)
  spec = _spec((3, 3, 2), name=name, num_players=2)
  found = by_environment.resolve(config, spec)
  assert found.augment_symmetry is stays


def test_systems_are_built_of_what_was_chosen():
  """Also by whoever has not resolved it."""
  config = config_lib.Config(num_channels=8, head_hidden=8)
  spec = _spec((2,), action_low=(-1.0,) * 3, action_high=(1.0,) * 3)
  assert build.make_system(config, spec).distribution is not None
