"""Values of the newest network where returns bootstrap."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_learner
from tiny_learner import TD, TRANSFORM, A, K, L, N

from muzero_jax import targets
from muzero_jax.config import settings
from muzero_jax.errors import UserError
from muzero_jax.learning import fresh_targets
from muzero_jax.replay import reanalyse, ring
from muzero_jax.types import Sequence


@pytest.mark.parametrize('value_target, td_limit', [
  ('n_step', None), ('n_step', 1), ('td_lambda', None), ('monte_carlo', None)])
@pytest.mark.parametrize('last', [None, 1, L - 2])
def test_targets_read_these_values_and_no_others(value_target, td_limit, last):
  shared = dict(
    unroll_steps=K, td_steps=TD, value_target=value_target, td_limit=td_limit)
  is_last = np.arange(L) == (-1 if last is None else last)
  sequence = jax.tree.map(lambda x: x[0], tiny_learner.make_batch())._replace(
    is_last=is_last, discount=np.ones(L, np.float32))
  read = np.unique(fresh_targets.bootstrap_rows(is_last, **shared))

  @jax.jit
  @jax.vmap
  def make(value):
    return targets.make_targets(
      jax.random.key(0), sequence._replace(value=value), discount=0.9, **shared
    ).value

  others = np.full(L, np.nan, np.float32)
  others[read] = sequence.value[read]
  changed = sequence.value + np.eye(L, dtype=np.float32)[read]
  wanted, same, *different = make(np.stack([sequence.value, others, *changed]))
  np.testing.assert_array_equal(same, wanted)
  assert all((each != wanted).any() for each in different)


@pytest.mark.parametrize('fields', [
  {}, dict(value_target='td_lambda'), dict(td_correction=9)])
def test_returns_end_in_what_the_target_network_says(fields):
  value_fn = reanalyse.make_value_fn(helpers.tiny_model(A), TRANSFORM)
  learn = tiny_learner.make(fresh_values=True, value_fn=value_fn, **fields)
  state = learn.init(tiny_learner.initial_params())
  buffer = tiny_learner.make_buffer()
  # The target network's, not those that are trained.
  state = state._replace(params=jax.tree.map(lambda x: x + 1.0, state.params))
  rng_key = jax.random.key(3)
  found = jax.jit(learn.update)(state, buffer, rng_key)[2]
  sample_key, _, _, target_key, _ = jax.random.split(rng_key, 5)
  batch = ring.sample(
    buffer, sample_key, batch_size=N, window=L, observed_rows=L)
  seen = batch.sequence.observation
  value = value_fn(state.target_params, seen.reshape(-1, 4)).reshape(N, L)
  learning = settings.Learning(batch_size=N, td_steps=TD, **fields)
  limits = fresh_targets.td_limits(learning, ring.ages(buffer, batch))
  make = functools.partial(
    targets.make_targets, unroll_steps=K, td_steps=TD, discount=0.9,
    value_target=learning.value_target)
  target = jax.vmap(make)(
    jax.random.split(target_key, N), batch.sequence._replace(value=value),
    td_limit=limits)
  stored = jax.vmap(make)(
    jax.random.split(target_key, N), batch.sequence, td_limit=limits)
  mean = lambda x: (
    (x.value[:, 0] * x.value_mask[:, 0]).sum() / x.value_mask[:, 0].sum())
  np.testing.assert_allclose(found.value_target, mean(target), rtol=1e-4)
  assert abs(mean(stored) - mean(target)) > 0.01


def test_a_stream_and_a_lack_of_values_are_refused():
  with pytest.raises(UserError, match='fresh_values = True: with reana'):
    settings.Learning(
      fresh_values=True, reanalyse_fraction=0.5, reanalyse_form='stream')
  with pytest.raises(UserError, match='fresh_values = True: needs'):
    tiny_learner.make(fresh_values=True)


def test_refresh_changes_policy_and_value_of_that_many_sequences():
  batch = jax.tree.map(jnp.asarray, tiny_learner.make_batch())

  def refresh(params, rng_key, part):
    assert part.reward.shape == (5, L)
    return part._replace(policy=part.policy + 1, value=part.value + params)

  fresh = fresh_targets._refresh_part(refresh, 5, 2.0, jax.random.key(0), batch)
  changed = np.asarray(fresh.value != batch.value)
  assert (changed.all(axis=1) == changed.any(axis=1)).all()
  rows = changed.any(axis=1)
  assert rows.sum() == 5
  np.testing.assert_allclose(fresh.value[rows], batch.value[rows] + 2)
  np.testing.assert_allclose(fresh.policy[rows], batch.policy[rows] + 1)
  np.testing.assert_array_equal(fresh.policy[~rows], batch.policy[~rows])
  for name in Sequence._fields:
    if name not in ('policy', 'value'):
      np.testing.assert_array_equal(getattr(fresh, name), getattr(batch, name))
  other = fresh_targets._refresh_part(refresh, 5, 2.0, jax.random.key(1), batch)
  assert (np.asarray(other.value != batch.value) != changed).any()
