"""EfficientZero's consistency loss: its value, masks and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from helpers import random_params, tiny_model

from muzero_jax.learning import consistency

B, K = 3, 2


def make():
  model = tiny_model(projection=6)
  params = model.init(jax.random.key(0), jnp.zeros((1, 4)))
  return model, random_params(params, jax.random.key(1))


def test_cosine_loss_is_0_alike_1_unrelated_2_opposed():
  target = jnp.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
  loss = consistency.cosine_loss(jnp.array([[5.0, 0.0]] * 3), target)
  np.testing.assert_allclose(loss, [0, 1, 2], atol=1e-6)
  # Finite, and with finite gradients, at zero.
  grad = jax.grad(lambda x: consistency.cosine_loss(x, target[0]))
  assert np.isfinite(grad(jnp.zeros(2))).all()


def test_it_equals_an_oracle_and_is_masked():
  model, params = make()
  rng = np.random.default_rng(0)
  state = jnp.asarray(rng.random((B, K, 8)), jnp.float32)
  seen = jnp.asarray(rng.normal(size=(B, K, 4)), jnp.float32)
  mask = jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
  found = consistency.consistency_loss(model, params, state, seen, mask)
  flat = lambda x: x.reshape(B * K, -1)  # noqa: E731
  real = model.project(params, model.root(params, flat(seen)).state)
  imagined = model.predict(params, flat(state))
  norm = functools.partial(np.linalg.norm, axis=-1)
  cosine = np.sum(real * imagined, axis=-1) / norm(real) / norm(imagined)
  np.testing.assert_allclose(
    found, mask * (1 - cosine).reshape(B, K), rtol=1e-4, atol=1e-5
  )
  # Projections are centred: not all states point the same way.
  np.testing.assert_allclose(real.mean(axis=0), 0, atol=1e-5)


def test_no_gradient_flows_through_what_was_observed():
  model, params = make()
  rng = np.random.default_rng(0)
  state = jnp.asarray(rng.random((B, K, 8)), jnp.float32)
  seen = jnp.asarray(rng.normal(size=(B, K, 4)), jnp.float32)
  grads = jax.grad(lambda p: consistency.consistency_loss(
    model, p, state, seen, jnp.ones((B, K))
  ).sum())(params)
  size = lambda part: sum(  # noqa: E731
    float(jnp.abs(x).sum()) for x in jax.tree.leaves(part)
  )
  assert size(grads['params']['encoder']) == 0
  assert size(grads['params']['projector']['predictor_output']) > 0
  # The projector learns from the imagined side.
  assert size(grads['params']['projector']['hidden']) > 0
