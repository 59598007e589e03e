"""Networks: shapes, ranges and parameter counts; large ones are only traced."""

import functools
import math

import chex
import flax.linen as nn
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from muzero_jax import config, networks, transforms
from muzero_jax.drivers import build
from muzero_jax.errors import UserError
from muzero_jax.networks import attention_pooling, conv, heads, model, resnet
from muzero_jax.types import EnvSpec

A, D = 3, 11


def mlp(**kwargs):
  return networks.MLPNetwork(
    num_actions=A, num_outputs=D, width=8, num_blocks=1, head_hidden=8,
    **kwargs,
  )


def stochastic_mlp(**kwargs):
  return networks.StochasticMLPNetwork(
    num_actions=A, num_outputs=D, width=8, num_blocks=1, head_hidden=8,
    num_codes=4, **kwargs,
  )


def board(num_actions=9, **kwargs):
  return networks.BoardResNet(
    num_actions=num_actions, num_outputs=D, channels=4, num_blocks=1,
    head_channels=2, head_hidden=8, **kwargs,
  )


def lines(**kwargs):
  return networks.RotationEquivariantNetwork(
    num_actions=4, num_outputs=D, channels=4, line_channels=8, head_hidden=8,
    **kwargs,
  )


def stochastic_lines(**kwargs):
  return networks.StochasticRotationEquivariantNetwork(
    num_actions=4, num_outputs=D, channels=4, line_channels=8, head_hidden=8,
    num_codes=18, num_squares=9, **kwargs,
  )


def window(**kwargs):
  return networks.KInARowNetwork(
    num_actions=4, num_outputs=D, channels=4, units=8, length=3,
    head_channels=2, head_hidden=8, **kwargs,
  )


def atari(**kwargs):
  return networks.AtariResNet(
    num_actions=A, num_outputs=D, channels=8, num_blocks=1, head_channels=2,
    head_hidden=8, **kwargs,
  )


# Network, observation of one sample, shape of one hidden state.
CASES = {
  'mlp': (mlp, (5,), np.float32, (8,)),
  'mlp_image': (mlp, (4, 3, 2), np.uint8, (8,)),
  'mlp_attention': (
    functools.partial(mlp, stem_channels=3, attention_heads=2), (4, 3, 2),
    np.bool_, (8,)),
  'lines': (lines, (3, 3, 2), np.bool_, (3, 3, 4)),
  'stochastic_lines': (stochastic_lines, (3, 3, 2), np.bool_, (3, 3, 4)),
  'board': (board, (3, 3, 2), np.bool_, (3, 3, 4)),
  'windows': (window, (3, 4, 2), np.bool_, (3, 4, 4)),
  'atari': (atari, (36, 36, 2), np.uint8, (5, 5, 8)),
}


BATCH = 3


def observations(name):
  _, shape, dtype, _ = CASES[name]
  rng = np.random.default_rng(0)
  if dtype == np.float32:
    return rng.normal(size=(BATCH, *shape)).astype(dtype)
  return rng.integers(0, 2, (BATCH, *shape)).astype(dtype)


@functools.cache
def compiled(name, dtype=jnp.float32):
  """Initial parameters, and root and step of them as one function."""
  functions = model.make_model(CASES[name][0](dtype=dtype))
  observation = observations(name)
  # Threefry takes longer to compile than the networks.
  key = jax.random.key(0, impl='rbg')
  params = jax.jit(functions.init)(key, observation)

  @jax.jit
  def root_and_step(params, observation):
    root = functions.root(params, observation)
    return root, functions.step(params, root.state, jnp.arange(BATCH))

  return params, root_and_step


def moved(params):
  """Parameters with which no head is zero."""
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params
  )


@pytest.mark.parametrize('name', CASES)
def test_outputs_at_initialisation(name):
  params, root_and_step = compiled(name)
  root, step = root_and_step(params, observations(name))
  num_actions = CASES[name][0]().num_actions
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(params))
  transform = transforms.categorical(D, 10.0)
  for output in (root, step):
    chex.assert_shape(output.state, (BATCH, *CASES[name][3]))
    chex.assert_shape(output.policy_logits, (BATCH, num_actions))
    chex.assert_shape([output.value_logits, output.reward_logits], (BATCH, D))
    # Each sample on its own spans the interval.
    axes = tuple(range(1, output.state.ndim))
    np.testing.assert_array_equal(output.state.min(axes), 0)
    np.testing.assert_allclose(output.state.max(axes), 1, atol=1e-6)
    np.testing.assert_allclose(
      jax.nn.softmax(output.policy_logits), 1 / num_actions, rtol=1e-6
    )
    for logits in (output.value_logits, output.reward_logits):
      np.testing.assert_allclose(transform.invert(logits), 0, atol=1e-5)
  assert not np.allclose(root.state, step.state)


