"""The convolution against XLA's own, forward and backward."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax.networks import conv


def _native(x, kernel, stride):
  return jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), 'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


CASES = [
  (size, taps, stride, 3)
  for size in ((6, 6), (7, 5), (1, 3))
  for taps in ((3, 3), (2, 3), (1, 1))
  for stride in (1, 2)
]


@pytest.mark.parametrize(
  # Nine planes get a tenth.
  'size, taps, stride, inputs', [*CASES, ((6, 6), (3, 3), 1, 9)])
def test_value_and_gradients_are_those_of_xla(size, taps, stride, inputs):
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (2, *size, inputs))
  kernel = jax.random.normal(keys[1], (*taps, inputs, 4))
  expected, pull_back = jax.vjp(lambda a, b: _native(a, b, stride), x, kernel)
  actual, ours = jax.vjp(lambda a, b: conv.conv(a, b, stride), x, kernel)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
  gradient = jax.random.normal(keys[2], expected.shape)
  for one, other in zip(ours(gradient), pull_back(gradient)):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kernel', [(3, 3), (1, 1)])
def test_module_equals_flax(kernel):
  x = jax.random.normal(jax.random.key(0), (2, 5, 5, 3))
  module = conv.Conv(4, kernel, stride=1)
  params = module.init(jax.random.key(1), x)
  inner = params['params']['Conv_0']
  expected = nn.Conv(4, kernel).apply({'params': inner}, x)
  np.testing.assert_allclose(
    module.apply(params, x), expected, rtol=1e-5, atol=1e-5
  )


def test_bfloat16_keeps_float32_parameters():
  x = jnp.ones((1, 4, 4, 3))
  module = conv.Conv(4, dtype=jnp.bfloat16)
  params = module.init(jax.random.key(1), x)
  assert module.apply(params, x).dtype == jnp.bfloat16
  assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype('float32')}
  gradient = jax.grad(
    lambda p: module.apply(p, x).astype(jnp.float32).sum()
  )(params)
  assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradient))
