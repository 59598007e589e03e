"""Sampled MuZero: candidates and their prior, searches over them, the loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TRANSFORM, random_params, tiny_model

from muzero_jax import losses, search
from muzero_jax.learning import sampled_policy
from muzero_jax.networks import MLPNetwork, distributions
from muzero_jax.networks import model as model_lib
from muzero_jax.search import candidates as candidates_lib
from muzero_jax.search.candidates import Proposal
from muzero_jax.types import ModelOutput, Target

B, C = 3, 8
RECORDS = dict(gumbel=search.Gumbel, muzero=search.PUCT)
LOWEST = np.finfo(np.float32).min
GAUSSIAN = distributions.tanh_gaussian((-1.0, 0.0), (1.0, 4.0))
PROPOSALS = dict(
  gaussian=Proposal(GAUSSIAN, C),
  wide=Proposal(GAUSSIAN, C, temperature=3.0),
  discrete=Proposal(distributions.categorical(4), C, temperature=2.0),
  mode=Proposal(GAUSSIAN, C, temperature=3.0, has_mode=True),
)


def draw(proposal, logits):
  keys = jax.random.split(jax.random.key(5), len(logits))
  return jax.jit(functools.partial(candidates_lib.draw, proposal))(keys, logits)


@pytest.mark.parametrize('name', PROPOSALS)
def test_prior_is_the_corrected_share_of_the_draws(name):
  proposal = PROPOSALS[name]
  pi, tau = proposal.distribution, proposal.temperature
  logits = jax.random.normal(jax.random.key(0), (B, pi.num_outputs))
  candidates, prior = map(np.asarray, draw(proposal, logits))
  for b in range(B):
    density = np.exp(pi.log_prob(logits[b], candidates[b]))
    beta = np.exp(pi.log_prob(logits[b], candidates[b], tau))
    for i in range(C):
      same = [
        k for k in range(C)
        if np.array_equal(candidates[b, k], candidates[b, i])
      ]
      if same[0] < i:
        assert prior[b, i] == LOWEST
      else:
        expected = len(same) / C * density[i] / beta[i]
        np.testing.assert_allclose(np.exp(prior[b, i]), expected, rtol=1e-3)
  if name == 'discrete':  # Eight draws of four.
    assert (prior == LOWEST).any()
    np.testing.assert_allclose(
      np.exp(prior[prior > LOWEST]).min(), np.exp(prior).max(), rtol=50)
  if name == 'gaussian':
    np.testing.assert_allclose(np.exp(prior), 1 / C, rtol=1e-5)
  if name == 'mode':
    np.testing.assert_allclose(candidates[:, 0], pi.mode(logits), rtol=1e-5)


def test_the_prior_makes_expectations_those_of_the_policy():
  """With many samples, sum_i prior_i f(a_i) is E_pi f, whatever beta is."""
  num = 4_000
  pi = distributions.tanh_gaussian((-1.0,), (1.0,))
  logits = jnp.array([[0.8, -1.5]])
  means = []
  for tau in (1.0, 3.0):
    candidates, prior = draw(Proposal(pi, num, tau), logits)
    weight = np.exp(np.asarray(prior[0]))
    means.append(float((weight * candidates[0, :, 0]).sum()))
    assert weight.sum() == pytest.approx(1, abs=0.05)
  mean, scale = map(float, map(np.squeeze, distributions.moments(logits)))
  u = mean + scale * np.linspace(-6, 6, 2001)
  mass = np.exp(-((u - mean) / scale) ** 2 / 2)
  expected = (mass * np.tanh(u)).sum() / mass.sum()
  np.testing.assert_allclose(means, expected, atol=0.02)


def floats_model():
  network = MLPNetwork(
    num_actions=2, num_outputs=11, width=8, num_blocks=0, head_hidden=8,
    policy_outputs=4, action_low=(-1.0, 0.0), action_high=(1.0, 4.0))
  made = model_lib.make_model(network)
  params = made.init(jax.random.key(0), jnp.zeros((1, 4)))
  return made, random_params(params, jax.random.key(1), 1.0)


def test_actions_enter_g_scaled():
  made, params = floats_model()
  state = made.root(params, jnp.ones((1, 4))).state
  kernel = params['params']['transition']['kernel']
  for action, scaled in (((-1.0, 0.0), (-1, -1)), ((0.5, 3.0), (0.5, 0.5))):
    x = np.concatenate([state[0], scaled])
    x = np.asarray(state[0]) + x @ kernel + params['params']['transition'][
      'bias']
    expected = (x - x.min()) / (x.max() - x.min())
    found = made.step(params, state, jnp.array([action])).state[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@functools.cache
def searched(policy, has_mode=False, noise=True, simulations=12):
  made, params = floats_model()
  find = candidates_lib.make_search(
    made, Proposal(GAUSSIAN, C, temperature=2.0, has_mode=has_mode),
    TRANSFORM, TRANSFORM, RECORDS[policy](num_simulations=simulations),
    noise=noise, discount=0.9)
  return jax.jit(find), params


SEEN = jax.random.normal(jax.random.key(4), (B, 4))
ALL = jnp.ones((B, 2), bool)


@pytest.mark.parametrize('policy', ['gumbel', 'muzero'])
def test_a_search_plays_one_of_its_candidates(policy):
  find, params = searched(policy)
  found = find(params, jax.random.key(0), SEEN, ALL, 1.0)
  assert found.candidates.shape == (B, C, 2)
  assert found.policy.shape == (B, C)
  np.testing.assert_allclose(found.policy.sum(axis=-1), 1, rtol=1e-5)
  for b in range(B):
    assert (found.candidates[b] == found.action[b]).all(axis=-1).any()
  other = find(params, jax.random.key(1), SEEN, ALL, 1.0)
  assert not np.array_equal(other.candidates, found.candidates)
  np.testing.assert_allclose(
    other.network_value, found.network_value, rtol=1e-5)


def test_a_search_does_not_depend_on_the_rest_of_its_batch():
  find, params = searched('gumbel')
  found = find(params, jax.random.key(0), SEEN, ALL, 1.0)
  others = SEEN.at[1:].set(7.0)
  again = find(params, jax.random.key(0), others, ALL, 1.0)
  for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(again)):
    np.testing.assert_allclose(x[0], y[0], rtol=1e-4, atol=1e-5)
  assert not np.allclose(found.candidates[1], again.candidates[1])


def test_the_mode_is_a_candidate_of_an_evaluation():
  find, params = searched('gumbel', has_mode=True, noise=False)
  found = find(params, jax.random.key(0), SEEN, ALL, 0.0)
  made, _ = floats_model()
  mode = GAUSSIAN.mode(made.root(params, SEEN).policy_logits)
  np.testing.assert_allclose(found.candidates[:, 0], mode, rtol=1e-4)


def test_agents_side_by_side_search_as_alone_but_for_their_noise():
  find, params = searched('gumbel', noise=False)
  twice = jax.tree.map(lambda x: jnp.stack([x, x]), params)
  keys = jax.random.split(jax.random.key(3))
  found = jax.jit(jax.vmap(
    lambda params, key: find(params, key, SEEN, ALL, 0.0)))(twice, keys)
  for agent in range(2):
    alone = find(params, keys[agent], SEEN, ALL, 0.0)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(alone)):
      np.testing.assert_allclose(x[agent], y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('policy', ['gumbel', 'muzero'])
def test_over_discrete_actions_it_is_plain_search_with_the_draws_for_a_prior(
  policy
):
  model = tiny_model(3)
  params = model.init(jax.random.key(0), jnp.zeros((1, 4)))
  params = random_params(params, jax.random.key(1), 0.5)
  # One step deep: there is no prior but the root's.
  record = RECORDS[policy](num_simulations=20, max_depth=1)
  common = dict(noise=False, discount=0.9)
  find = candidates_lib.make_search(
    model, Proposal(distributions.categorical(3), 40), TRANSFORM, TRANSFORM,
    record, **common)
  legal = jnp.array([[1, 1, 1], [1, 0, 1], [0, 1, 0]], bool)
  found = jax.jit(find)(params, jax.random.key(0), SEEN, legal)
  share = jax.nn.one_hot(found.candidates, 3).mean(axis=1)
  drawn = share > 0
  assert (legal | ~drawn).all() and drawn.sum() >= 5

  def root(params, observation):
    output = model.root(params, observation)
    return output._replace(policy_logits=jnp.log(share))

  plain = jax.jit(search.make_search(
    model._replace(root=root), TRANSFORM, TRANSFORM, record, **common))
  expected = plain(params, jax.random.key(0), SEEN, drawn)
  np.testing.assert_array_equal(found.action, expected.action)
  np.testing.assert_allclose(found.value, expected.value, rtol=1e-4)
  for b in range(B):
    policy_of = np.zeros(3)
    np.add.at(policy_of, found.candidates[b], found.policy[b])
    np.testing.assert_allclose(policy_of, expected.policy[b], atol=1e-4)
    # Equal draws are one candidate.
    assert (np.asarray(found.policy[b]) > 0).sum() <= legal[b].sum()


def test_policy_loss_is_the_cross_entropy_over_candidates():
  steps = 3
  key = jax.random.key(7)
  logits = jax.random.normal(key, (steps, 4))
  candidates, _ = draw(Proposal(GAUSSIAN, C), logits)
  policy = jax.nn.softmax(jax.random.normal(key, (steps, C)))
  zeros = jnp.zeros(steps)
  target = Target(
    value=zeros, reward=zeros[1:], policy=policy,
    action=jnp.zeros((steps - 1, 2)), value_mask=zeros + 1,
    reward_mask=zeros[1:] + 1, policy_mask=jnp.array([1.0, 1.0, 0.0]),
    candidates=candidates)
  expected = [
    -sum(
      float(policy[k, i])
      * float(GAUSSIAN.log_prob(logits[k], candidates[k, i]))
      for i in range(C)
    )
    for k in range(steps)
  ]
  found = sampled_policy.policy_loss(GAUSSIAN, logits, target)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  entropy = np.asarray(GAUSSIAN.entropy(logits))
  with_entropy = sampled_policy.policy_loss(
    GAUSSIAN, logits, target, entropy_weight=0.5)
  np.testing.assert_allclose(
    with_entropy, np.array(expected) - 0.5 * entropy, rtol=1e-4)
  # It is the policy's part of MuZero's loss, masked as that is.
  heads = jnp.zeros((steps, 11))
  whole = losses.muzero_loss(
    ModelOutput(None, heads, heads, logits), target,
    value_transform=TRANSFORM, reward_transform=TRANSFORM,
    policy_loss_fn=functools.partial(sampled_policy.policy_loss, GAUSSIAN))
  np.testing.assert_allclose(
    whole.policy, np.array([1, 1, 0]) * expected, rtol=1e-4)
