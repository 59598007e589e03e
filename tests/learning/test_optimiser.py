"""Optimiser: its decay, its schedules, its clipping and its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax.config import settings
from muzero_jax.errors import UserError
from muzero_jax.learning import optimiser


@pytest.mark.parametrize('name', ['adamw', 'sgd'])
def test_weight_decay_is_of_kernels_only(name):
  params = {'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)}
  rule = optimiser.make(settings.Optimiser(
    optimiser=name, learning_rate=0.5, learning_rate_schedule='constant',
    weight_decay=0.1))
  changes, _ = rule.update(
    jax.tree.map(jnp.zeros_like, params), rule.init(params), params
  )
  np.testing.assert_allclose(changes['kernel'], -0.5 * 0.1, rtol=1e-6)
  np.testing.assert_array_equal(changes['bias'], [0, 0])


def rates(count, num_updates=1, **fields):
  """The learning rate of each update: the step along a gradient of 1."""
  rule = optimiser.make(settings.Optimiser(
    optimiser='sgd', momentum=0.0, weight_decay=0.0, **fields,
  ), num_updates=num_updates)
  params = jnp.zeros(1)

  def body(state, _):
    changes, state = rule.update(jnp.ones(1), state, params)
    return state, -changes[0]

  return np.asarray(
    jax.lax.scan(body, rule.init(params), None, count)[1]
  )


def test_constant_schedule():
  found = rates(4, learning_rate=0.3, learning_rate_schedule='constant')
  np.testing.assert_allclose(found, 0.3)


def test_cosine_schedule_ends_at_its_share_and_stays():
  result = rates(
    14, learning_rate=0.2, learning_rate_schedule='cosine',
    learning_rate_end=0.1, num_updates=10,
  )
  t = np.minimum(np.arange(14) / 10, 1)
  expected = 0.2 * (0.9 * 0.5 * (1 + np.cos(np.pi * t)) + 0.1)
  np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_exponential_schedule_after_a_warm_up():
  result = rates(
    9, learning_rate=0.2, learning_rate_schedule='exponential',
    learning_rate_end=0.1, num_updates=8, warmup_updates=4,
  )
  expected = [0, 0.05, 0.1, 0.15, *(0.2 * 0.1 ** (np.arange(5) / 4))]
  np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-8)


def test_gradients_are_clipped_to_a_global_norm():
  rule = optimiser.make(settings.Optimiser(
    optimiser='sgd', learning_rate=1.0, learning_rate_schedule='constant',
    momentum=0.0, weight_decay=0.0, max_grad_norm=1.0))
  params = {'a': jnp.zeros(1), 'b': jnp.zeros(1)}
  grads = {'a': jnp.array([3.0]), 'b': jnp.array([4.0])}
  changes, _ = rule.update(grads, rule.init(params), params)
  np.testing.assert_allclose(changes['a'], -0.6, rtol=1e-6)
  np.testing.assert_allclose(changes['b'], -0.8, rtol=1e-6)


def test_no_clipping_at_0():
  rule = optimiser.make(settings.Optimiser(
    optimiser='sgd', learning_rate=1.0, learning_rate_schedule='constant',
    momentum=0.0, weight_decay=0.0, max_grad_norm=0.0))
  params = jnp.zeros(1)
  changes, _ = rule.update(jnp.array([99.0]), rule.init(params), params)
  np.testing.assert_allclose(changes, [-99.0])


@pytest.mark.parametrize('name', ['optimiser', 'learning_rate_schedule'])
def test_unknown_names_are_refused(name):
  with pytest.raises(UserError, match=f"{name} = 'lion'"):
    settings.Optimiser(**{name: 'lion'})
