"""Reanalyse: fresh targets are those of a search at each row."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.replay import reanalyse
from muzero_jax.types import SearchOutput, Sequence

N, K, TD, A = 3, 2, 2, 3
L = K + 1 + TD
TRANSFORM = helpers.TRANSFORM


def make_batch(seed=0):
  rng = np.random.default_rng(seed)
  f32 = lambda *s: rng.normal(size=s).astype(np.float32)  # noqa: E731
  legal_actions = rng.random((N, L, A)) < 0.6
  legal_actions[..., 1] = True
  return Sequence(
    observation=f32(N, L, 4),
    reward=f32(N, L),
    discount=np.ones((N, L), np.float32),
    is_last=rng.random((N, L)) < 0.2,
    legal_actions=legal_actions,
    to_play=rng.integers(0, 2, (N, L)).astype(np.int32),
    action=rng.integers(0, A, (N, L)).astype(np.int32),
    policy=f32(N, L, A),
    value=f32(N, L),
  )


@functools.cache
def parts():
  model = helpers.tiny_model(A)
  run = helpers.make_search(
    model, TRANSFORM, TRANSFORM, num_simulations=4, noise=False
  )

  def value_fn(params, observation):
    return TRANSFORM.invert(model.root(params, observation).value_logits)

  params = helpers.random_params(
    model.init(jax.random.key(0), jnp.zeros((1, 4))), jax.random.key(1)
  )

  def both(params, rng_key, batch):
    fresh = reanalyse.reanalyse(
      params, rng_key, batch, search=run, value_fn=value_fn, unroll_steps=K
    )
    rows = K + 1
    direct = run(
      params, rng_key, batch.observation[:, :rows].reshape(N * rows, 4),
      batch.legal_actions[:, :rows].reshape(N * rows, A),
    )
    values = value_fn(params, batch.observation.reshape(N * L, 4))
    return fresh, direct, values.reshape(N, L)

  return params, jax.jit(both)


def test_fresh_policies_are_those_of_a_search():
  params, both = parts()
  batch = make_batch()
  fresh, direct, _ = both(params, jax.random.key(0), batch)
  np.testing.assert_allclose(
    fresh.policy[:, : K + 1], direct.policy.reshape(N, K + 1, A), rtol=1e-6
  )
  # On legal actions only, of the row itself.
  illegal = ~batch.legal_actions[:, : K + 1]
  assert not np.asarray(fresh.policy[:, : K + 1])[illegal].any()


def test_fresh_values_are_the_networks_own_on_every_row():
  params, both = parts()
  fresh, direct, values = both(params, jax.random.key(0), make_batch())
  np.testing.assert_allclose(fresh.value, values, rtol=1e-5, atol=1e-6)
  assert not np.allclose(
    direct.value.reshape(N, K + 1), values[:, : K + 1], atol=1e-3
  )


def test_values_that_the_search_found_are_kept_if_wanted():
  params, both = parts()
  batch = jax.tree.map(jnp.asarray, make_batch())
  fresh, direct, _ = both(params, jax.random.key(0), batch)
  assert fresh.searched_value is None

  def search(params, rng_key, observation, legal_actions):
    del params, rng_key, observation
    return SearchOutput(
      jnp.zeros(len(legal_actions), jnp.int32), direct.policy, direct.value,
      direct.network_value)

  kept = reanalyse.reanalyse(
    params, jax.random.key(0), batch, search=search,
    value_fn=lambda params, x: jnp.zeros(len(x)), unroll_steps=K,
    keep_searched=True)
  np.testing.assert_array_equal(
    kept.searched_value, direct.value.reshape(N, K + 1))
  np.testing.assert_allclose(
    kept.value[:, : K + 1], fresh.value[:, : K + 1], rtol=1e-5, atol=1e-6)


def test_everything_else_is_as_it_was():
  params, both = parts()
  batch = make_batch()
  fresh, _, _ = both(params, jax.random.key(0), batch)
  for name in Sequence._fields:
    if name not in ('policy', 'value'):
      np.testing.assert_array_equal(getattr(fresh, name), getattr(batch, name))
  # The return reads no policy beyond row K.
  np.testing.assert_array_equal(
    fresh.policy[:, K + 1 :], batch.policy[:, K + 1 :]
  )


def test_stored_targets_do_not_matter_and_parameters_do():
  params, both = parts()
  batch = make_batch()
  fresh, _, _ = both(params, jax.random.key(0), batch)
  other = batch._replace(policy=batch.policy + 1, value=batch.value + 1)
  again, _, _ = both(params, jax.random.key(0), other)
  np.testing.assert_array_equal(fresh.value, again.value)
  np.testing.assert_array_equal(
    fresh.policy[:, : K + 1], again.policy[:, : K + 1]
  )
  moved = helpers.random_params(params, jax.random.key(5))
  changed, _, _ = both(moved, jax.random.key(0), batch)
  assert not np.allclose(fresh.value, changed.value, atol=1e-3)


def test_one_legal_action_takes_all_of_the_policy():
  params, both = parts()
  batch = make_batch()
  batch.legal_actions[:] = [False, True, False]
  fresh, _, _ = both(params, jax.random.key(0), batch)
  np.testing.assert_array_equal(
    fresh.policy[:, : K + 1], np.broadcast_to([0, 1, 0], (N, K + 1, A))
  )
