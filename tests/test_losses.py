"""Losses: weights, masks, gradient scales, illegal actions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import losses, transforms
from muzero_jax.types import ModelOutput, Target

VALUE = transforms.categorical(num_bins=7, max_value=3.0)
REWARD = transforms.categorical(num_bins=5, max_value=2.0)


def random_output(rng, unroll_steps, num_actions=3):
  def logits(size):
    return jnp.asarray(rng.normal(size=(unroll_steps + 1, size)), jnp.float32)
  return ModelOutput(
    state=jnp.zeros((unroll_steps + 1, 4)),
    reward_logits=logits(5),
    value_logits=logits(7),
    policy_logits=logits(num_actions),
  )


def random_target(rng, unroll_steps, num_actions=3):
  rows = unroll_steps + 1
  return Target(
    value=jnp.asarray(rng.normal(size=rows), jnp.float32),
    reward=jnp.asarray(rng.normal(size=unroll_steps), jnp.float32),
    policy=jnp.asarray(
      rng.dirichlet(np.ones(num_actions), rows), jnp.float32),
    action=jnp.zeros(unroll_steps, jnp.int32),
    value_mask=jnp.ones(rows),
    reward_mask=jnp.ones(unroll_steps),
    policy_mask=jnp.ones(rows),
  )


def cross_entropy(logits, target):
  logits = np.asarray(logits, np.float64)
  log_probs = logits - np.log(np.exp(logits).sum())
  target = np.asarray(target)
  return -sum(t * p for t, p in zip(target, log_probs, strict=True) if t)


def oracle(output, target, c_p, c_v, c_r):
  """Loops over the unroll; the reward of k is predicted at row k + 1."""
  num_steps = len(target.reward)
  total, parts = 0.0, ([], [], [])
  value_target = VALUE.apply(target.value)
  reward_target = REWARD.apply(target.reward)
  output, target = jax.tree.map(np.asarray, (output, target))
  for k in range(num_steps + 1):
    weight = 1.0 if k == 0 else 1.0 / num_steps
    policy = cross_entropy(output.policy_logits[k], target.policy[k])
    value = cross_entropy(output.value_logits[k], value_target[k])
    parts[0].append(policy * float(target.policy_mask[k]))
    parts[1].append(value * float(target.value_mask[k]))
    total += weight * (c_p * parts[0][-1] + c_v * parts[1][-1])
    if k > 0:
      reward = cross_entropy(output.reward_logits[k], reward_target[k - 1])
      parts[2].append(reward * float(target.reward_mask[k - 1]))
      total += weight * c_r * parts[2][-1]
  return total, parts


@jax.jit
def loss(output, target, **weights):
  return losses.muzero_loss(
    output, target, value_transform=VALUE, reward_transform=REWARD, **weights)


@jax.jit
def gradient_of_total(output, target):
  return jax.grad(lambda output: loss(output, target).total)(output)


def test_scale_gradient():
  x = jnp.array([1.1, -3.0, 0.3], jnp.float32)
  np.testing.assert_array_equal(losses.scale_gradient(x, 0.3), x)
  gradient = jax.grad(
    lambda x: jnp.sum(losses.scale_gradient(x, 0.5) ** 2))(x)
  np.testing.assert_allclose(gradient, x, rtol=1e-6)
  gradient = jax.grad(lambda x: jnp.sum(losses.scale_gradient(x, 0.0)))(x)
  np.testing.assert_array_equal(gradient, np.zeros(3))
  assert losses.scale_gradient(x.astype(jnp.bfloat16), 0.5).dtype == (
    jnp.bfloat16)


def test_scale_gradient_halves_at_each_of_two_steps():
  def unroll(state):
    total = state
    for _ in range(2):
      state = 3.0 * losses.scale_gradient(state, 0.5)
      total += state
    return total
  # d/ds of s + 3 s + 9 s, with 1/2 for each dynamics call passed.
  assert jax.grad(unroll)(1.0) == 1.0 + 3.0 / 2 + 9.0 / 4


def test_unroll_weights():
  np.testing.assert_allclose(
    losses.unroll_weights(4), [1, 0.25, 0.25, 0.25, 0.25])
  np.testing.assert_allclose(losses.unroll_weights(1), [1, 1])
  with pytest.raises(ValueError, match='unroll_steps=0: allowed'):
    losses.unroll_weights(0)


def test_policy_loss_literal_values():
  logits = jnp.log(jnp.array([[1.0, 3.0], [0.5, 0.5]]))
  target = jnp.array([[0.25, 0.75], [1.0, 0.0]])
  np.testing.assert_allclose(
    losses.policy_loss(logits, target),
    [-0.25 * np.log(0.25) - 0.75 * np.log(0.75), np.log(2)], rtol=1e-6)
  assert losses.policy_loss(
    logits.astype(jnp.bfloat16), target).dtype == jnp.float32


@pytest.mark.parametrize('low', [-np.inf, np.finfo(np.float32).min])
def test_policy_loss_of_illegal_actions(low):
  target = jnp.array([0.5, 0.0, 0.5, 0.0])
  logits = jnp.array([0.0, low, 0.0, low])
  value, gradient = jax.value_and_grad(losses.policy_loss)(logits, target)
  np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
  np.testing.assert_allclose(gradient, np.zeros(4), atol=1e-7)


@pytest.mark.parametrize('unroll_steps', [1, 3])
def test_muzero_loss_agrees_with_oracle(unroll_steps):
  rng = np.random.default_rng(unroll_steps)
  for masked in (False, True):
    output = random_output(rng, unroll_steps)
    target = random_target(rng, unroll_steps)
    if masked:
      target = target._replace(
        value_mask=jnp.zeros(unroll_steps + 1).at[0].set(1.0),
        reward_mask=jnp.ones(unroll_steps).at[0].set(0.0),
        policy_mask=jnp.ones(unroll_steps + 1).at[-1].set(0.0))
    total, parts = oracle(output, target, 0.7, 0.3, 1.9)
    result = loss(
      output, target, policy_weight=0.7, value_weight=0.3, reward_weight=1.9)
    np.testing.assert_allclose(result.total, total, rtol=1e-5)
    np.testing.assert_allclose(result.policy, parts[0], rtol=1e-4)
    np.testing.assert_allclose(result.value, parts[1], rtol=1e-4)
    np.testing.assert_allclose(result.reward, parts[2], rtol=1e-4)
  default, _ = oracle(output, target, 1.0, 0.25, 1.0)
  np.testing.assert_allclose(loss(output, target).total, default, rtol=1e-5)


def test_muzero_loss_under_jit_and_vmap():
  rng = np.random.default_rng(0)
  outputs = [random_output(rng, 3) for _ in range(3)]
  targets = [random_target(rng, 3) for _ in range(3)]
  def stack(rows):
    return jax.tree.map(lambda *x: np.stack(x), *rows)
  batched = jax.vmap(loss)(stack(outputs), stack(targets))
  chex.assert_shape(batched.total, (3,))
  single = [loss(o, t) for o, t in zip(outputs, targets, strict=True)]
  chex.assert_trees_all_close(batched, stack(single), rtol=1e-5)


def test_gradients_vanish_exactly_where_masked_and_only_there():
  rng = np.random.default_rng(1)
  output, target = random_output(rng, 3), random_target(rng, 3)
  target = target._replace(
    value_mask=jnp.array([1.0, 0.0, 1.0, 0.0]),
    reward_mask=jnp.array([0.0, 1.0, 0.0]),
    policy_mask=jnp.array([1.0, 1.0, 0.0, 0.0]))
  gradient = gradient_of_total(output, target)
  is_trained = jax.tree.map(lambda g: np.any(np.asarray(g) != 0, -1), gradient)
  np.testing.assert_array_equal(is_trained.value_logits, [1, 0, 1, 0])
  # Row 0 is the root, where no reward is predicted.
  np.testing.assert_array_equal(is_trained.reward_logits, [0, 0, 1, 0])
  np.testing.assert_array_equal(is_trained.policy_logits, [1, 1, 0, 0])


def test_gradient_scale_of_each_step():
  # Equal logits and targets at each row: gradients differ by w_k alone.
  output = ModelOutput(
    jnp.zeros((5, 4)), jnp.zeros((5, 5)), jnp.zeros((5, 7)), jnp.zeros((5, 3)))
  target = Target(
    value=jnp.ones(5), reward=jnp.ones(4), policy=jnp.eye(3)[jnp.zeros(5, int)],
    action=jnp.zeros(4, jnp.int32), value_mask=jnp.ones(5),
    reward_mask=jnp.ones(4), policy_mask=jnp.ones(5))
  gradient = gradient_of_total(output, target)
  policy = gradient.policy_logits[:, 0]
  np.testing.assert_allclose(policy / policy[0], [1] + [0.25] * 4, rtol=1e-6)
  value = gradient.value_logits[:, 0]
  np.testing.assert_allclose(value / value[0], [1] + [0.25] * 4, rtol=1e-6)
  # d/dlogit of bin 0, whose target is 0, is its probability 1/5, times 1/4.
  np.testing.assert_allclose(
    gradient.reward_logits[:, 0], [0] + [0.05] * 4, rtol=1e-6)


def test_masked_rows_may_hold_anything():
  rng = np.random.default_rng(2)
  output, target = random_output(rng, 3), random_target(rng, 3)
  target = target._replace(
    value_mask=jnp.array([1.0, 1.0, 0.0, 1.0]),
    policy_mask=jnp.array([1.0, 1.0, 0.0, 1.0]),
    reward_mask=jnp.array([1.0, 0.0, 1.0]))
  dirty = target._replace(
    value=target.value.at[2].set(jnp.nan),
    policy=target.policy.at[2].set(jnp.nan),
    reward=target.reward.at[1].set(jnp.inf))
  chex.assert_trees_all_close(loss(output, dirty), loss(output, target))
  gradient = gradient_of_total(output, dirty)
  chex.assert_tree_all_finite(gradient)


def test_no_gradient_flows_into_the_targets():
  rng = np.random.default_rng(3)
  output, target = random_output(rng, 3), random_target(rng, 3)
  gradient = jax.grad(
    lambda value: loss(output, target._replace(value=value)).total)(
      target.value)
  np.testing.assert_array_equal(gradient, np.zeros(4))


def test_scalar_heads():
  rng = np.random.default_rng(4)
  raw = transforms.scalar(transformed=False)
  output, target = random_output(rng, 1), random_target(rng, 1)
  output = output._replace(
    value_logits=jnp.array([[1.0], [2.0]]),
    reward_logits=jnp.array([[9.0], [3.0]]))
  target = target._replace(
    value=jnp.array([0.5, 0.0]), reward=jnp.array([1.0]))
  result = losses.muzero_loss(
    output, target, value_transform=raw, reward_transform=raw,
    policy_weight=0.0, value_weight=2.0, reward_weight=3.0)
  np.testing.assert_allclose(result.value, [0.25, 4.0])
  np.testing.assert_allclose(result.reward, [4.0])
  np.testing.assert_allclose(result.total, 2.0 * 4.25 + 3.0 * 4.0)


def test_masked_mean_leaves_out_what_is_masked():
  x = jnp.array([[1.0, jnp.nan, 3.0], [5.0, jnp.inf, 7.0]])
  mask = jnp.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
  assert losses.masked_mean(x, mask) == 3.0
  np.testing.assert_array_equal(
    losses.masked_mean(x, mask, 0), [3.0, 0.0, 3.0])
