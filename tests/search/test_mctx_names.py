"""A program written for mctx, in which the import alone is changed."""

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest

from muzero_jax import search


def test_all_of_its_names_are_here():
  names = [name for name in dir(mctx) if name[0] != '_']
  assert len(names) > 20
  for name in names:
    assert hasattr(search, name), name
  assert set(search.__all__) <= set(dir(search))


def _self_play(library, params, num_games=4, num_moves=6):
  """AlphaZero's self-play as pgx's users write it, with the true rules."""
  pgx = pytest.importorskip('pgx')
  env = pgx.make('tic_tac_toe')
  step = jax.vmap(env.step)

  def evaluate(observation):
    x = observation.reshape(len(observation), -1).astype(jnp.float32)
    out = jnp.tanh(x @ params)
    return out[:, :9], jnp.tanh(out[:, 9])

  def recurrent_fn(params, rng_key, action, state):
    del params, rng_key
    player = state.current_player
    state = step(state, action)
    logits, value = evaluate(state.observation)
    logits -= logits.max(axis=-1, keepdims=True)
    logits = jnp.where(
      state.legal_action_mask, logits, jnp.finfo(logits.dtype).min)
    reward = state.rewards[jnp.arange(len(player)), player]
    value = jnp.where(state.terminated, 0.0, value)
    discount = jnp.where(state.terminated, 0.0, -1.0)
    return library.RecurrentFnOutput(
      reward=reward, discount=discount, prior_logits=logits, value=value
    ), state

  def body(state, rng_key):
    logits, value = evaluate(state.observation)
    root = library.RootFnOutput(
      prior_logits=logits, value=value, embedding=state)
    policy_output = library.gumbel_muzero_policy(
      params=None, rng_key=rng_key, root=root, recurrent_fn=recurrent_fn,
      num_simulations=8, invalid_actions=~state.legal_action_mask,
      qtransform=library.qtransform_completed_by_mix_value, gumbel_scale=1.0)
    return step(state, policy_output.action), policy_output.action_weights

  keys = jax.random.split(jax.random.key(0), num_games)
  state = jax.vmap(env.init)(keys)
  _, weights = jax.lax.scan(
    body, state, jax.random.split(jax.random.key(1), num_moves))
  return weights


def test_self_play_of_alphazero_is_the_same():
  params = jax.random.normal(jax.random.key(3), (18, 10))
  ours, theirs = (
    np.asarray(jax.jit(_self_play, static_argnums=0)(library, params))
    for library in (search, mctx))
  np.testing.assert_array_equal(ours, theirs)
  assert ours.shape == (6, 4, 9) and len(np.unique(ours)) > 20
