"""Tiny environments and networks, and what several test files do with them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from muzero_jax import networks, search, transforms
from muzero_jax.networks import model
from muzero_jax.types import Environment, EnvSpec, TimeStep

TRANSFORM = transforms.categorical(num_bins=11, max_value=10.0)


class CountingState(NamedTuple):
  """State of B counting environments."""

  step: Any  # [B] steps of the running episode.
  episode: Any  # [B] episodes before it.
  env: Any  # [B] index of the environment.
  last_action: Any  # [B] action that led here, -1 for none.


def counting_env(num_envs, *, num_actions=3, num_players=1, base_length=3):
  """Environments in which everything follows from what is observed.

  Observation: (environment, episode, step, last action). Episodes of
  environment e last `base_length` + e % 3 steps; even ones terminate, odd ones
  are truncated. Step s pays s + 1 + 100 * action. Action s % A is illegal.
  """
  spec = EnvSpec(
    name='test/counting',
    observation_shape=(4,),
    observation_dtype=np.float32,
    num_actions=num_actions,
    num_players=num_players,
  )

  def row(state, reward):
    is_last = state.step == base_length + state.env % 3
    terminated = is_last & (state.episode % 2 == 0)
    columns = (state.env, state.episode, state.step, state.last_action)
    return TimeStep(
      observation=jnp.stack(columns, axis=1).astype(jnp.float32),
      reward=reward.astype(jnp.float32),
      discount=1.0 - terminated.astype(jnp.float32),
      is_first=state.step == 0,
      is_last=is_last,
      legal_actions=(
        jnp.arange(num_actions) != (state.step % num_actions)[:, None]
      ),
      to_play=state.step % num_players,
    )

  def init(rng_key):
    # Environments on several devices are told apart by their keys.
    del rng_key
    zero = jnp.zeros(num_envs, jnp.int32)
    state = CountingState(
      zero, zero, jnp.arange(num_envs, dtype=jnp.int32), zero - 1
    )
    return state, row(state, jnp.zeros(num_envs))

  def step(state, action, rng_key):
    del rng_key
    ended = state.step == base_length + state.env % 3
    reward = jnp.where(ended, 0, state.step + 1 + 100 * action)
    state = CountingState(
      step=jnp.where(ended, 0, state.step + 1),
      episode=state.episode + ended,
      env=state.env,
      last_action=jnp.where(ended, -1, action),
    )
    return state, row(state, reward)

  return Environment(spec, init, step)


def tiny_model(num_actions=3, *, width=8, num_outputs=11, **kwargs):
  """The smallest MLP; its heads are zero until something trains them."""
  return model.make_model(
    networks.MLPNetwork(
      num_actions=num_actions,
      num_outputs=num_outputs,
      width=width,
      num_blocks=0,
      head_hidden=8,
      **kwargs,
    )
  )


def make_search(model, value_transform, reward_transform, **kwargs):
  """`search.make_search` with settings and arguments by name.

  Settings of the other policy may be among them; they do not count.
  """
  record = search.PUCT if kwargs.pop('policy', 'gumbel') == 'muzero' else (
    search.Gumbel)
  own = {name: kwargs.pop(name) for name in ('discount', 'num_players', 'noise')
         if name in kwargs}
  fields = {x.name for x in dataclasses.fields(record)}
  others = {
    x.name for other in (search.PUCT, search.Gumbel)
    for x in dataclasses.fields(other)} - fields
  kwargs = {k: v for k, v in kwargs.items() if k not in others}
  return search.make_search(
    model, value_transform, reward_transform, record(**kwargs), **own)


def random_params(params, rng_key, scale=0.3):
  """Parameters with noise, so that no head is zero."""
  leaves, treedef = jax.tree.flatten(params)
  keys = jax.random.split(rng_key, len(leaves))
  return jax.tree.unflatten(treedef, [
    x + scale * jax.random.normal(key, x.shape)
    for x, key in zip(leaves, keys)
  ])


def assert_trees_equal(a, b):
  """Bit for bit."""
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(_plain(x), _plain(y)), a, b
  )


def _plain(x):
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  return np.asarray(x)


def reward_losses(network, draw, observation, *, num_updates):
  """Trains a network's rewards on fresh batches; returns the share of their
  variance [num_updates] that is not explained.

  Args:
    network: of one reward output.
    draw: key -> observations, actions and rewards.
    observation: one, to begin with.
    num_updates: of Adam.
  """
  functions = model.make_model(network)
  optimiser = optax.adam(1e-2)

  def loss(params, key):
    seen, action, reward = draw(key)
    state = functions.root(params, seen).state
    found = functions.step(params, state, action).reward_logits[:, 0]
    return jnp.mean((found - reward) ** 2) / jnp.var(reward)

  def update(carry, key):
    params, state = carry
    value, gradient = jax.value_and_grad(loss)(params, key)
    change, state = optimiser.update(gradient, state)
    return (optax.apply_updates(params, change), state), value

  # Threefry takes longer to compile than the networks.
  key = jax.random.key(0, impl='rbg')
  params = jax.jit(functions.init)(key, observation)
  keys = jax.random.split(jax.random.key(1), num_updates)
  return jax.jit(lambda carry: jax.lax.scan(update, carry, keys)[1])(
    (params, optimiser.init(params)))
