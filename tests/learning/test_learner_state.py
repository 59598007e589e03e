"""One step: what it skips, refreshes and averages."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_learner import (
  SGD,
  TD,
  TRANSFORM,
  K,
  N,
  initial_params,
  make,
  shared,
  spoilt,
)

from muzero_jax.config import settings
from muzero_jax.learning import learner, learner_state, total_loss
from muzero_jax.types import Model, ModelOutput


def test_a_loss_that_is_not_finite_skips_the_update():
  learn, step, data = shared()
  state, _ = step(learn.init(initial_params()), *data)
  skipped, metrics = step(state, *spoilt(data))
  assert not np.isfinite(metrics.loss)
  helpers.assert_trees_equal(skipped.params, state.params)
  helpers.assert_trees_equal(skipped.target_params, state.target_params)
  helpers.assert_trees_equal(skipped.opt_state, state.opt_state)
  counters = (
    int(skipped.num_updates), skipped.num_skipped, skipped.skips_in_a_row)
  assert counters == (2, 1, 1)


@pytest.mark.parametrize('field', ['value', 'reward'])
@pytest.mark.parametrize('broken', [np.nan, np.inf])
def test_a_target_that_is_not_finite_skips_the_update(field, broken):
  """Bins would clip an infinity, and hide a NaN."""
  learn, step, (sequence, target, weights) = shared()
  target = target._replace(
    **{field: getattr(target, field).at[2, 1].set(broken)}
  )
  state = learn.init(initial_params())
  skipped, _ = step(state, sequence, target, weights)
  assert skipped.num_skipped == 1
  helpers.assert_trees_equal(skipped.params, state.params)


def test_a_gradient_that_is_not_finite_skips_the_update():
  """The loss is finite: sqrt at 0 has no slope."""

  def output(params, state):
    logits = params['w'] * state[:, None] + jnp.sqrt(params['root'])
    return ModelOutput(state, logits, logits, logits)

  model = Model(
    lambda *_: None,
    lambda params, observation: output(params, observation[:, 0]),
    lambda params, state, action: output(params, state),
  )
  learn = learner.make_learner(
    total_loss.make_total_loss(
      model, TRANSFORM, TRANSFORM, settings.LossWeights()),
    SGD,
    settings.Learning(batch_size=N, unroll_steps=K, td_steps=TD),
  )
  sequence, target, weights = shared()[2]
  target = target._replace(
    policy=jnp.zeros((N, K + 1, 11)).at[..., 0].set(1.0)
  )
  params = {'w': jnp.full(11, 0.1), 'root': jnp.zeros(11)}
  step = jax.jit(learn.step)
  state, metrics = step(learn.init(params), sequence, target, weights)
  assert np.isfinite(metrics.loss) and not np.isfinite(metrics.grad_norm)
  assert state.num_skipped == 1
  helpers.assert_trees_equal(state.params, params)


def test_skips_in_a_row_are_forgotten_by_a_good_update():
  learn, step, data = shared()
  state = learn.init(initial_params())
  for _ in range(2):
    state, _ = step(state, *spoilt(data))
  assert (state.num_skipped, state.skips_in_a_row) == (2, 2)
  good, _ = step(state, *data)
  assert (good.num_skipped, good.skips_in_a_row) == (2, 0)
  assert not np.array_equal(
    jax.tree.leaves(good.params)[0], jax.tree.leaves(state.params)[0]
  )


def test_three_skips_in_a_row_stop_the_learner_for_good():
  learn, step, data = shared()
  state = learn.init(initial_params())
  for _ in range(learner_state.MAX_SKIPS):
    state, _ = step(state, *spoilt(data))
  assert state.skips_in_a_row == learner_state.MAX_SKIPS == 3
  after, _ = step(state, *data)
  assert after.skips_in_a_row == 3
  helpers.assert_trees_equal(after.params, state.params)
  again, _ = step(after, *spoilt(data))
  assert again.skips_in_a_row == 3


def test_the_target_network_refreshes_every_third_update():
  learn, step, data = shared()
  state = learn.init(initial_params())
  helpers.assert_trees_equal(state.params, state.target_params)
  held = state.target_params
  for update in range(1, 8):
    state, _ = step(state, *data)
    if update % 3 == 0:
      held = state.params
    helpers.assert_trees_equal(state.target_params, held)
    is_fresh = jax.tree.leaves(jax.tree.map(
      np.array_equal, state.params, state.target_params
    ))
    assert all(is_fresh) if update % 3 == 0 else not any(is_fresh)


def test_init_shares_no_buffers():
  """Or the two could not be donated together."""
  state = shared()[0].init(initial_params())
  pointers = [
    x.unsafe_buffer_pointer()
    for x in jax.tree.leaves((state.params, state.target_params))
  ]
  assert len(set(pointers)) == len(pointers)


def test_average_spans_a_share_of_the_updates_and_then_forgets():
  """The n-th update counts 5 / (n + 4), until the decay is reached."""
  decay = 0.4
  learn = make(ema_decay=decay)
  _, _, data = shared()
  step = jax.jit(learn.step)
  state = learn.init(initial_params())
  wanted = None
  for update in range(1, 7):
    state, _ = step(state, *data)
    if update == 1:
      wanted = state.params  # The random first parameters do not count.
    share = max(5 / (update + 4), 1 - decay)
    wanted = jax.tree.map(
      lambda old, new, share=share: old + share * (new - old),
      wanted, state.params,
    )
    for one, other in zip(
      jax.tree.leaves(state.average_params), jax.tree.leaves(wanted)
    ):
      np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
  final = learner_state.final_params(state)
  helpers.assert_trees_equal(final, state.average_params)
  skipped, _ = step(state, *spoilt(data))
  helpers.assert_trees_equal(skipped.average_params, state.average_params)


def test_without_a_decay_no_average_is_kept():
  learn = shared()[0]
  state = learn.init(initial_params())
  assert state.average_params is None
  assert learner_state.final_params(state) is state.params
