"""A program written for mctx, in which the import alone is changed."""

import functools

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


def _self_play(library, env, params, num_games=4, num_moves=6):
  """AlphaZero's self-play as pgx's users write it, with the true rules."""
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
  pgx = pytest.importorskip('pgx')
  params = jax.random.normal(jax.random.key(3), (18, 10))
  ours, theirs = (
    np.asarray(jax.jit(functools.partial(
      _self_play, library, pgx.make('tic_tac_toe')))(params))
    for library in (search, mctx))
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
  assert ours.shape == (6, 4, 9) and len(np.unique(ours)) > 20


@pytest.mark.parametrize('name, shape', [
  ('reward', (2, 1)), ('discount', (3,)), ('value', (5,)),
  ('prior_logits', (2, 4))])
@pytest.mark.parametrize('library', [search.gumbel_muzero_policy,
                                     search.muzero_policy])
def test_an_output_of_the_wrong_shape_is_named(library, name, shape):
  shapes = dict(
    reward=(2,), discount=(2,), value=(2,), prior_logits=(2, 3)) | {name: shape}

  def step(params, rng_key, action, state):
    return mctx.RecurrentFnOutput(
      **{key: jnp.zeros(value) for key, value in shapes.items()}), state

  root = mctx.RootFnOutput(
    prior_logits=jnp.zeros((2, 3)), value=jnp.zeros(2), embedding=jnp.zeros(2))
  with pytest.raises(AssertionError, match=f"recurrent_fn's {name}"):
    library((), jax.random.key(0), root, step, 4)
