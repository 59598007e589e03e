"""The policy gradient from what was played."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from muzero_jax import transforms
from muzero_jax.config import settings
from muzero_jax.learning import policy_gradient, total_loss
from muzero_jax.networks import MLPNetwork, distributions
from muzero_jax.networks import model as model_lib
from muzero_jax.types import ModelOutput, Sequence, Target

K, A, D = 3, 2, 11
TRANSFORM = transforms.categorical(D, 5.0)
SCALAR = transforms.scalar(transformed=False)


def _target(value, action=(0, 1, 0), policy_mask=(1, 1, 1, 1),
            value_mask=(1, 1, 1, 1), policy=(0.5, 0.5), candidates=None):
  mask = lambda x: jnp.array([x], jnp.float32)
  return Target(
    value=mask(value), reward=jnp.zeros((1, K)),
    policy=jnp.tile(jnp.array(policy), (1, K + 1, 1)),
    action=jnp.array([action]), value_mask=mask(value_mask),
    reward_mask=jnp.ones((1, K)), policy_mask=mask(policy_mask),
    candidates=candidates)


def _output(value, logits):
  return ModelOutput(
    state=None, reward_logits=jnp.zeros((1, K + 1, 1)),
    policy_logits=jnp.tile(jnp.array(logits), (1, K + 1, 1)),
    value_logits=jnp.array(value)[None, :, None])


def test_advantages_are_returns_above_values_over_their_spread():
  value = jnp.array([[1.0, 1.0, 1.0, 9.0]])
  target = _target([2.0, 0.0, 4.0, 7.0])
  by_hand = (np.array([[1, -1, 3]]) - 1) / np.sqrt(8 / 3)
  np.testing.assert_allclose(
    policy_gradient.advantages(value, target), by_hand, rtol=1e-6)
  # In any unit of reward.
  large = target._replace(value=1000 * target.value)
  np.testing.assert_allclose(
    policy_gradient.advantages(1000 * value, large), by_hand, rtol=1e-6)


@pytest.mark.parametrize('policy_mask, value_mask, counts', [
  ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1)),  # It goes on.
  ((1, 1, 0, 0), (1, 1, 1, 1), (1, 1, 0)),  # It ended at row 2.
  ((1, 1, 1, 0), (1, 1, 0, 0), (1, 1, 0)),  # Time cut it off at row 2.
  ((0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 0)),  # It had ended before.
])
def test_nothing_counts_from_the_end_on(policy_mask, value_mask, counts):
  target = _target(
    [1.0, 4.0, 9.0, 1.0], policy_mask=policy_mask, value_mask=value_mask)
  found = policy_gradient.advantages(jnp.zeros((1, K + 1)), target)
  np.testing.assert_array_equal(found[0] != 0, counts)
  np.testing.assert_allclose(found.sum(), 0, atol=1e-6)


def test_values_that_are_all_too_high_push_no_action():
  target = _target([1.0, 2.0, 5.0, 9.0])
  exact, high = (
    policy_gradient.advantages(jnp.full((1, K + 1), x), target)
    for x in (2.0, 40.0))
  np.testing.assert_allclose(high, exact, rtol=1e-5)


def test_equal_returns_and_values_give_no_gradient():
  target = _target([1.0, 1.0, 1.0, 1.0])
  found = policy_gradient.advantages(jnp.ones((1, K + 1)), target)
  np.testing.assert_array_equal(found, np.zeros((1, K)))


def test_rare_rewards_are_clipped():
  value = jnp.zeros((60, K + 1))
  target = jax.tree.map(
    lambda x: jnp.tile(x, (60, *[1] * (x.ndim - 1))), _target([0.0] * 4))
  target = target._replace(value=target.value.at[0, 0].set(1.0))
  found = policy_gradient.advantages(value, target)
  assert found[0, 0] == 5  # 13.3 without a limit.


def test_loss_by_hand():
  logits = np.array([0.3, -0.2])
  output = _output([1.0, 1.0, 1.0, 1.0], logits)
  # The search played 0 with 0.9: of its action 0 only 0.62 / 0.9 counts.
  target = _target([2.0, 0.0, 4.0, 7.0], policy=(0.9, 0.1))
  loss, metrics = policy_gradient.batch_loss(
    output, target, SCALAR, weight=6.0)
  probs = np.exp(logits) / np.exp(logits).sum()
  actions = np.array([0, 1, 0])
  ratio = np.minimum(1, probs[actions] / np.array([0.9, 0.1])[actions])
  assert 0 < ratio[0] < 1 and ratio[1] == 1
  advantage = (np.array([1, -1, 3]) - 1) / np.sqrt(8 / 3)
  each = -ratio * advantage * np.log(probs[actions])
  np.testing.assert_allclose(
    loss[0], 6 * (each * [1, 1 / K, 1 / K]).sum(), rtol=1e-5)
  np.testing.assert_allclose(
    metrics['advantage_loss'], each.mean(), rtol=1e-5)


def test_the_value_head_gets_no_gradient():
  def loss(output):
    return policy_gradient.batch_loss(
      output, _target([2.0, 0.0, 3.0, 7.0]), SCALAR, weight=1.0)[0].sum()

  found = jax.grad(loss)(_output([1.0] * 4, np.array([0.3, -0.2]))._replace(
    state=jnp.zeros(())))
  assert not found.value_logits.any()
  assert found.policy_logits[:, :K].any()


def test_candidates_that_are_all_actions_change_nothing():
  output = _output([1.0] * 4, np.array([0.3, -0.2]))
  target = _target([2.0, 0.0, 3.0, 7.0], policy=(0.9, 0.1))
  plain, _ = policy_gradient.batch_loss(output, target, SCALAR, weight=1.0)
  swapped = target._replace(
    policy=target.policy[..., ::-1],
    candidates=jnp.tile(jnp.array([1, 0]), (1, K + 1, 1)))
  sampled, _ = policy_gradient.batch_loss(
    output, swapped, SCALAR, weight=1.0,
    distribution=distributions.categorical(A))
  np.testing.assert_allclose(sampled, plain, rtol=1e-6)


def test_a_density_becomes_larger_where_it_turned_out_well():
  distribution = distributions.tanh_gaussian((-2.0,), (2.0,))
  actions = jnp.array([[[1.0], [-1.0], [1.0]]])
  target = _target(
    [1.0, -1.0, 1.0, 0.0], action=(0, 0, 0), policy=(0.5, 0.5),
    candidates=jnp.tile(jnp.array([[-1.0], [1.0]]), (1, K + 1, 1, 1))
  )._replace(action=actions)

  def loss(logits):
    return policy_gradient.batch_loss(
      _output([0.0] * 4, logits), target, SCALAR, weight=1.0,
      distribution=distribution)[0].sum()

  downhill = -jax.grad(loss)(jnp.zeros(2))
  assert downhill[0] > 0.1  # The mean moves towards 1.
  # Candidates on both sides of the mean: it does not become narrower for them.
  np.testing.assert_allclose(downhill[1], 0.0, atol=1e-6)


def test_an_action_that_is_no_candidate_any_more_does_not_count():
  distribution = distributions.tanh_gaussian((-2.0,), (2.0,))
  target = _target(
    [1.0, -1.0, 3.0, 0.0], action=(0, 0, 0), policy=(0.5, 0.5),
    candidates=jnp.tile(jnp.array([[-1.0], [1.0]]), (1, K + 1, 1, 1))
  )._replace(action=jnp.array([[[0.5], [0.5], [1.0]]]))
  _, metrics = policy_gradient.batch_loss(
    _output([0.0] * 4, jnp.zeros(2)), target, SCALAR, weight=1.0,
    distribution=distribution)
  # Of the third row alone: pi = 1 / 2 is mu, and A = (3 - 1) / 1.63.
  np.testing.assert_allclose(
    metrics['advantage_loss'], -np.sqrt(1.5) * np.log(0.5), rtol=1e-5)


def test_a_batch_over_devices_has_one_spread():
  """Shares of a batch are scaled by the spread of all of it."""
  value = jnp.zeros((2, K + 1))
  target = jax.tree.map(
    lambda *x: jnp.concatenate(x), _target([1.0] * 4), _target([7.0] * 4))
  whole = policy_gradient.advantages(value, target)
  by_share = jax.vmap(
    functools.partial(policy_gradient.advantages, axis_name='devices'),
    axis_name='devices')(
      value[:, None], jax.tree.map(lambda x: x[:, None], target))
  np.testing.assert_allclose(by_share[:, 0], whole, rtol=1e-6)


@pytest.mark.parametrize('weight, learns', [(0.0, False), (4.0, True)])
def test_it_learns_what_the_search_does_not_know(weight, learns):
  """A bandit with a search that always says that all actions are alike."""
  model = model_lib.make_model(MLPNetwork(A, D, width=8))
  loss = total_loss.make_total_loss(
    model, TRANSFORM, TRANSFORM,
    settings.LossWeights(policy_gradient_weight=weight))
  optimiser = optax.adam(1e-2)
  rows = 32
  params = model.init(jax.random.key(0), jnp.zeros((1, 4)))
  observation = jnp.ones((rows, 1, 4))
  sequence = Sequence(*[None] * len(Sequence._fields))._replace(
    observation=observation)

  @jax.jit
  def update(carry, key):
    params, state = carry
    action = jax.random.randint(key, (rows, 1), 0, A)
    won = action.astype(jnp.float32)
    ones = jnp.ones((rows, 2))
    target = Target(
      value=jnp.concatenate([won, 0 * won], 1), reward=won,
      policy=jnp.full((rows, 2, A), 0.5), action=action, value_mask=ones,
      reward_mask=ones[:, :1], policy_mask=ones.at[:, 1].set(0.0))
    gradient = jax.grad(
      lambda p: loss.loss(p, sequence, target, jnp.ones(rows))[0])(params)
    change, state = optimiser.update(gradient, state)
    return (optax.apply_updates(params, change), state), None

  (params, _), _ = jax.lax.scan(
    update, (params, optimiser.init(params)),
    jax.random.split(jax.random.key(1), 150))
  logits = model.root(params, observation[:1, 0]).policy_logits[0]
  probability = jax.nn.softmax(logits)[1]
  assert (probability > 0.7) == learns
  assert learns or abs(probability - 0.5) < 0.05
