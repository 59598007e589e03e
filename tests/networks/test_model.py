"""Model: the unroll, its gradients and their scale."""

import chex
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax.networks import model
from muzero_jax.types import Model, ModelOutput

K = 3


def test_unroll_is_root_and_then_steps():
  functions = helpers.tiny_model()
  observation = jax.random.normal(jax.random.key(0), (2, 5))
  action = jnp.array([[0, 1, 2], [2, 2, 0]])
  params = functions.init(jax.random.key(1), observation)
  params = helpers.random_params(params, jax.random.key(2))

  @jax.jit
  def by_hand(params):
    outputs = [functions.root(params, observation)]
    for k in range(K):
      outputs.append(functions.step(params, outputs[-1].state, action[:, k]))
    return outputs

  unrolled = jax.jit(
    lambda params: model.unroll(functions, params, observation, action)
  )(params)
  assert unrolled.state is None
  for name in ('policy_logits', 'value_logits', 'reward_logits'):
    expected = jnp.stack(
      [getattr(output, name) for output in by_hand(params)], axis=1
    )
    chex.assert_shape(getattr(unrolled, name), (2, K + 1, None))
    np.testing.assert_allclose(
      getattr(unrolled, name), expected, rtol=1e-4, atol=1e-5
    )
  np.testing.assert_array_equal(unrolled.reward_logits[:, 0], 0)
  assert not np.allclose(unrolled.reward_logits[:, 1:], 0)


def linear_model():
  """h(o) = h o, g(s, a) = g s + a, and all heads read the state itself."""

  def output(state):
    return ModelOutput(state, *[state[:, None]] * 3)

  return Model(
    init=lambda rng_key, observation: None,
    root=lambda params, observation: output(params['h'] * observation),
    step=lambda params, state, action: output(params['g'] * state + action),
  )


@pytest.mark.parametrize('row', range(K + 1))
def test_state_gradient_halves_at_each_dynamics_call_and_only_there(row):
  params = {'h': jnp.float32(3.0), 'g': jnp.float32(2.0)}
  observation, action = jnp.array([5.0]), jnp.zeros((1, K), jnp.int32)

  def head(params):
    unrolled = model.unroll(linear_model(), params, observation, action)
    return unrolled.value_logits[0, row, 0]

  value, grads = jax.value_and_grad(head)(params)
  # s_k = g^k h o: forward nothing is scaled.
  np.testing.assert_allclose(value, 2.0**row * 15.0)
  # h is reached through `row` calls: (g / 2)^row o.
  np.testing.assert_allclose(grads['h'], (2.0 / 2) ** row * 5.0)
  # g at call k sees s_k in full, and reaches the head through the row - 1 - k
  # calls after it, each of which halves: its own output is not scaled.
  expected = sum(
    (2.0 / 2) ** (row - 1 - k) * 2.0**k * 15.0 for k in range(row)
  )
  np.testing.assert_allclose(grads['g'], expected)


def test_state_gradient_scale_is_an_argument():
  params = {'h': jnp.float32(3.0), 'g': jnp.float32(2.0)}

  def head(params, scale):
    unrolled = model.unroll(
      linear_model(), params, jnp.array([5.0]), jnp.zeros((1, K), jnp.int32),
      state_gradient_scale=scale,
    )
    return unrolled.value_logits[0, K, 0]

  assert jax.grad(head)(params, 1.0)['h'] == 2.0**K * 5.0
  assert jax.grad(head)(params, 0.0)['h'] == 0.0


def test_init_makes_the_parameters_of_all_three_functions():
  functions = helpers.tiny_model()
  params = functions.init(jax.random.key(0), jnp.zeros((1, 5)))
  assert {'encoder', 'transition', 'reward_head', 'value_head',
          'policy_head'} <= set(params['params'])