@pytest.mark.parametrize('name', CASES)
def test_every_action_leads_elsewhere(name):
  params, root_and_step = compiled(name)
  same = np.repeat(observations(name)[:1], BATCH, axis=0)
  states = np.asarray(root_and_step(params, same)[1].state)
  states = states.reshape(BATCH, -1).round(6)
  assert len(np.unique(states, axis=0)) == BATCH


@pytest.mark.parametrize('name', ['mlp', 'board', 'atari'])
def test_bfloat16_computes_but_does_not_store(name):
  params, root_and_step = compiled(name, jnp.bfloat16)
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(params))
  params, observation = moved(params), observations(name)
  exact = compiled(name)[1](params, observation)
  for output, expected in zip(root_and_step(params, observation), exact):
    assert output.state.dtype == jnp.bfloat16
    assert output.state.min() >= 0 and output.state.max() <= 1
    for field in ('policy_logits', 'value_logits', 'reward_logits'):
      logits = getattr(output, field)
      assert logits.dtype == jnp.float32
      np.testing.assert_allclose(logits, getattr(expected, field), atol=0.1)


@pytest.mark.parametrize('name', CASES)
def test_constant_observations_give_finite_outputs(name):
  params, root_and_step = compiled(name)
  zero = np.zeros_like(observations(name))
  chex.assert_tree_all_finite(root_and_step(moved(params), zero))


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_normalise_state_of_one_sample_at_a_time(dtype):
  state = jnp.array([[2.0, 4.0, 3.0], [-1.0, -1.0, -1.0], [0.0, 1e-7, 0.0]])
  scaled = heads.normalise_state(state.astype(dtype))
  expected = [[0, 1, 0.5], [0, 0, 0], [0, 0.01, 0]]
  np.testing.assert_allclose(
    scaled.astype(jnp.float32), expected, atol=1e-4
  )
  jacobian = jax.jacrev(heads.normalise_state)(state.astype(dtype))
  assert jnp.isfinite(jacobian).all()


def test_uint8_is_centred_and_floats_are_left_alone():
  pixels = jnp.array([0, 51, 255], jnp.uint8)
  np.testing.assert_allclose(
    heads.to_input(pixels, jnp.float32), [-2, -1.2, 2], rtol=1e-6
  )
  np.testing.assert_array_equal(
    heads.to_input(jnp.array([0.0, 255.0]), jnp.float32), [0, 255]
  )


@pytest.mark.parametrize('size,hidden', [
  (36, 5), (48, 6), (64, 4), (84, 6), (96, 6), (128, 4), (210, 4),
])
def test_frames_become_at_most_six_wide(size, hidden):
  functions = model.make_model(atari())
  observation = jax.ShapeDtypeStruct((1, size, size, 2), jnp.uint8)
  key = jax.eval_shape(lambda: jax.random.key(0))
  params = jax.eval_shape(functions.init, key, observation)
  state = jax.eval_shape(functions.root, params, observation).state
  assert state.shape == (1, hidden, hidden, 8)


@pytest.mark.parametrize('stride,size,kernel', [
  (1, 5, 3), (2, 5, 3), (2, 6, 3), (1, 4, 1),
])
def test_the_gradients_of_a_convolution_are_those_of_xla(
  stride, size, kernel
):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, size, size + 1, 3)).astype(np.float32)
  w = rng.normal(size=(kernel, kernel, 3, 4)).astype(np.float32)

  def native(x, w):
    return jax.lax.conv_general_dilated(
      x, w, (stride, stride), 'SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )

  @jax.jit
  def both(x, w):
    ours, pull_ours = jax.vjp(lambda *a: conv.conv(*a, stride), x, w)
    theirs, pull_theirs = jax.vjp(native, x, w)
    gradient = jnp.cos(theirs)
    return (ours, pull_ours(gradient)), (theirs, pull_theirs(gradient))

  ours, theirs = both(x, w)
  chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-4)


