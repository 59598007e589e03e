"""Transforms: literal values, float64 oracles, shapes and dtypes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import transforms

SCALARS = np.array(
  [0.0, 1e-3, -0.5, 1.0, -1.0, 3.7, -100.0, 1e4, -5e4], np.float32)


def h(x, epsilon=1e-3):
  x = np.asarray(x, np.float64)
  return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + epsilon * x


def published_inverse(y, epsilon=1e-3):
  y = np.asarray(y, np.float64)
  root = np.sqrt(1 + 4 * epsilon * (np.abs(y) + 1 + epsilon))
  return np.sign(y) * (((root - 1) / (2 * epsilon)) ** 2 - 1)


def two_hot(x, num_bins, max_value, epsilon):
  """One scalar at a time: weights on the two bins around h(x)."""
  bins = np.linspace(-max_value, max_value, num_bins)
  y = float(np.clip(h(x, epsilon), -max_value, max_value))
  result = np.zeros(num_bins)
  upper = int(np.searchsorted(bins, y))
  if bins[upper] == y:
    result[upper] = 1.0
  else:
    share = (y - bins[upper - 1]) / (bins[upper] - bins[upper - 1])
    result[upper], result[upper - 1] = share, 1 - share
  return result


def test_signed_hyperbolic_literal_values():
  np.testing.assert_allclose(
    transforms.signed_hyperbolic(jnp.array([0.0, 3.0, -3.0, 8.0, -99.0])),
    [0.0, 1.003, -1.003, 2.008, -9.099], rtol=1e-6)
  np.testing.assert_allclose(
    transforms.signed_hyperbolic(3.0, epsilon=0.5), 2.5, rtol=1e-6)


@pytest.mark.parametrize('epsilon', [1e-4, 1e-3, 0.01, 0.5])
def test_signed_parabolic_is_the_published_inverse(epsilon):
  x = np.concatenate([np.geomspace(0.01, 9e4, 200), [0.0]])
  x = np.concatenate([x, -x])
  y = h(x, epsilon).astype(np.float32)
  result = transforms.signed_parabolic(y, epsilon=epsilon)
  np.testing.assert_allclose(
    result, published_inverse(y, epsilon), rtol=1e-6, atol=1e-9)


def test_signed_parabolic_is_precise_for_small_values():
  x = np.array([1e-6, -1e-4, 1e-2, 1.0, -100.0, 9e4])
  y = h(x)
  np.testing.assert_allclose(
    transforms.signed_parabolic(y.astype(np.float32)), x, rtol=2e-6)
  np.testing.assert_allclose(
    transforms.signed_parabolic(3.0, epsilon=0.0), 15.0, rtol=1e-6)


def test_categorical_literal_target():
  transform = transforms.categorical(num_bins=5, max_value=2.0, epsilon=0.0)
  assert transform.num_outputs == 5
  # h(1.25) = 0.5, h(3) = 1, h(-5.25) = -1.5; h(24) = 4 is clipped to 2.
  target = transform.apply(jnp.array([1.25, 3.0, 0.0, -5.25, 24.0, -24.0]))
  expected = [
    [0, 0, 0.5, 0.5, 0],
    [0, 0, 0, 1, 0],
    [0, 0, 1, 0, 0],
    [0.5, 0.5, 0, 0, 0],
    [0, 0, 0, 0, 1],
    [1, 0, 0, 0, 0],
  ]
  np.testing.assert_allclose(target, expected, atol=2e-5)


@pytest.mark.parametrize(
  'num_bins, max_value, epsilon',
  [(601, 300.0, 1e-3), (51, 10.0, 1e-3), (21, 0.01, 0.1)])
def test_categorical_target_agrees_with_oracle(num_bins, max_value, epsilon):
  transform = transforms.categorical(num_bins, max_value, epsilon)
  expected = [two_hot(x, num_bins, max_value, epsilon) for x in SCALARS]
  np.testing.assert_allclose(
    transform.apply(SCALARS), np.stack(expected), atol=1e-4)


@pytest.mark.parametrize(
  'transform, rtol',
  [(transforms.categorical(), 1e-4),
   (transforms.categorical(1001, 400.0, 1e-3), 1e-4),
   (transforms.categorical(mean_of='scalar'), 2e-6),
   (transforms.scalar(), 2e-6),
   (transforms.scalar(transformed=False), 0.0)])
def test_round_trip(transform, rtol):
  target = transform.apply(SCALARS)
  assert target.shape == (len(SCALARS), transform.num_outputs)
  assert target.dtype == jnp.float32
  logits = target
  if transform.num_outputs > 1:
    logits = jnp.log(target + 1e-30)
  np.testing.assert_allclose(
    transform.invert(logits), SCALARS, rtol=rtol, atol=1e-4)


def test_invert_takes_logits_not_probabilities():
  transform = transforms.categorical(num_bins=3, max_value=1.0, epsilon=0.0)
  # softmax = [1/6, 2/6, 3/6], mean 1/3, (1/3 + 1)^2 - 1 = 7/9.
  logits = jnp.log(jnp.array([1.0, 2.0, 3.0])) + 5.0
  np.testing.assert_allclose(transform.invert(logits), 7 / 9, rtol=1e-5)
  np.testing.assert_allclose(transform.invert(logits[::-1]), -7 / 9, rtol=1e-5)


def test_loss_literal_values():
  categorical = transforms.categorical(num_bins=3, max_value=1.0, epsilon=0.0)
  logits = jnp.log(jnp.array([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0]]))
  target = jnp.array([[0.0, 0.25, 0.75], [0.0, 1.0, 0.0]])
  np.testing.assert_allclose(
    categorical.loss(logits, target),
    [-0.25 * np.log(2 / 8) - 0.75 * np.log(5 / 8), np.log(3)], rtol=1e-6)
  scalar = transforms.scalar()
  target = scalar.apply(jnp.array([3.0, 0.0]))
  np.testing.assert_allclose(target, [[1.003], [0.0]], rtol=1e-6)
  np.testing.assert_allclose(
    scalar.loss(jnp.array([[3.003], [-3.0]]), target), [4.0, 9.0], rtol=1e-5)
  raw = transforms.scalar(transformed=False)
  np.testing.assert_allclose(
    raw.loss(jnp.array([2.0]), raw.apply(5.0)), 9.0)


def test_bfloat16_logits():
  transform = transforms.categorical()
  logits = jnp.log(transform.apply(SCALARS) + 1e-6).astype(jnp.bfloat16)
  result = transform.invert(logits)
  assert result.dtype == jnp.float32
  exact = np.asarray(logits, np.float64)
  probs = np.exp(exact) / np.exp(exact).sum(-1, keepdims=True)
  mean = probs @ np.arange(-300.0, 301.0)
  np.testing.assert_allclose(
    result, published_inverse(mean), rtol=1e-4, atol=1e-3)
  loss = transform.loss(logits, transform.apply(SCALARS))
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(
    loss, -(np.asarray(transform.apply(SCALARS)) * np.log(probs)).sum(-1),
    rtol=1e-4, atol=1e-6)
  scalar = transforms.scalar(transformed=False)
  assert scalar.invert(jnp.ones(1, jnp.bfloat16)).dtype == jnp.float32
  assert scalar.loss(
    jnp.ones(1, jnp.bfloat16), scalar.apply(1.001)) == pytest.approx(
      1e-6, rel=1e-3)


@pytest.mark.parametrize(
  'transform', [
    transforms.categorical(21, 5.0),
    transforms.categorical(21, 5.0, mean_of='scalar'),
    transforms.scalar(),
  ])
@pytest.mark.parametrize('shape', [(), (1,), (2, 3)])
def test_shapes_under_jit_and_vmap(transform, shape):
  size = int(np.prod(shape))
  x = jnp.linspace(-4.0, 9.0, size).reshape(shape)

  def forward(x):
    target = transform.apply(x)
    logits = 0.5 * target  # [..., D]
    return (target, transform.invert(logits), transform.loss(logits, target),
            transform.is_clipped(x))

  result = jax.jit(forward)(x)
  chex.assert_shape(result[0], (*shape, transform.num_outputs))
  chex.assert_shape(result[1:], shape)
  if shape:
    mapped = jax.jit(jax.vmap(forward))(x)
    chex.assert_trees_all_close(mapped, result, rtol=1e-5, atol=1e-6)


def test_the_mean_of_the_scalar_literal_values():
  # Bins at h = -2 .. 2, that is at -8, -3, 0, 3 and 8.
  transform = transforms.categorical(5, 2.0, 0.0, mean_of='scalar')
  target = transform.apply(jnp.array([1.5, 3.0, -4.0, 9.0, -99.0]))
  expected = [
    [0, 0, 0.5, 0.5, 0],
    [0, 0, 0, 1, 0],
    [0.2, 0.8, 0, 0, 0],
    [0, 0, 0, 0, 1],
    [1, 0, 0, 0, 0],
  ]
  np.testing.assert_allclose(target, expected, atol=1e-6)
  logits = jnp.log(jnp.array([1.0, 2.0, 3.0, 4.0, 5.0]))
  np.testing.assert_allclose(
    transform.invert(logits), (-8 - 6 + 12 + 40) / 15, rtol=1e-6)


def test_the_mean_of_chance_is_too_low_for_the_mean_of_h_alone():
  """The best prediction of 0 or 10,000 alike stands for 5,000, or half that."""
  for mean_of, expected in [('scalar', 5_000.0), ('transformed', 2_779.0)]:
    transform = transforms.categorical(301, 150.0, mean_of=mean_of)
    chance = transform.apply(jnp.array([0.0, 10_000.0])).mean(0)
    found = transform.invert(jnp.log(chance + 1e-30))
    np.testing.assert_allclose(found, expected, rtol=1e-3)
  np.testing.assert_allclose(
    published_inverse(h(10_000.0) / 2), 2_779.0, rtol=1e-3)


def test_even_distributions_are_zero():
  for mean_of in ('transformed', 'scalar'):
    transform = transforms.categorical(mean_of=mean_of)
    np.testing.assert_allclose(transform.invert(jnp.zeros(601)), 0.0, atol=1e-4)


def test_is_clipped_reports_what_the_support_does_not_cover():
  transform = transforms.categorical(num_bins=5, max_value=2.0, epsilon=0.0)
  # h(8) = 2 is the last bin.
  x = jnp.array([8.0, 8.1, -8.0, -8.1, 0.0, 1e6])
  np.testing.assert_array_equal(
    transform.is_clipped(x), [False, True, False, True, False, True])
  np.testing.assert_array_equal(
    transforms.categorical().is_clipped(jnp.array([58_000.0, -59_000.0])),
    [False, True])
  # The bound is in units of h, not of x.
  assert not transforms.categorical().is_clipped(301.0)
  np.testing.assert_array_equal(
    transforms.scalar().is_clipped(x), np.zeros(6, bool))


@pytest.mark.parametrize('make, arguments, message', [
  (transforms.categorical, dict(num_bins=600), 'num_bins=600: .*odd'),
  (transforms.categorical, dict(num_bins=1), 'num_bins=1: .*>= 3'),
  (transforms.categorical, dict(max_value=0.0), r'max_value=0\.0: .*> 0'),
  (transforms.categorical, dict(max_value=float('nan')), 'max_value=nan'),
  (transforms.categorical, dict(epsilon=-1e-3), r'epsilon=-0\.001: .*\[0, 1'),
  (transforms.categorical, dict(mean_of='h'), "mean_of='h': .*'transformed'"),
  (transforms.scalar, dict(epsilon=2.0), r'epsilon=2\.0: .*\[0, 1'),
])
def test_wrong_arguments_are_refused(make, arguments, message):
  with pytest.raises(ValueError, match=message):
    make(**arguments)
