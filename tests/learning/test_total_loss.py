"""The loss of a batch: terms that are added to it, and their metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TRANSFORM, tiny_model
from tiny_learner import (
  SGD,
  TD,
  A,
  K,
  N,
  initial_params,
  make_batch,
  make_targets,
)

from muzero_jax import errors
from muzero_jax.config import settings
from muzero_jax.learning import learner, total_loss
from muzero_jax.learning.total_loss import Term

WEIGHTS = jnp.linspace(0.1, 1.0, N)


def make(*terms):
  return total_loss.make_total_loss(
    tiny_model(A), TRANSFORM, TRANSFORM, settings.LossWeights(),
    extra_terms=terms)


def evaluate(total):
  batch = make_batch()
  target = make_targets(jax.random.key(0), batch)
  return jax.jit(total.loss)(initial_params(), batch, target, WEIGHTS)


def squares(unrolled):
  """What a user may add: the squares of the policy's logits."""
  size = jnp.square(unrolled.output.policy_logits).mean(axis=(1, 2))
  return 0.5 * size, {'policy_size': size.mean()}


def test_terms_are_added_by_the_weights_and_recorded_by_name():
  plain, plain_metrics = evaluate(make())
  assert plain_metrics.extra is None and plain_metrics.loss == plain
  found, metrics = evaluate(make(Term(squares)))
  batch = make_batch()
  target = make_targets(jax.random.key(0), batch)
  unrolled = total_loss._unroll(
    tiny_model(A), False, initial_params(), batch, target)
  added, named = squares(unrolled)
  assert np.ptp(added) > 0
  np.testing.assert_allclose(
    found - plain, jnp.mean(WEIGHTS * added), rtol=1e-3)
  assert metrics.loss == found
  assert list(metrics.extra) == ['policy_size']
  np.testing.assert_allclose(
    metrics.extra['policy_size'], named['policy_size'], rtol=1e-5)
  assert metrics.policy_loss == plain_metrics.policy_loss


def test_several_terms_keep_their_names_apart():
  one = Term(lambda x: (jnp.zeros(N), {'one': jnp.float32(1)}))
  two = Term(lambda x: (jnp.ones(N), {'two': jnp.float32(2)}))
  plain, _ = evaluate(make())
  found, metrics = evaluate(make(one, two))
  assert metrics.extra == {'one': 1, 'two': 2}
  np.testing.assert_allclose(found - plain, WEIGHTS.mean(), rtol=1e-3)


def test_terms_get_what_they_ask_for():
  seen = {}

  def look(unrolled):
    seen['state'] = unrolled.output.state
    seen['chance'] = unrolled.chance
    return jnp.zeros(N), {}

  plain = make(Term(look))
  evaluate(plain)
  assert seen['state'] is None and seen['chance'] is None
  assert not plain.needs_all_observations
  evaluate(make(Term(look, needs_states=True)))
  assert seen['state'].shape == (N, K + 1, 8)
  assert make(
    Term(look), Term(look, needs_all_observations=True)
  ).needs_all_observations


def test_a_term_trains():
  """Alone with its own gradient, it shrinks what it is of."""
  record = settings.LossWeights(
    policy_weight=0.0, value_weight=0.0, reward_weight=0.0)
  total = total_loss.make_total_loss(
    tiny_model(A), TRANSFORM, TRANSFORM, record, extra_terms=(Term(squares),))
  learn = learner.make_learner(
    total, SGD, settings.Learning(batch_size=N, unroll_steps=K, td_steps=TD))
  batch = make_batch()
  target = make_targets(jax.random.key(0), batch)
  step = lambda state, _: learn.step(state, batch, target, jnp.ones(N))
  _, metrics = jax.jit(
    lambda state: jax.lax.scan(step, state, length=100)
  )(learn.init(initial_params()))
  size = metrics.extra['policy_size']
  assert size[-1] < 0.5 * size[0]
  np.testing.assert_allclose(metrics.loss, 0.5 * size, rtol=1e-4)


def test_a_term_may_not_hide_a_metric_of_ours():
  with pytest.raises(errors.UserError, match="'loss'"):
    total_loss._check_names({'mine': jnp.zeros(()), 'loss': jnp.zeros(())})
  total_loss._check_names({'mine': jnp.zeros(())})