def planes(actions, num_actions, height, width):
  return np.asarray(resnet.action_planes(
    jnp.array(actions), num_actions, height, width, jnp.float32
  ))


def test_an_action_per_square_is_a_one_at_that_square():
  result = planes(range(6), 6, 2, 3)
  assert result.shape == (6, 2, 3, 1)
  for action in range(6):
    expected = np.zeros((2, 3))
    expected[action // 3, action % 3] = 1
    np.testing.assert_array_equal(result[action, :, :, 0], expected)


def test_a_pass_beside_the_squares_has_its_own_plane():
  result = planes([0, 6], 7, 2, 3)
  assert result.shape == (2, 2, 3, 2)
  np.testing.assert_array_equal(result[0].sum((0, 1)), [1, 0])
  np.testing.assert_array_equal(result[1, :, :, 0], np.zeros((2, 3)))
  np.testing.assert_array_equal(result[1, :, :, 1], np.ones((2, 3)))


def test_an_action_per_column_fills_that_column():
  result = planes([2], 7, 6, 7)
  assert result.shape == (1, 6, 7, 1)
  expected = np.zeros((6, 7))
  expected[:, 2] = 1
  np.testing.assert_array_equal(result[0, :, :, 0], expected)


def test_other_actions_have_a_plane_each():
  result = planes([0, 4], 5, 10, 10)
  assert result.shape == (2, 10, 10, 5)
  for row, action in enumerate((0, 4)):
    expected = np.zeros((10, 10, 5))
    expected[..., action] = 1
    np.testing.assert_array_equal(result[row], expected)


def preset_shapes(name, num_actions):
  settings = config.from_preset(name)
  colours = 1 if settings.grayscale else 3
  spec = EnvSpec(
    'atari/test', (settings.frame_size, settings.frame_size, colours),
    np.uint8, num_actions,
  )
  functions = build.make_system(settings, spec).model
  observation = jax.eval_shape(
    lambda: build.example_observation(settings, spec)
  )
  key = jax.eval_shape(lambda: jax.random.key(0))
  params = jax.eval_shape(functions.init, key, observation)['params']
  root = jax.eval_shape(functions.root, {'params': params}, observation)
  return observation, params, root


def conv_kernels(tree):
  return [x.shape for x in jax.tree.leaves(tree) if x.ndim == 4]


def test_efficientzero_preset():
  observation, params, root = preset_shapes('atari_100k', 6)
  assert observation.shape == (1, 96, 96, 4 * 3)
  assert root.state.hidden.shape == (1, 6, 6, 64)
  assert root.state.memory[0].shape == (1, 512)
  assert params['projector']['hidden']['kernel'].shape == (6 * 6 * 64, 1024)
  assert root.value_logits.shape == (1, 601)
  kernels = conv_kernels(params['encoder'])
  # 12 -> 32 -> 64 planes; two convolutions in each of four residual blocks.
  assert (3, 3, 12, 32) in kernels and (3, 3, 32, 64) in kernels
  assert kernels.count((3, 3, 32, 32)) == 2
  assert kernels.count((3, 3, 64, 64)) == 6
  assert len(kernels) == 10
  # g: 64 planes and 6 of actions, then one block.
  assert conv_kernels(params['transition']) == [(3, 3, 64 + 6, 64)]
  assert 'transition_blocks_0' in params
  assert 'transition_blocks_1' not in params
  expected = 9 * (12 * 32 + 32 * 64 + 2 * 32**2 + 6 * 64**2)
  assert sum(np.prod(shape) for shape in kernels) == expected


def test_efficientzero_v2_preset_has_the_same_network():
  for found, wanted in zip(
    jax.tree.leaves(preset_shapes('atari_100k_v2', 6)),
    jax.tree.leaves(preset_shapes('atari_100k', 6)),
  ):
    assert found.shape == wanted.shape


def test_muzero_preset():
  observation, params, root = preset_shapes('atari_muzero', 18)
  # 32 RGB frames and 32 action planes.
  assert observation.shape == (1, 96, 96, 32 * 4)
  assert root.state.shape == (1, 6, 6, 256)
  kernels = conv_kernels(params['encoder'])
  assert (3, 3, 128, 128) in kernels and (3, 3, 128, 256) in kernels
  # 2 blocks of 128 planes; 3 + 3 + 16 of 256.
  assert kernels.count((3, 3, 128, 128)) == 1 + 2 * 2
  assert kernels.count((3, 3, 256, 256)) == 2 * (3 + 3 + 16)
  assert conv_kernels(params['transition']) == [(3, 3, 256 + 18, 256)]
  blocks = [name for name in params if name.startswith('transition_blocks')]
  assert len(blocks) == 16
  for block in blocks:
    assert conv_kernels(params[block]) == [(3, 3, 256, 256)] * 2


def test_board_preset():
  settings = config.from_preset('board_muzero')
  spec = EnvSpec('board/go_9x9', (9, 9, 17), np.bool_, 82, 2)
  functions = build.make_system(settings, spec).model
  observation = jax.ShapeDtypeStruct((1, 9, 9, 17), jnp.bool_)
  key = jax.eval_shape(lambda: jax.random.key(0))
  params = jax.eval_shape(functions.init, key, observation)
  root = jax.eval_shape(functions.root, params, observation)
  assert root.state.shape == (1, 9, 9, 256)
  assert root.policy_logits.shape == (1, 82)
  kernels = conv_kernels(params['params']['encoder'])
  assert kernels.count((3, 3, 256, 256)) == 2 * 16
  # One plane of squares and one of the pass.
  transition = conv_kernels(params['params']['transition'])
  assert transition == [(3, 3, 256 + 2, 256)]


def test_lines_are_moved_in_four_directions():
  functions = model.make_model(networks.RotationEquivariantNetwork(A, D))
  with pytest.raises(UserError, match='num_actions=3'):
    jax.eval_shape(functions.init, jax.random.key(0), observations('lines'))


def test_attention_sees_the_same_wherever_it_stands():
  pool = attention_pooling.AttentionPool(num_heads=3, features=4)
  rng = np.random.default_rng(0)
  thing = rng.normal(size=(2, 3, 3, 2)).astype(np.float32)
  at = lambda i, j: np.pad(  # Nowhere near an edge.
    thing, ((0, 0), (2 + i, 6 - i), (2 + j, 6 - j), (0, 0)))
  params = moved(jax.jit(pool.init)(jax.random.key(0), at(0, 0)))
  seen = jax.jit(pool.apply)(params, at(0, 0))
  chex.assert_shape(seen, (2, 12))
  for place in ((3, 1), (4, 4)):
    np.testing.assert_allclose(
      pool.apply(params, at(*place)), seen, rtol=1e-5, atol=1e-6)
  assert not np.allclose(pool.apply(params, at(0, 0)[:, ::-1]), seen, atol=1e-3)


def test_codes_move_nothing_before_the_afterstate_is_mixed():
  """The encoder's loss stays its own, and phi mixes rows and columns."""
  functions = model.make_model(stochastic_lines())
  board = jnp.asarray(observations('stochastic_lines'))
  params = moved(compiled('stochastic_lines')[0])
  up = jnp.full(BATCH, 1)

  def of_codes(params):
    codes = functions.encode(params, board, up, board[::-1])
    return jnp.sum(codes * jnp.arange(18))

  def of_afterstate(params):
    state = functions.root(params, board).state
    return functions.afterstate(params, state, up).state[:, 0, 0].sum()

  def touched(function):
    gradient = jax.jit(jax.grad(function))(params)['params']
    return {name for name, x in gradient.items() if optax.tree.norm(x) > 0}

  assert touched(of_codes) == {'code_hidden', 'code_output'}
  assert touched(of_afterstate) == {
    'square', 'encoder_blocks_0', 'move_blocks_0', 'afterstate_blocks_0'}


@pytest.mark.parametrize('network,message', [
  (networks.MLPNetwork(A, D, attention_heads=2),
   'attention_heads=2: .*stem_channels'),
  (networks.StochasticRotationEquivariantNetwork(4, D, num_codes=0),
   'num_codes=0'),
  (networks.StochasticRotationEquivariantNetwork(4, D, num_codes=32),
   'num_squares=16: .* 9'),
])
def test_a_module_that_cannot_be_is_refused(network, message):
  functions = model.make_model(network)
  with pytest.raises(UserError, match=message):
    jax.eval_shape(functions.init, jax.random.key(0), observations('lines'))


def test_squares_have_as_many_codes_each():
  functions = model.make_model(
    networks.StochasticRotationEquivariantNetwork(
      4, D, num_codes=4, num_squares=9))
  with pytest.raises(UserError, match='num_codes=4'):
    jax.eval_shape(functions.init, jax.random.key(0), observations('lines'))


@pytest.mark.parametrize('name', ['lines', 'stochastic_lines'])
def test_a_turned_board_is_moved_along_turned_lines(name):
  """What holds of left holds of down once the board is turned left."""
  params, _ = compiled(name)
  params = moved(params)
  functions = model.make_model(CASES[name][0]())
  board, next_board = jnp.asarray(observations(name)), observations(name)[::-1]
  up, left = jnp.full(BATCH, 1), jnp.full(BATCH, 0)
  turn = lambda x: jnp.rot90(x, axes=(1, 2))  # Up comes to the left.
  squares = lambda codes: codes.reshape(BATCH, 3, 3, -1)

  @jax.jit
  def root_and_move(board, action, next_board):
    """Returns the root, what belongs to squares, and what to the board."""
    root = functions.root(params, board)
    if name == 'lines':
      output = functions.step(params, root.state, action)
      return root, [output.state], [output.value_logits, output.reward_logits]
    after = functions.afterstate(params, root.state, action)
    encoding = functions.encode(params, board, action, next_board)
    output = functions.chance(params, after.state, encoding)
    of_squares = [after.state, output.state]
    of_squares += [squares(after.chance_logits), squares(encoding)]
    of_board = [after.value_logits, output.value_logits, output.reward_logits]
    return root, of_squares, of_board

  root, of_squares, of_board = root_and_move(board, up, next_board)
  turned, turned_squares, turned_board = root_and_move(
    turn(board), left, turn(next_board))
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  close(turn(root.state), turned.state)
  close(root.value_logits, turned.value_logits)
  # Left is what was up, up what was right, and so on.
  close(jnp.roll(root.policy_logits, -1, axis=1), turned.policy_logits)
  assert np.ptp(root.policy_logits, axis=1).max() > 1e-3
  chex.assert_trees_all_equal_structs(of_squares, turned_squares)
  for one, other in zip(of_squares, turned_squares):
    close(turn(one), other)
  for one, other in zip(of_board, turned_board):
    close(one, other)
  # And other lines are other moves.
  elsewhere = root_and_move(board, left, next_board)[1]
  for one, other in zip(of_squares, elsewhere):
    assert not np.allclose(one, other, atol=1e-3)


@pytest.mark.thorough
def test_lines_learn_what_a_move_pays():
  """Equal neighbours along the move, on boards that were never seen."""

  def draw(key):
    board_key, action_key = jax.random.split(key)
    tiles = jax.random.randint(board_key, (128, 3, 3), 0, 3)
    action = jax.random.randint(action_key, (128,), 0, 4)
    along = (tiles[:, :, 1:] == tiles[:, :, :-1]).sum((1, 2))
    down = (tiles[:, 1:] == tiles[:, :-1]).sum((1, 2))
    return jax.nn.one_hot(tiles, 3), action, jnp.where(action % 2, down, along)

  losses = helpers.reward_losses(
    networks.RotationEquivariantNetwork(
      4, 1, channels=4, line_channels=16, head_hidden=16),
    draw, jnp.zeros((1, 3, 3, 3)), num_updates=400)
  assert losses[:10].mean() > 0.8
  assert losses[-10:].mean() < 0.1


@pytest.mark.parametrize('planes', [4, 6, 9, 24])
def test_group_norm_is_that_of_flax(planes):
  x = 3 + 2 * jax.random.normal(jax.random.key(0), (2, 5, 4, planes))
  scale, bias = jax.random.normal(jax.random.key(1), (2, planes))
  params = {'params': {'scale': scale, 'bias': bias}}
  group = math.gcd(planes, 4)
  theirs = nn.GroupNorm(num_groups=None, group_size=group)
  np.testing.assert_allclose(
    heads.GroupNorm().apply(params, x), theirs.apply(params, x),
    rtol=1e-4, atol=1e-5,
  )


def test_group_norm_of_a_constant_is_finite():
  x = jnp.full((2, 3, 3, 4), 1e4)
  module = heads.GroupNorm()
  params = module.init(jax.random.key(0), x)
  gradient = jax.grad(lambda x: module.apply(params, x).sum())(x)
  assert jnp.isfinite(gradient).all()
