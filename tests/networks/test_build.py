"""The network of a configuration, and what is refused before it is built."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from muzero_jax import config
from muzero_jax.drivers import build as build_lib
from muzero_jax.errors import UserError
from muzero_jax.types import EnvSpec


def test_the_stem_and_its_heads_are_in_the_system():
  spec = EnvSpec('test', (4, 4, 2), np.bool_, 3)
  observation = jnp.zeros((1, 4, 4, 2), bool)

  def build(**fields):
    settings = config.from_fields(dict(
      network='mlp', num_channels=8, head_hidden=8, support_bins=11, **fields))
    functions = build_lib.make_system(settings, spec).model
    return functions, functions.init(jax.random.key(0), observation)

  functions, params = build(stem_channels=3, attention_heads=2)
  pool = params['params']['stem_pool']
  gradient = jax.grad(lambda params: functions.root(
    params, observation.at[0, 1, 1].set(True)).state[0, 0])(params)
  assert optax.tree.norm(gradient['params']['stem_pool']) > 0
  # Twice the planes of the stem, with a weight for each of two heads.
  assert pool['Dense_0']['kernel'].shape == (6, 2)
  assert 'stem_pool' not in build(stem_channels=3)[1]['params']


@pytest.mark.parametrize('mean_of, expected', [
  ('transformed', 3.0), ('scalar', 4.0)])
def test_heads_stand_for_the_mean_that_is_asked_for(mean_of, expected):
  """0 or 8, one as likely as the other."""
  spec = EnvSpec('test', (5,), np.float32, 3)
  settings = config.from_fields(dict(
    support_bins=5, support_max=2.0, support_mean=mean_of))
  system = build_lib.make_system(settings, spec)
  for transform in (system.value_transform, system.reward_transform):
    logits = jnp.array([-99.0, -99.0, 0.0, -99.0, 0.0])
    np.testing.assert_allclose(
      transform.invert(logits), expected, rtol=0.01)


@pytest.mark.parametrize('fields,shape,message', [
  (dict(network='board_resnet'), (5,), "network='board_resnet': .*images"),
  (dict(network='atari_resnet'), (5,), "network='atari_resnet': .*images"),
  (dict(network='atari_resnet'), (10, 10, 3), 'at least 12 pixels'),
  (dict(network='mlp', stem_channels=4), (5,), 'stem_channels=4: .*images'),
  (dict(network='k_in_a_row'), (5,), "network='k_in_a_row': .*images"),
  (dict(network='k_in_a_row', window_length=5), (3, 4, 2),
   'window_length=5: .* 3 by 4; allowed are 2 to 4'),
  (dict(network='rotation_equivariant'), (5,),
   "network='rotation_equivariant': .*images"),
  (dict(network='rotation_equivariant'), (4, 3, 2),
   "network='rotation_equivariant': .*square images.* 4 by 3"),
  (dict(network='rotation_equivariant'), (3, 3, 2),
   'needs the actions left, up, right, down, but those of test are unnamed'),
])
def test_a_network_that_does_not_fit_is_refused(fields, shape, message):
  settings = config.Config(family='atari', env_id='pong', **fields)
  spec = EnvSpec('test', shape, np.float32, 3)
  with pytest.raises(UserError, match=message):
    build_lib.make_system(settings, spec)


def test_codes_that_squares_cannot_share_are_refused():
  settings = config.Config(
    family='stochastic', env_id='2048', network='rotation_equivariant',
    chance_codes=32)
  spec = EnvSpec(
    'test', (3, 3, 2), np.float32, 4,
    action_names=('left', 'up', 'right', 'down'))
  with pytest.raises(UserError, match='chance_codes=32: .* multiples of 9'):
    build_lib.make_system(settings, spec)
