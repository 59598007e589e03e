"""Resets that only some steps pay for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_game

from muzero_jax import train, types
from muzero_jax.envs import base
from muzero_jax.errors import UserError

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


def test_a_time_limit_cuts_whatever_ends_later():
  environment = base.with_time_limit(_make(8, False), 2)
  assert environment.spec.max_episode_steps == 2
  _, rows = _play(environment, jax.random.key(0))
  rows = jax.tree.map(np.asarray, rows)
  first, last = rows.is_first, rows.is_last
  # Those that end by themselves before keep their discount of 0.
  assert (first[1:] == last[:-1]).all()
  for column in range(8):
    ends = np.flatnonzero(last[:, column])
    assert set(np.diff(ends)) <= {2, 3} and len(ends) > 10
  assert (rows.discount[last] == 0).any() and (rows.discount[last] == 1).any()
  assert base.with_time_limit(_make(8, False), 9).spec.max_episode_steps == 5


@pytest.mark.parametrize('dtype', [bool, np.int32, np.float32, np.uint8])
def test_a_mask_may_be_of_any_numbers(dtype):
  environment = base.make_environment(
    SPEC, 2, reset=lambda key: jnp.int32(0),
    step=lambda state, action, key: base.Transition(
      state + 1, jnp.float32(0), jnp.bool_(False)),
    observe=lambda state: jnp.zeros(2),
    legal_actions=lambda state: jnp.array([0, 1]).astype(dtype))
  _, row = environment.init(jax.random.key(0))
  assert row.legal_actions.dtype == np.bool_
  assert row.legal_actions.tolist() == [[False, True]] * 2


def _two_players(**changes):
  return base.make_environment(
    SPEC._replace(num_players=2), 2, reset=lambda key: jnp.int32(0),
    step=lambda state, action, key: base.Transition(
      state + 1, jnp.float32(0), jnp.bool_(False)),
    observe=lambda state: jnp.zeros(2), **changes)


def test_two_players_need_to_know_who_moves():
  with pytest.raises(UserError, match='walk: num_players = 2 needs to_play'):
    _two_players()
  assert _two_players(to_play=lambda state: state % 2).spec.num_players == 2


@pytest.mark.parametrize('changes, words', [
  (dict(legal_actions=lambda state: jnp.zeros(2)), 'each row needs a legal'),
  (dict(to_play=lambda state: state * 0), 'two players must alternate'),
  (dict(to_play=lambda state: state % 2 + 1), 'to_play must be below 2'),
  (dict(observe=lambda state: jnp.zeros(3)),
   r'observation is float32\[1, 3\], expected float32\[1, 2\]'),
  (dict(observe=lambda state: jnp.zeros(2, jnp.int32)),
   r'observation is int32\[1, 2\], expected float32'),
  (dict(observe=lambda state: jnp.full(2, jnp.nan)), 'must be finite'),
])
def test_a_users_own_is_looked_at_before_training(tmp_path, changes, words):
  """By `train.run`, whoever made it, before anything is written."""

  def make_env(config, *, num_envs=None, evaluation=False, seed=None):
    found = dict(to_play=lambda state: state % 2) | changes
    environment = base.make_environment(
      SPEC._replace(num_players=2), num_envs or config.num_envs,
      reset=lambda key: jnp.int32(0),
      step=lambda state, action, key: base.Transition(
        state + 1, jnp.float32(0), jnp.bool_(False)),
      **{'observe': lambda state: jnp.zeros(2), **found})
    return environment

  with pytest.raises(UserError, match=words):
    train.run(tiny_game.config(), tmp_path / 'run', make_env=make_env)
  assert not (tmp_path / 'run').exists()
