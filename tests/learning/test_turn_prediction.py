"""Turns: the loss against an oracle, and a game that needs the true order."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import config, targets, transforms
from muzero_jax.drivers import build
from muzero_jax.envs import base
from muzero_jax.errors import UserError
from muzero_jax.learning import total_loss, turn_prediction
from muzero_jax.search import model_functions
from muzero_jax.types import (
  AfterstateOutput,
  EnvSpec,
  Model,
  ModelOutput,
  Sequence,
)

IDENTITY = transforms.scalar(transformed=False)


def test_the_decision_is_hard():
  logits = jnp.array([-3.0, -0.1, 0.1, 5.0])
  np.testing.assert_allclose(
    model_functions._signed_discounts(logits, 0.9), [0.9, 0.9, -0.9, -0.9])


def make_rows(rng, end=None, how=None):
  """A window of 6 rows whose episode is over, or cut off, at row `end`."""
  is_last, discount = np.zeros(6, bool), np.ones(6, np.float32)
  if end is not None:
    is_last[end], discount[end] = True, how == 'cut'
  return Sequence(
    observation=np.zeros((6, 1)), reward=rng.normal(size=6),
    discount=discount, is_last=is_last,
    legal_actions=np.ones((6, 2), bool), to_play=np.zeros(6, int),
    action=np.zeros(6, np.int32), policy=np.full((6, 2), 0.5),
    value=rng.normal(size=6))


def test_loss_equals_an_oracle():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(5, 3)).astype(np.float32)
  to_play = rng.integers(0, 2, (5, 6))
  # The first row with is_last, whether it terminated; what counts then.
  ends = [(None, None), (3, 'cut'), (3, 'over'), (1, 'cut'), (0, 'over')]
  counts = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
  sequences = [make_rows(rng, *end)._replace(to_play=to_play[i])
               for i, end in enumerate(ends)]
  target = jax.vmap(functools.partial(
    targets.make_targets, unroll_steps=3, td_steps=2, discount=1.0))(
      jax.random.split(jax.random.key(0), 5),
      jax.tree.map(lambda *x: np.stack(x), *sequences))
  total, metrics = turn_prediction.batch_loss(
    jnp.asarray(logits), jnp.asarray(to_play), target, weight=2.0)
  losses, right, wanted = [], [], np.zeros(5)
  for i in range(5):
    for k in range(3):
      if counts[i, k]:
        p = 1 / (1 + np.exp(-logits[i, k]))
        passes = to_play[i, k] != to_play[i, k + 1]
        losses.append(-np.log(p if passes else 1 - p))
        right.append((p > 0.5) == passes)
        wanted[i] += 2.0 * losses[-1] / 3
  np.testing.assert_allclose(total, wanted, rtol=1e-5)
  np.testing.assert_allclose(metrics['turn_loss'], np.mean(losses), rtol=1e-5)
  np.testing.assert_allclose(metrics['turn_accuracy'], np.mean(right))


# --- A game of three moves; each edge of its tree may pass the turn or not ---

# Nodes as in a heap: the children of n are 2 n + 1 and 2 n + 2.
DEPTH, NUM_LEAVES = 3, 8
FIRST_LEAF = NUM_LEAVES - 1
NUM_NODES = 2 * NUM_LEAVES - 1


def random_games(count, seed=0):
  """Whether the move into each node passes the turn, and what it pays."""
  rng = np.random.default_rng(seed)
  passes = rng.random((count, NUM_NODES)) < 0.5
  reward = rng.uniform(-1, 1, (count, NUM_NODES))
  reward[:, :FIRST_LEAF] = 0  # Only the end pays.
  return passes, reward


def brute_force(passes, reward, node=0):
  """The value of a node for who is to move there, and that of both moves."""
  if node >= FIRST_LEAF:
    return 0.0, None
  moves = []
  for child in (2 * node + 1, 2 * node + 2):
    sign = -1 if passes[child] else 1
    moves.append(reward[child] + sign * brute_force(passes, reward, child)[0])
  return max(moves), moves


def model_of(games, *, knows_turns):
  """The true rules as a stochastic model; chance says nothing.

  State and afterstate: (game, node). `params` holds the rules.
  """

  def lookup(table, state):
    index = state.astype(jnp.int32)
    inside = index[:, 1] < NUM_NODES
    found = table[index[:, 0], jnp.minimum(index[:, 1], NUM_NODES - 1)]
    return jnp.where(inside, found, 0)

  def predict(state, reward):
    zero = jnp.zeros((len(state), 1))
    return ModelOutput(state, reward[:, None], zero, jnp.zeros((len(state), 2)))

  def afterstate(params, state, action):
    node = 2 * state[:, 1] + 1 + action
    after = jnp.stack([state[:, 0], node], axis=1)
    return AfterstateOutput(
      after, jnp.zeros((len(state), 1)),
      jnp.broadcast_to(jnp.array([0.0, -30.0]), (len(state), 2)))

  return Model(
    init=lambda *_: games,
    root=lambda params, x: predict(x, jnp.zeros(len(x))),
    step=lambda *_: None,
    afterstate=afterstate,
    chance=lambda params, after, code: predict(
      after, lookup(params[1], after)),
    encode=lambda *_: None,
    num_codes=2,
    turn=(
      lambda params, after: jnp.where(lookup(params[0], after), 1.0, -1.0)
    ) if knows_turns else None,
  )


@pytest.mark.parametrize('policy', ['muzero', 'gumbel'])
def test_only_the_true_turns_find_the_best_move(policy):
  """In 64 random games, against brute force."""
  count = 64
  passes, reward = random_games(count)
  worth = np.array([
    brute_force(*game)[1] for game in zip(passes, reward)])
  best = worth.argmax(axis=1)
  # Means over simulations only approach a maximum, pUCT's slowly.
  clear = np.abs(worth[:, 0] - worth[:, 1]) > 0.6
  assert clear.sum() > 30
  params = jnp.asarray(passes), jnp.asarray(reward, jnp.float32)
  roots = jnp.stack([jnp.arange(count), jnp.zeros(count)], axis=1)
  right = {}
  for knows in (True, False):
    run = helpers.make_search(
      model_of(params, knows_turns=knows), IDENTITY, IDENTITY, policy=policy,
      num_simulations=400, discount=1.0, num_players=2, noise=False,
      gumbel_value_scale=1.0, pb_c_init=2.0)
    found = jax.jit(run)(
      params, jax.random.key(0), roots.astype(jnp.float32),
      jnp.ones((count, 2), bool))
    right[knows] = (np.asarray(found.action) == best)[clear]
  assert right[True].mean() > 0.95
  assert right[False].mean() < 0.7


# --- Where it is built ---

SPEC = EnvSpec('test/turns', (3,), np.float32, 2, num_players=2)


def test_only_games_that_do_not_alternate_predict_turns():
  make = lambda **fields: config.from_fields(dict(  # noqa: E731
    network='mlp', num_channels=8, head_hidden=8, num_blocks=0, **fields))
  stochastic = make(chance_codes=4)
  own = SPEC._replace(alternates=False)
  plain = build.make_system(stochastic, SPEC).model
  assert plain.turn is None
  predicts = build.make_system(stochastic, own).model
  key = jax.random.key(0)
  params = predicts.init(key, jnp.zeros((1, 3)))
  assert set(params['params']) - set(
    plain.init(key, jnp.zeros((1, 3)))['params']) == {'turn_head'}
  assert predicts.turn(params, jnp.zeros((5, 8))).shape == (5,)
  with pytest.raises(UserError, match='chance_codes=0'):
    build.make_system(make(), own)
  assert total_loss.Metrics._field_defaults['turn_accuracy'] is None


def test_one_player_cannot_but_take_turns_with_itself():
  with pytest.raises(UserError, match='alternates: False .* num_players'):
    base.make_environment(
      SPEC._replace(num_players=1, alternates=False), 2,
      reset=lambda key: jnp.zeros(()),
      step=lambda state, action, key: base.Transition(state, 0.0, False),
      observe=lambda state: jnp.zeros(3))
