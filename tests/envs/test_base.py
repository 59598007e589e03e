"""Resets that only some steps pay for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import types
from muzero_jax.envs import base

SPEC = types.EnvSpec(
  name='walk', observation_shape=(2,), observation_dtype=np.dtype(np.float32),
  num_actions=2, max_episode_steps=5)


def _make(num_envs, reset_is_dear, reset_hook=lambda: None):
  """Walks to 1 from a drawn place: episodes have different lengths.

  The state holds a key, an integer and floats; `reset_hook` is called by the
  host whenever the batch is reset.
  """

  def reset(key):
    place_key, own_key = jax.random.split(key)
    jax.debug.callback(reset_hook)
    # A weak type, as a user writes it.
    return own_key, jax.random.uniform(place_key), 0

  def step(state, action, key):
    own_key, place, count = state
    own_key, step_key = jax.random.split(own_key)
    place += 0.3 * action * jax.random.uniform(step_key)
    return base.Transition(
      (own_key, place, count + 1), place - 0.5, place > 1, count > 2)

  return base.make_environment(
    SPEC, num_envs, reset=reset, step=step,
    observe=lambda state: jnp.stack([state[1], state[2] * 1.0]),
    reset_is_dear=reset_is_dear)


def _play(environment, key, num_steps=40):
  init_key, play_key = jax.random.split(key)

  def body(carry, key):
    state, row = carry
    action_key, step_key = jax.random.split(key)
    action = jax.random.bernoulli(
      action_key, shape=row.is_first.shape).astype(jnp.int32)
    new = environment.step(state, action, step_key)
    return new, new

  first = environment.init(init_key)
  _, played = jax.lax.scan(
    body, first, jax.random.split(play_key, num_steps))
  state, rows = played
  return state._replace(state=(
    jax.random.key_data(state.state[0]), *state.state[1:])), rows


@pytest.mark.parametrize('seeds', [(), (3,)], ids=['jit', 'vmap'])
def test_a_dear_reset_gives_the_same_rows_and_states(seeds):
  keys = jax.random.key(1)
  run = lambda env: jax.jit(lambda key: _play(env, key))
  if seeds:
    keys = jax.random.split(keys, seeds)
    run = lambda env: jax.jit(jax.vmap(lambda key: _play(env, key)))
  cheap, dear = (
    jax.tree.map(np.asarray, run(_make(4, is_dear))(keys))
    for is_dear in (False, True))
  jax.tree.map(np.testing.assert_array_equal, dear, cheap)
  assert [x.dtype for x in jax.tree.leaves(dear)] == [
    x.dtype for x in jax.tree.leaves(cheap)]
  # Some steps reset all, some or none of the four.
  count = cheap[1].is_first.sum(axis=-1)
  assert {0, 1} <= {*count.ravel().tolist()}
  assert cheap[1].discount.min() == 0  # Some episodes terminate,
  cut_off = cheap[1].is_last & (cheap[1].discount == 1)
  assert cut_off.any()  # and some are cut off.


@pytest.mark.parametrize('is_dear', [False, True])
def test_a_dear_reset_runs_where_an_episode_begins(is_dear):
  calls = []
  environment = _make(2, is_dear, lambda: calls.append(1))
  step = jax.jit(environment.step)
  state, row = jax.jit(environment.init)(jax.random.key(0))
  jax.effects_barrier()
  calls.clear()
  num_resetting = 0
  for i in range(12):
    state, row = step(state, jnp.zeros(2, jnp.int32), jax.random.key(i))
    num_resetting += bool(row.is_first.any())
  jax.effects_barrier()
  assert 0 < num_resetting < 12
  # Called once for the whole batch, of which it takes nothing.
  assert len(calls) == (num_resetting if is_dear else 12)


def test_checks_have_their_names_here():
  environment = _make(3, True)
  rows = base.check_environment(
    environment, jax.random.key(0), num_steps=20).rows
  base.check_rows(SPEC, rows)
  assert rows.is_last.any()
