"""The head that tells whether a transition ends the episode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import config, transforms
from muzero_jax.config import settings
from muzero_jax.errors import UserError
from muzero_jax.learning import end_prediction, total_loss
from muzero_jax.networks import AtariResNet, KInARowNetwork, MLPNetwork
from muzero_jax.networks import model as model_lib
from muzero_jax.search import make_search
from muzero_jax.types import Sequence, Target

K, A, D = 3, 2, 11
TRANSFORM = transforms.categorical(D, 5.0)


def _target(policy_mask, value_mask):
  rows = len(policy_mask)
  mask = lambda x: jnp.array([x], jnp.float32)
  return Target(
    value=jnp.ones((1, rows)), reward=jnp.zeros((1, rows - 1)),
    policy=jnp.full((1, rows, A), 1 / A),
    action=jnp.zeros((1, rows - 1), jnp.int32), value_mask=mask(value_mask),
    reward_mask=jnp.ones((1, rows - 1)), policy_mask=mask(policy_mask))


# Masks as `targets.make_targets` makes them: of the last row of an episode
# that ended the policy is masked, of one that time cut off the value.
RUNNING = _target([1, 1, 1, 1], [1, 1, 1, 1])
ENDED = _target([1, 1, 0, 0], [1, 1, 1, 1])
CUT_OFF = _target([1, 1, 1, 0], [1, 1, 0, 0])


@pytest.mark.parametrize('target, ends, counts', [
  (RUNNING, [0, 0, 0], [1, 1, 1]),
  (ENDED, [0, 1, 0], [1, 1, 0]),
  (CUT_OFF, [0, 0, 0], [1, 1, 0]),
])
def test_which_transition_ends_the_episode(target, ends, counts):
  np.testing.assert_array_equal(end_prediction.end_targets(target)[0], ends)
  logits = jnp.array([[-2.0, 1.0, 7.0]])
  loss, mask = end_prediction.end_loss(logits, target)
  np.testing.assert_array_equal(mask[0], counts)
  p = 1 / (1 + np.exp(-np.array(logits[0])))
  by_hand = -np.where(ends, np.log(p), np.log(1 - p)) * counts
  np.testing.assert_allclose(loss[0], by_hand, rtol=1e-5)
  added, named = end_prediction.batch_loss(logits, target, weight=6.0)
  np.testing.assert_allclose(added[0], 6 * by_hand.sum() / K, rtol=1e-5)
  np.testing.assert_allclose(
    named['end_loss'], by_hand.sum() / sum(counts), rtol=1e-5)


@pytest.mark.parametrize('target, values, rewards', [
  (RUNNING, [1, 1, 1, 1], [1, 1, 1]),
  (ENDED, [1, 1, 0, 0], [1, 1, 0]),
  (CUT_OFF, [1, 1, 0, 0], [1, 1, 0]),
])
def test_what_lies_behind_the_end_is_not_trained(target, values, rewards):
  kept = end_prediction.until_the_end(target)
  np.testing.assert_array_equal(kept.value_mask[0], values)
  np.testing.assert_array_equal(kept.reward_mask[0], rewards)
  np.testing.assert_array_equal(kept.policy_mask, target.policy_mask)


NETWORKS = {
  'mlp': (MLPNetwork(A, D, width=8, predicts_end=True), (4,)),
  'prefix': (
    MLPNetwork(A, D, width=8, predicts_end=True, prefix_steps=2), (4,)),
  'resnet': (AtariResNet(
    A, D, channels=4, head_channels=2, predicts_end=True), (24, 24, 1)),
  'k_in_a_row': (KInARowNetwork(
    4, D, channels=4, units=4, length=3, predicts_end=True), (4, 4, 2)),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_at_first_no_network_expects_an_end(name):
  network, shape = NETWORKS[name]
  model = model_lib.make_model(network)
  observation = jax.random.normal(jax.random.key(0), (3, *shape))
  params = model.init(jax.random.key(1), observation)
  state = model.root(params, observation).state
  state = model.step(params, state, jnp.zeros(3, jnp.int32)).state
  logits = model.end(params, model_lib.hidden_of(state))
  np.testing.assert_allclose(logits, [-5] * 3)


def test_a_model_without_the_head_has_no_such_function():
  assert model_lib.make_model(MLPNetwork(A, D)).end is None


def _loss(model, end_weight):
  return total_loss.make_total_loss(
    model, TRANSFORM, TRANSFORM, settings.LossWeights(end_weight=end_weight))


def test_weight_and_head_belong_together():
  with pytest.raises(UserError, match='end_weight=0.0: needs to be above 0'):
    _loss(model_lib.make_model(NETWORKS['mlp'][0]), 0.0)
  with pytest.raises(UserError, match='end_weight=1.0'):
    _loss(model_lib.make_model(MLPNetwork(A, D)), 1.0)
  with pytest.raises(UserError, match="end_weight = 1.0: network = 'rotation"):
    config.Config(network='rotation_equivariant', end_weight=1.0)


@pytest.mark.parametrize('name', ['mlp', 'prefix'])
def test_the_total_loss_trains_the_head(name):
  model = model_lib.make_model(NETWORKS[name][0])
  observation = jnp.arange(8.0).reshape(2, 1, 4)
  params = model.init(jax.random.key(0), observation[:, 0])
  both = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), ENDED, RUNNING)
  both = both._replace(
    action=jnp.array([[0, 1, 0], [1, 0, 1]], jnp.int32))
  sequence = Sequence(*[None] * len(Sequence._fields))._replace(
    observation=observation)
  loss = jax.jit(jax.value_and_grad(_loss(model, 2.0).loss, has_aux=True))
  first = None
  for _ in range(200):
    (_, metrics), grads = loss(params, sequence, both, jnp.ones(2))
    first = first or float(metrics.end_loss)
    params = jax.tree.map(lambda x, g: x - 0.1 * g, params, grads)
  # One end in five transitions, which -5 thinks unlikely.
  np.testing.assert_allclose(first, (5.0067 + 4 * 0.0067) / 5, rtol=1e-3)
  assert metrics.end_loss < 0.1


def test_the_search_takes_ends_into_account():
  """Both actions lead to value 1, but one of them ends the episode."""
  network = MLPNetwork(A, D, width=8, predicts_end=True)
  model = model_lib.make_model(network)
  params = model.init(jax.random.key(0), jnp.zeros((1, 4)))

  def step(params, state, action):
    output = model.step(params, state, action)
    return output._replace(
      state=jnp.broadcast_to(action[:, None].astype(jnp.float32), state.shape),
      value_logits=TRANSFORM.apply(jnp.ones(len(action))) * 100)

  fatal = model._replace(
    step=step,
    end=lambda params, state: jnp.where(state[:, 0] > 0, 50.0, -50.0))
  search = functools.partial(make_search, value_transform=TRANSFORM,
                             reward_transform=TRANSFORM, noise=False,
                             settings=settings.Gumbel(num_simulations=8))
  given = params, jax.random.key(1), jnp.zeros((1, 4)), jnp.ones((1, A), bool)
  found = search(fatal)(*given)
  assert found.action[0] == 0 and found.policy[0, 0] > 0.9
  # Without ends both are alike.
  found = search(fatal._replace(end=None))(*given)
  np.testing.assert_allclose(found.policy[0], [0.5, 0.5], atol=1e-4)
