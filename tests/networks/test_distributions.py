"""Distributions over actions: densities, entropies and draws by NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from muzero_jax.errors import UserError
from muzero_jax.networks import distributions
from muzero_jax.types import EnvSpec

LOW, HIGH = (-2.0, 0.0), (2.0, 3.0)
MID, HALF = np.array([0.0, 1.5]), np.array([2.0, 1.5])
GAUSSIAN = distributions.tanh_gaussian(LOW, HIGH)


def draw(distribution, logits, count, tau=1.0):
  noise = distribution.draw_noise(jax.random.key(0), count)
  return np.asarray(distribution.transform(logits, noise, tau))


def gaussian_oracle(logits, action, tau=1.0):
  """log N(u) - log |da/du|, u the action before squashing."""
  mean, scale = np.split(np.asarray(logits, np.float64), 2)
  mean = 3 * np.tanh(mean / 3)
  scale = 0.05 + 1.5 / (1 + np.exp(-scale))
  u = np.arctanh((np.asarray(action, np.float64) - MID) / HALF)
  slope = HALF * (1 - np.tanh(u) ** 2)
  density = stats.norm.logpdf(u, mean, scale * tau**0.5) - np.log(slope)
  return density.sum(axis=-1)


@pytest.mark.parametrize('tau', [1.0, 2.5])
def test_gaussian_density(tau):
  logits = jnp.array([0.7, -4.0, 0.3, -1.0])
  action = draw(GAUSSIAN, logits, 50, tau)
  np.testing.assert_allclose(
    GAUSSIAN.log_prob(logits, action, tau),
    gaussian_oracle(logits, action, tau), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize('tau', [1.0, 2.0])
def test_gaussian_density_integrates_to_1(tau):
  one = distributions.tanh_gaussian((-2.0,), (2.0,))
  u = np.linspace(-4.9, 4.9, 4001)
  action = 2 * np.tanh(u)
  density = np.exp(one.log_prob(
    jnp.array([0.4, -1.0]), jnp.asarray(action, jnp.float32)[:, None], tau))
  assert np.trapezoid(density, action) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize('mean', [-9.0, 0.0, 1.0])
@pytest.mark.parametrize('scale', [-9.0, 0.0, 9.0])
def test_gaussian_entropy_is_that_of_its_density(mean, scale):
  one = distributions.tanh_gaussian((-2.0,), (2.0,))
  logits = jnp.array([mean, scale])
  centre, spread = map(np.asarray, distributions.moments(logits))
  u = centre + spread * np.linspace(-6, 6, 4001)
  log_p = stats.norm.logpdf(u, centre, spread) - np.log(
    2 / np.cosh(u) ** 2)
  mass = stats.norm.pdf(u, centre, spread)
  expected = -np.trapezoid(mass * log_p, u)
  assert one.entropy(logits) == pytest.approx(expected, abs=0.02)


def test_gaussian_draws_have_its_moments_and_stay_inside():
  logits = jnp.array([0.7, -4.0, 0.3, -1.0])
  action = draw(GAUSSIAN, logits, 20_000)
  assert (np.abs((action - MID) / HALF) < 1).all()
  u = np.arctanh((action - MID) / HALF)
  mean, scale = map(np.asarray, distributions.moments(logits))
  np.testing.assert_allclose(u.mean(axis=0), mean, atol=0.03)
  np.testing.assert_allclose(u.std(axis=0), scale, rtol=0.03)
  wide = np.arctanh((draw(GAUSSIAN, logits, 20_000, 4.0) - MID) / HALF)
  np.testing.assert_allclose(
    wide.std(axis=0)[0], min(2 * scale[0], 9), rtol=0.1)
  np.testing.assert_allclose(
    GAUSSIAN.mode(logits), MID + HALF * np.tanh(mean), rtol=1e-5)


def test_gaussian_stays_finite_at_the_bounds():
  logits = jnp.array([50.0, -50.0, -50.0, 50.0])
  grad = jax.grad(lambda x, a: GAUSSIAN.log_prob(x, a))
  for action in (LOW, HIGH, MID, draw(GAUSSIAN, logits, 1)[0]):
    action = jnp.array(action)
    assert np.isfinite(GAUSSIAN.log_prob(logits, action))
    assert np.isfinite(grad(logits, action)).all()
  assert np.isfinite(GAUSSIAN.entropy(logits))
  assert np.isfinite(jax.grad(GAUSSIAN.entropy)(logits)).all()


@pytest.mark.parametrize('tau', [1.0, 0.5, 3.0])
def test_categorical(tau):
  one = distributions.categorical(4)
  lowest = jnp.finfo(jnp.float32).min
  logits = jnp.array([0.5, lowest, -1.0, 2.0])
  prob = np.exp(np.array([0.5, -np.inf, -1.0, 2.0]) / tau)
  prob /= prob.sum()
  drawn = draw(one, logits, 20_000, tau)
  share = np.bincount(drawn, minlength=4) / 20_000
  np.testing.assert_allclose(share, prob, atol=0.015)
  assert share[1] == 0
  legal = jnp.array([0, 2, 3])
  np.testing.assert_allclose(
    np.exp(one.log_prob(logits, legal, tau)), prob[legal], rtol=1e-5)
  assert one.mode(logits) == 3
  if tau == 1:
    entropy = -(prob[legal] * np.log(prob[legal])).sum()
    np.testing.assert_allclose(one.entropy(logits), entropy, rtol=1e-5)


@pytest.mark.parametrize('name', ['gaussian', 'categorical'])
def test_leading_axes_are_independent(name):
  one = dict(gaussian=GAUSSIAN, categorical=distributions.categorical(6))[name]
  logits = jax.random.normal(jax.random.key(2), (3, one.num_outputs))
  noise = one.draw_noise(jax.random.key(3), 4)
  action = one.transform(logits[:, None], noise)
  assert action.shape[:2] == (3, 4)
  log_prob = one.log_prob(logits[:, None], action)
  for i, k in np.ndindex(3, 4):
    np.testing.assert_allclose(
      action[i, k], one.transform(logits[i], noise[k]), rtol=1e-6)
    np.testing.assert_allclose(
      log_prob[i, k], one.log_prob(logits[i], action[i, k]), rtol=1e-5,
      atol=1e-5)
  np.testing.assert_allclose(
    one.entropy(logits)[1], one.entropy(logits[1]), rtol=1e-5)
  assert one.mode(logits).shape == action[:, 0].shape


def test_a_head_fits_the_actions():
  spec = functools.partial(
    EnvSpec, name='test/x', observation_shape=(1,),
    observation_dtype=np.float32)
  discrete = spec(num_actions=3)
  floats = spec(num_actions=2, action_low=LOW, action_high=HIGH)
  assert distributions.make('categorical', discrete).num_outputs == 3
  assert distributions.make('tanh_gaussian', floats).num_outputs == 4
  with pytest.raises(UserError, match='policy_head = .tanh_gaussian'):
    distributions.make('tanh_gaussian', discrete)
  with pytest.raises(UserError, match='policy_head = .categorical'):
    distributions.make('categorical', floats)
