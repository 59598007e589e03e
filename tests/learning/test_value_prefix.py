"""Value prefixes: sums, differences, memory, and a search that is the same."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TRANSFORM, random_params

from muzero_jax import config, networks, transforms
from muzero_jax.errors import UserError
from muzero_jax.learning import value_prefix
from muzero_jax.networks import model
from muzero_jax.types import Model, ModelOutput, PrefixState

A, D = 3, TRANSFORM.num_outputs
IDENTITY = transforms.scalar(transformed=False)


def test_sums_start_anew_and_differences_undo_them():
  reward = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])
  found = value_prefix.sums(reward, steps=2)
  np.testing.assert_array_equal(found, [1, 3, 4, 12, 16])
  np.testing.assert_array_equal(
    value_prefix.sums(reward, steps=5), [1, 3, 7, 15, 31]
  )
  np.testing.assert_array_equal(
    value_prefix.sums(reward, steps=9), [1, 3, 7, 15, 31]
  )
  assert value_prefix.sums(reward, steps=0) is reward
  batch = jnp.stack([reward, reward[::-1]])
  for steps in (0, 1, 2, 3, 7):
    np.testing.assert_array_equal(
      value_prefix.differences(
        value_prefix.sums(batch, steps=steps), steps=steps
      ),
      batch,
    )


@functools.cache
def tiny(kind):
  common = dict(
    num_actions=A, num_outputs=D, num_blocks=0, head_hidden=8, prefix_steps=2,
    prefix_units=4,
  )
  if kind == 'mlp':
    network, shape = networks.MLPNetwork(width=8, **common), (4,)
  else:
    network = networks.BoardResNet(channels=4, head_channels=2, **common)
    shape = (3, 3, 2)
  functions = model.make_model(network)
  params = functions.init(jax.random.key(0), jnp.zeros((1, *shape)))
  return functions, random_params(params, jax.random.key(1)), shape


@pytest.mark.parametrize('kind', ['mlp', 'board'])
def test_memory_reaches_back_to_the_last_clearing(kind):
  functions, params, shape = tiny(kind)
  assert functions.prefix_steps == 2
  seen = jax.random.normal(jax.random.key(2), (2, *shape))
  step = jax.jit(functions.step)

  def play(state, actions):
    for action in actions:
      output = step(params, state, jnp.full(2, action))
      state = output.state
    return output

  root = functions.root(params, seen).state
  assert isinstance(root, PrefixState)
  np.testing.assert_array_equal(root.num_steps, 0)
  first = play(root, [0])
  np.testing.assert_array_equal(first.state.num_steps, 1)
  # The second transition remembers the first.
  other = first.state._replace(
    memory=jax.tree.map(lambda m: m + 1, first.state.memory)
  )
  there, here = play(other, [1]), play(first.state, [1])
  assert not np.allclose(there.reward_logits, here.reward_logits)
  np.testing.assert_array_equal(there.value_logits, here.value_logits)
  # The third does not.
  second = here.state
  forgetful = second._replace(
    memory=jax.tree.map(lambda m: m + 1, second.memory)
  )
  np.testing.assert_array_equal(
    play(forgetful, [2]).reward_logits, play(second, [2]).reward_logits
  )


def test_unroll_carries_the_memory():
  functions, params, shape = tiny('mlp')
  seen = jax.random.normal(jax.random.key(2), (2, *shape))
  action = jnp.array([[0, 1, 2], [2, 2, 0]])
  found = model.unroll(functions, params, seen, action)
  state = functions.root(params, seen).state
  for k in range(3):
    output = functions.step(params, state, action[:, k])
    np.testing.assert_allclose(
      found.reward_logits[:, k + 1], output.reward_logits, atol=1e-4
    )
    state = output.state


def counting(prefix_steps):
  """A known game: hidden states are numbers, each action pays its own way."""

  def heads(hidden, paid):
    policy = jnp.stack([hidden % 3, hidden % 2, 0 * hidden], axis=1)
    return paid[:, None], (hidden % 7)[:, None] / 5.0, policy * 0.3

  def root(params, observation):
    del params
    hidden = observation[:, 0]
    zero = jnp.zeros_like(hidden)
    state = PrefixState(hidden, (zero, zero), zero.astype(jnp.int32))
    return ModelOutput(
      state if prefix_steps else hidden, *heads(hidden, zero)
    )

  def step(params, state, action):
    del params
    hidden = state.hidden if prefix_steps else state
    new = 2 * hidden + action + 1
    reward = jnp.sin(3.0 * new)
    if not prefix_steps:
      return ModelOutput(new, *heads(new, reward))
    so_far = jnp.where(
      state.num_steps % prefix_steps == 0, 0.0, state.memory[0]
    ) + reward
    made = PrefixState(new, (so_far, so_far), state.num_steps + 1)
    return ModelOutput(made, *heads(new, so_far))

  return Model(
    lambda *x: None, root, step, prefix_steps=prefix_steps
  )


@pytest.mark.parametrize('policy', ['gumbel', 'muzero'])
def test_a_search_by_differences_is_that_by_rewards(policy):
  seen = jnp.array([[1.0], [4.0], [6.0]])
  found = [
    jax.jit(helpers.make_search(
      counting(steps), IDENTITY, IDENTITY, policy=policy, num_simulations=30,
      noise=False, discount=0.9,
    ))(None, jax.random.key(0), seen, jnp.ones((3, A), bool))
    for steps in (0, 2)
  ]
  np.testing.assert_array_equal(found[0].action, found[1].action)
  np.testing.assert_allclose(found[0].value, found[1].value, rtol=1e-4)
  np.testing.assert_allclose(
    found[0].policy, found[1].policy, rtol=1e-3, atol=1e-5
  )


def test_not_with_chance():
  with pytest.raises(UserError, match='prefix_steps = 5 .* chance_codes'):
    config.from_fields(dict(
      network='mlp', prefix_steps=5, chance_codes=4
    ))
