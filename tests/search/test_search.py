"""Search: toy games with known optima, and every choice that it makes.

The models are written by hand: their "hidden state" is the game's own state,
[B, ...] integers, and their heads are exact or constant.
"""

import functools

import chex
import helpers
import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest

from muzero_jax import search, transforms
from muzero_jax.errors import UserError
from muzero_jax.search import model_functions
from muzero_jax.types import Model, ModelOutput

IDENTITY = transforms.scalar(transformed=False)
POLICIES = ('muzero', 'gumbel')


def output(state, reward, value, policy_logits):
  return ModelOutput(
    state, reward[:, None].astype(jnp.float32),
    value[:, None].astype(jnp.float32), policy_logits,
  )


def make(model, **kwargs):
  kwargs = {'discount': 1.0, 'num_simulations': 32, 'noise': False, **kwargs}
  return jax.jit(helpers.make_search(model, IDENTITY, IDENTITY, **kwargs))


def legal(batch, num_actions):
  return jnp.ones((batch, num_actions), bool)


# --- One player -------------------------------------------------------------

def patience_model():
  """Action 0 pays 1 at once; action 1 twice pays `params` at the second time.

  State: (step, all actions were 1). Two steps, then nothing more happens.
  """

  def predict(state, reward):
    zero = jnp.zeros(len(state))
    return output(state, reward, zero, jnp.zeros((len(state), 2)))

  def root(params, observation):
    return predict(observation, jnp.zeros(len(observation)))

  def step(params, state, action):
    time, patient = state[:, 0], state[:, 1] * (action == 1)
    reward = jnp.where(action == 0, 1.0, 0.0)
    reward = jnp.where((patient == 1) & (time == 1), params, reward)
    state = jnp.stack([time + 1, patient], axis=1)
    return predict(state, jnp.where(time < 2, reward, 0.0))

  return Model(lambda *_: None, root, step)


@pytest.mark.parametrize('policy,q_normalisation', [
  ('muzero', 'siblings'), ('muzero', 'tree'), ('gumbel', 'siblings'),
])
def test_finds_the_optimum_of_one_player(policy, q_normalisation):
  run = make(
    patience_model(), policy=policy, q_normalisation=q_normalisation,
    num_simulations=400, gumbel_value_scale=0.02, discount=0.5,
  )
  for payoff, best in ((10.0, 1), (1.0, 0)):
    # 0.5 payoff against 1 + 0.5; once patience is lost, 1 is all there is.
    result = run(
      jnp.float32(payoff), jax.random.key(0), jnp.array([[0, 1], [0, 0]]),
      legal(2, 2),
    )
    np.testing.assert_array_equal(result.action, [best, 0])
    np.testing.assert_array_equal(result.policy.argmax(1), [best, 0])
    np.testing.assert_array_equal(result.network_value, [0, 0])


def bandit_model():
  """Action a pays rewards[a] and leads to value next_values[a], for good.

  Params: (rewards [A], next values [A], prior logits [A], root value).
  """

  def predict(params, state, reward, value):
    logits = jnp.broadcast_to(params[2], (len(state), len(params[2])))
    return output(state, reward, value, logits)

  def root(params, observation):
    batch = observation.shape[0]
    return predict(
      params, observation, jnp.zeros(batch), jnp.full(batch, params[3])
    )

  def step(params, state, action):
    reward, value = params[0][action], params[1][action]
    return predict(params, state, reward, value)

  return Model(lambda *_: None, root, step)


def bandit(rewards, values, logits=None, root_value=0.0):
  logits = np.zeros(len(rewards)) if logits is None else logits
  return jax.tree.map(jnp.float32, (
    np.array(rewards), np.array(values), np.array(logits), root_value
  ))


@functools.cache
def bandit_search(policy, num_players=1):
  return make(
    bandit_model(), policy=policy, num_players=num_players, discount=0.5,
    num_simulations=24, max_depth=1,
  )


@pytest.mark.parametrize('policy', POLICIES)
def test_reward_plus_discounted_value_decides(policy):
  for rewards, values, best in (
    ([1.0, 0.0, 0.5], [0.0, 3.0, 1.2], 1),  # By value.
    ([1.0, 0.0, 0.5], [0.0, 1.5, 0.8], 0),  # By reward.
    ([-90.0, -10.0, -50.0], [0.0, -99.0, -30.0], 1),  # All below 0.
  ):
    result = bandit_search(policy)(
      bandit(rewards, values), jax.random.key(0), jnp.zeros(1), legal(1, 3)
    )
    assert result.action[0] == best
    np.testing.assert_allclose(
      result.action_value[0], rewards[best] + 0.5 * values[best], rtol=1e-5)


@pytest.mark.parametrize('policy', POLICIES)
def test_root_value_counts_as_one_visit(policy):
  """V = (v_0 + sum of n returns) / (n + 1)."""
  result = bandit_search(policy)(
    bandit([3.0] * 3, [4.0] * 3, root_value=-10.0), jax.random.key(0),
    jnp.zeros(1), legal(1, 3),
  )
  np.testing.assert_allclose(
    result.value, (-10 + 24 * (3 + 0.5 * 4)) / 25, rtol=1e-6
  )
  np.testing.assert_allclose(result.network_value, -10)


@pytest.mark.parametrize('policy', POLICIES)
def test_two_players_see_the_next_value_from_the_other_side(policy):
  """With the turn, the sign of what follows changes; that of r does not."""
  result = bandit_search(policy, num_players=2)(
    bandit([3.0] * 3, [4.0] * 3), jax.random.key(0), jnp.zeros(1),
    legal(1, 3),
  )
  np.testing.assert_allclose(
    result.value, 24 * (3 - 0.5 * 4) / 25, rtol=1e-6
  )


# --- Two players: Nim -------------------------------------------------------

TAKE = 3


def nim_model():
  """Take 1 to 3 sticks in turn; who takes the last one wins (reward 1).

  State: sticks left, at most 0 after the end. Values are unknown (0).
  """

  def root(params, observation):
    zero = jnp.zeros(observation.shape[0])
    return output(observation, zero, zero, jnp.zeros((len(zero), TAKE)))

  def step(params, state, action):
    left = state - (action + 1)
    won = (state > 0) & (left == 0)
    # Taking more than there are loses at once.
    cheated = (state > 0) & (left < 0)
    reward = won * 1.0 - cheated * 1.0
    return output(
      jnp.maximum(left, 0), reward, jnp.zeros_like(reward),
      jnp.zeros((len(reward), TAKE)),
    )

  return Model(lambda *_: None, root, step)


def nim_minimax(sticks):
  """Returns the value for the player to move, and the moves that reach it."""
  if sticks == 0:
    return 0, set()
  scores = {}
  for take in range(1, TAKE + 1):
    if take < sticks:
      scores[take - 1] = -nim_minimax(sticks - take)[0]
    else:
      scores[take - 1] = 1 if take == sticks else -1
  best = max(scores.values())
  return best, {a for a, score in scores.items() if score == best}


@pytest.mark.parametrize('policy,q_normalisation', [
  ('muzero', 'siblings'), ('muzero', 'tree'), ('gumbel', 'siblings'),
])
def test_plays_nim_as_minimax_does(policy, q_normalisation):
  sticks = np.arange(1, 8)
  legal_actions = np.arange(1, TAKE + 1) <= sticks[:, None]
  run = make(
    nim_model(), policy=policy, q_normalisation=q_normalisation,
    num_simulations=200, num_players=2, gumbel_value_scale=1.0,
  )
  result = run(
    None, jax.random.key(0), jnp.asarray(sticks), jnp.asarray(legal_actions)
  )
  for n, left in enumerate(sticks):
    value, best = nim_minimax(int(left))
    if value > 0:
      assert int(result.action[n]) in best
      assert int(result.policy[n].argmax()) in best
    # A mean over the tree, so no more than its sign; Gumbel's root visits
    # the actions that it rejects too often even for that.
    if policy == 'muzero':
      assert np.sign(result.value[n]) == value


# --- Legal actions ----------------------------------------------------------

def random_model(num_actions):
  """A fixed network of states [B, 4]; `params` scales what it predicts."""
  rng = np.random.default_rng(0)
  f32 = lambda *s: jnp.asarray(rng.normal(size=s), jnp.float32)  # noqa: E731
  mix, policy, value, reward = (
    f32(4 + num_actions, 4), f32(4, num_actions), f32(4), f32(4)
  )

  def predict(params, state, rewards):
    return output(
      state, rewards, params * state @ value, params * state @ policy
    )

  def root(params, observation):
    return predict(params, observation, jnp.zeros(observation.shape[0]))

  def step(params, state, action):
    one_hot = jax.nn.one_hot(action, num_actions)
    state = jnp.tanh(jnp.concatenate([state, one_hot], axis=1) @ mix)
    return predict(params, state, params * state @ reward)

  return Model(lambda *_: None, root, step)


B, A = 6, 5


def roots(seed=0, batch=B):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(batch, 4)), jnp.float32)


def masks():
  """Rows with one legal action, with all, and between."""
  mask = np.zeros((B, A), bool)
  for row, actions in enumerate(
    [[2], [0], [4], [0, 3], [1, 2, 4], range(A)]
  ):
    mask[row, list(actions)] = True
  return jnp.asarray(mask)


@functools.cache
def random_search(policy, noise=True, num_simulations=12, **kwargs):
  return make(
    random_model(A), policy=policy, noise=noise,
    num_simulations=num_simulations, **kwargs,
  )


@pytest.mark.parametrize('temperature', [0.0, 1.0, 1e6])
@pytest.mark.parametrize('policy', POLICIES)
def test_illegal_actions_are_neither_played_nor_weighted(policy, temperature):
  for seed in range(5):
    result = random_search(policy)(
      1.0, jax.random.key(seed), roots(seed), masks(), temperature
    )
    assert jnp.take_along_axis(masks(), result.action[:, None], 1).all()
    np.testing.assert_array_equal(
      np.where(masks(), 0, result.policy), np.zeros((B, A))
    )
    np.testing.assert_allclose(result.policy.sum(1), 1, rtol=1e-5)
    # One legal action leaves no choice.
    np.testing.assert_array_equal(result.action[:3], [2, 0, 4])


@pytest.mark.parametrize('policy', POLICIES)
def test_results_have_the_documented_shapes_and_types(policy):
  result = random_search(policy)(1.0, jax.random.key(0), roots(), masks())
  chex.assert_shape(result.action, (B,))
  chex.assert_shape(result.policy, (B, A))
  chex.assert_shape([result.value, result.network_value], (B,))
  assert result.action.dtype == jnp.int32
  chex.assert_tree_all_finite(result)


# --- Noise and temperature --------------------------------------------------

@pytest.mark.parametrize('policy', POLICIES)
def test_without_noise_the_key_and_temperature_make_no_difference(policy):
  run = random_search(policy, noise=False)
  first = run(1.0, jax.random.key(0), roots(), masks(), 0.0)
  for seed in range(1, 4):
    again = run(1.0, jax.random.key(seed), roots(), masks(), 1.0)
    chex.assert_trees_all_equal(first, again)


@pytest.mark.parametrize('policy', POLICIES)
def test_with_noise_the_key_makes_a_difference(policy):
  run = random_search(policy)
  actions = {
    tuple(run(1.0, jax.random.key(seed), roots(), masks()).action.tolist())
    for seed in range(6)
  }
  assert len(actions) > 1


def test_gumbel_at_temperature_0_is_free_of_noise():
  noisy, plain = random_search('gumbel'), random_search('gumbel', noise=False)
  chex.assert_trees_all_equal(
    noisy(1.0, jax.random.key(3), roots(), masks(), 0.0),
    plain(1.0, jax.random.key(4), roots(), masks()),
  )


def test_temperature_is_that_of_each_row():
  """Rows at 0 are greedy beside rows that are not."""
  run = random_search('gumbel')
  greedy = run(1.0, jax.random.key(0), roots(), masks(), 0.0)
  heat = jnp.array([0.0, 1, 0, 1, 0, 0])
  mixed = run(1.0, jax.random.key(1), roots(), masks(), heat)
  cold = np.asarray(heat) == 0
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x[cold], y[cold]), greedy,
    mixed,
  )


@pytest.mark.parametrize('temperature', [0.25, 0.5, 1.0, 2.0])
def test_actions_follow_visits_to_the_power_of_1_over_t(temperature):
  visits = np.array([0, 1, 2, 5, 8], np.float32) / 16
  num_draws = 20_000
  actions = search.sample_action(
    jax.random.key(0), jnp.broadcast_to(visits, (num_draws, A)),
    jnp.full(num_draws, temperature),
  )
  expected = visits ** (1 / temperature)
  expected /= expected.sum()
  shares = np.bincount(actions, minlength=A) / num_draws
  np.testing.assert_allclose(shares, expected, atol=0.015)
  assert shares[0] == 0


@pytest.mark.parametrize('temperature', [0.0, 1e-4])
def test_temperature_0_is_greedy_and_breaks_ties_at_random(temperature):
  weights = jnp.array([[0.1, 0.5, 0.4, 0.0, 0.0], [0.3, 0.3, 0.3, 0.1, 0.0]])
  weights = jnp.tile(weights, (500, 1))
  actions = np.asarray(search.sample_action(
    jax.random.key(0), weights, jnp.full(1000, temperature)
  )).reshape(500, 2)
  assert (actions[:, 0] == 1).all()
  assert (np.bincount(actions[:, 1], minlength=3) > 120).all()


def test_a_high_temperature_is_uniform_over_what_was_visited():
  visits = jnp.broadcast_to(
    jnp.array([0, 0.01, 0.01, 0.08, 0.9]), (8000, A)
  )
  actions = search.sample_action(
    jax.random.key(0), visits, jnp.full(8000, 1e6)
  )
  shares = np.bincount(actions, minlength=A) / 8000
  np.testing.assert_allclose(shares, [0, 0.25, 0.25, 0.25, 0.25], atol=0.03)


@pytest.mark.parametrize('num_legal', [1, 2, 5, 50])
def test_share_of_dirichlet_noise_is_exact_over_legal_actions(num_legal):
  num_actions, fraction, batch = 50, 0.25, 400
  rng = np.random.default_rng(0)
  legal_actions = np.zeros((batch, num_actions), bool)
  for row in legal_actions:
    row[rng.choice(num_actions, num_legal, replace=False)] = True
  logits = rng.normal(size=(batch, num_actions)).astype(np.float32)
  noisy = search.add_dirichlet_noise(
    jax.random.key(0), jnp.asarray(logits), jnp.asarray(legal_actions),
    alpha=0.3, fraction=fraction,
  )
  assert jnp.isfinite(noisy).all()
  mixed = np.asarray(jax.nn.softmax(noisy), np.float64)
  prior = np.where(legal_actions, np.exp(logits), 0)
  prior /= prior.sum(1, keepdims=True)
  noise = (mixed - (1 - fraction) * prior) / fraction
  assert (mixed[~legal_actions] == 0).all()
  # What is added is itself a distribution over the legal actions.
  assert noise.min() > -1e-5
  np.testing.assert_allclose(noise.sum(1), 1, atol=1e-5)
  if num_legal > 1:
    # Variance of a Dirichlet's component: (1 - 1/n) / n / (n alpha + 1).
    spread = noise[legal_actions].var()
    expected = (1 - 1 / num_legal) / num_legal / (num_legal * 0.3 + 1)
    np.testing.assert_allclose(spread, expected, rtol=0.2)


def test_dirichlet_noise_survives_a_small_alpha_and_extreme_logits():
  logits = jnp.array([[1e4, -1e4, 0.0], [0.0, 3e38, 0.0]])
  legal_actions = jnp.array([[True, True, False], [True, False, True]])
  noisy = search.add_dirichlet_noise(
    jax.random.key(0), logits, legal_actions, alpha=1e-3, fraction=0.25
  )
  assert jnp.isfinite(noisy).all()
  probs = jax.nn.softmax(noisy)
  np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-6)
  np.testing.assert_array_equal(np.where(legal_actions, 0, probs), 0)


def test_fraction_0_is_the_prior_over_legal_actions():
  logits = jnp.array([[1.0, 2.0, 3.0]])
  legal_actions = jnp.array([[True, True, False]])
  noisy = search.add_dirichlet_noise(
    jax.random.key(0), logits, legal_actions, alpha=0.3, fraction=0.0
  )
  np.testing.assert_array_equal(noisy[0, :2], logits[0, :2])
  assert noisy[0, 2] == jnp.finfo(jnp.float32).min


# --- Batch and extremes -----------------------------------------------------

@pytest.mark.parametrize('policy,q_normalisation', [
  ('muzero', 'siblings'), ('muzero', 'tree'), ('gumbel', 'siblings'),
])
def test_an_element_does_not_depend_on_the_others(policy, q_normalisation):
  run = random_search(
    policy, noise=False, q_normalisation=q_normalisation
  )
  mixed = roots(0).at[3:].set(1e3 * roots(1)[3:])
  first = run(1.0, jax.random.key(0), roots(0), masks())
  second = run(1.0, jax.random.key(0), mixed, masks().at[4].set(True))
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x[:3], y[:3]), first, second
  )
  order = jnp.array([5, 4, 3, 2, 1, 0])
  turned = run(1.0, jax.random.key(0), roots(0)[order], masks()[order])
  # Equal visits are broken at random, so not the actions.
  chex.assert_trees_all_close(
    (first.policy[order], first.value[order]), (turned.policy, turned.value),
    rtol=1e-5, atol=1e-6,
  )


@pytest.mark.parametrize('policy,q_normalisation', [
  ('muzero', 'siblings'), ('muzero', 'tree'), ('gumbel', 'siblings'),
])
@pytest.mark.parametrize('scale', [0.0, 1e-30, 1e15])
def test_extreme_values_and_logits_give_finite_results(
  policy, q_normalisation, scale
):
  # The searches of the test above.
  run = random_search(policy, noise=False, q_normalisation=q_normalisation)
  result = run(scale, jax.random.key(0), roots(), masks())
  chex.assert_tree_all_finite(result)
  np.testing.assert_allclose(result.policy.sum(1), 1, rtol=1e-5)
  assert jnp.take_along_axis(masks(), result.action[:, None], 1).all()


# --- Normalisation of q -----------------------------------------------------

@functools.cache
def tree_search(num_simulations, discount=0.9):
  model = random_model(A)
  recurrent_fn = functools.partial(
    model_functions._recurrent_fn, model, IDENTITY, IDENTITY, discount
  )

  @jax.jit
  def run(scale, observation):
    root = model_functions.root(model, IDENTITY, scale, observation)
    return mctx.muzero_policy(
      scale, jax.random.key(0), root, recurrent_fn, num_simulations
    ).search_tree

  return run


def built_tree(scale=1.0, num_simulations=10):
  """An mctx tree over one root."""
  tree = tree_search(num_simulations)(scale, roots(batch=1))
  return jax.tree.map(lambda x: x[0], tree)


@pytest.mark.parametrize('scale', [1.0, 1e6])
def test_q_by_tree_is_scaled_by_the_extremes_of_all_visited_edges(scale):
  tree = built_tree(scale)
  q = np.asarray(
    tree.children_rewards + tree.children_discounts * tree.children_values,
    np.float64,
  )
  visited = np.asarray(tree.children_visits) > 0
  low, high = q[visited].min(), q[visited].max()
  assert visited.sum() == 10 and (visited.sum(1) > 0).sum() > 1
  every = jax.vmap(search.qtransform_by_tree, in_axes=(None, 0))(
    tree, jnp.arange(11)
  )
  expected = np.where(visited, (q - low) / (high - low), 0)
  np.testing.assert_allclose(every, expected, atol=1e-5)
  assert every.min() == 0
  np.testing.assert_allclose(every.max(), 1, rtol=1e-6)


def test_q_by_siblings_is_scaled_within_one_node():
  tree = built_tree()
  node = 0
  q = np.asarray(tree.qvalues(node), np.float64)
  visited = np.asarray(tree.children_visits[node]) > 0
  value = float(tree.node_values[node])
  low = min(value, q[visited].min())
  high = max(value, q[visited].max())
  scaled = mctx.qtransform_by_parent_and_siblings(tree, jnp.int32(node))
  np.testing.assert_allclose(
    scaled, np.where(visited, (q - low) / (high - low), 0), atol=1e-5
  )


def test_q_by_tree_without_a_range_is_0():
  empty = built_tree(0.0)
  for node in (0, 1):
    scaled = search.qtransform_by_tree(empty, jnp.int32(node))
    np.testing.assert_array_equal(scaled, np.zeros(A))


# --- Whole trees ------------------------------------------------------------

def chain_model():
  """Two actions; rewards and values that make every q of the tree differ."""

  def predict(state, reward):
    logits = jnp.stack([jnp.zeros_like(state), 0.1 * state], axis=1)
    return output(state, reward, jnp.sin(state), logits)

  def root(params, observation):
    return predict(observation, jnp.zeros_like(observation))

  def step(params, state, action):
    state = 2 * state + action + 1
    return predict(state, jnp.cos(state))

  return Model(lambda *_: None, root, step)


def numpy_puct(num_simulations, discount):
  """MuZero's search in a few lines; ties cannot occur."""
  def node(state):
    logits = np.array([0.0, 0.1 * state])
    prior = np.exp(logits - logits.max())
    return dict(
      state=state, prior=prior / prior.sum(), children={}, visits=1,
      value=np.sin(state), reward=np.cos(state),
    )

  root = node(0.0)
  for _ in range(num_simulations):
    path, current = [root], root
    while True:
      q = np.full(2, np.nan)
      counts = np.zeros(2)
      for a, child in current['children'].items():
        q[a] = child['reward'] + discount * child['value']
        counts[a] = child['visits']
      low = np.nanmin([current['value'], *q])
      high = np.nanmax([current['value'], *q])
      scaled = np.where(
        counts > 0, (np.nan_to_num(q) - low) / max(high - low, 1e-8), 0
      )
      c = 1.25 + np.log((current['visits'] + 19652 + 1) / 19652)
      u = c * current['prior'] * np.sqrt(current['visits']) / (counts + 1)
      action = int(np.argmax(scaled + u))
      if action in current['children']:
        current = current['children'][action]
        path.append(current)
        continue
      leaf = node(2 * current['state'] + action + 1)
      current['children'][action] = leaf
      break
    value, below = leaf['value'], leaf
    for parent in reversed(path):
      value = below['reward'] + discount * value
      total = parent['value'] * parent['visits'] + value
      parent['visits'] += 1
      parent['value'] = total / parent['visits']
      below = parent
  counts = np.array([root['children'][a]['visits'] for a in (0, 1)])
  return counts / counts.sum(), root['value']


@pytest.mark.parametrize('num_players', [1, 2])
def test_muzero_search_is_that_of_the_paper(num_players):
  run = make(
    chain_model(), policy='muzero', discount=0.8, num_simulations=20,
    num_players=num_players,
  )
  result = run(None, jax.random.key(0), jnp.full(1, 0.0), legal(1, 2))
  policy, value = numpy_puct(20, 0.8 if num_players == 1 else -0.8)
  np.testing.assert_allclose(result.policy[0], policy, rtol=1e-5)
  np.testing.assert_allclose(result.value[0], value, rtol=1e-3)


def test_gumbel_policy_is_the_improved_one():
  """softmax(logits + sigma(completed q)); the unvisited take v_mix."""
  num_simulations, scale = 2, 0.1
  rewards, values = [1.0, 2.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0]
  logits = np.array([1.0, 0.5, -1.0, -2.0])
  run = make(
    bandit_model(), policy='gumbel', num_simulations=num_simulations,
    max_depth=1, max_considered_actions=2, gumbel_value_scale=scale,
  )
  result = run(
    bandit(rewards, values, logits, 0.25), jax.random.key(0), jnp.zeros(1),
    legal(1, 4),
  )
  prior = np.exp(logits) / np.exp(logits).sum()
  q = np.array([1.5, 2.0])  # The two actions of the largest logits.
  weighted = (prior[:2] * q).sum() / prior[:2].sum()
  mixed = (0.25 + 2 * weighted) / 3
  completed = np.array([*q, mixed, mixed])
  completed = (completed - completed.min()) / np.ptp(completed)
  improved = np.exp(logits + (50 + 1) * scale * completed)
  np.testing.assert_allclose(
    result.policy[0], improved / improved.sum(), rtol=1e-4
  )
  assert result.action[0] == 1


# --- Arguments --------------------------------------------------------------

@pytest.mark.parametrize('record, name, value', [
  (search.PUCT, 'q_normalisation', 'none'),
  (search.PUCT, 'num_simulations', 0),
  (search.Gumbel, 'num_simulations', 0),
])
def test_bad_settings_are_named(record, name, value):
  with pytest.raises(UserError, match=f'{name} = '):
    record(**{name: value})


def test_a_bad_number_of_players_is_named():
  with pytest.raises(UserError, match='num_players=3'):
    search.make_search(
      nim_model(), IDENTITY, IDENTITY, search.Gumbel(), num_players=3)


def test_simulations_may_be_fewer_than_actions():
  result = random_search('gumbel', num_simulations=1)(
    1.0, jax.random.key(0), roots(), masks()
  )
  chex.assert_tree_all_finite(result)
  assert jnp.take_along_axis(masks(), result.action[:, None], 1).all()


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('dtype', [jnp.int32, jnp.uint8, jnp.float32])
def test_masks_of_numbers_are_masks(policy, dtype):
  plan = helpers.make_search(
    bandit_model(), IDENTITY, IDENTITY, policy=policy, noise=False,
    num_simulations=4,
  )
  params = bandit([0.0, 0.5, 9.0], [0.0, 0.0, 0.0])
  mask = jnp.array([[True, True, False]])
  one, other = (
    plan(params, jax.random.key(0), jnp.zeros(1), m, 0.0)
    for m in (mask, mask.astype(dtype))
  )
  chex.assert_trees_all_equal(one, other)
  assert one.policy[0, 2] == 0


def test_mixed_value_weighs_visited_actions_by_the_prior():
  prior = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
  visits = np.array([[3, 1, 0], [0, 0, 0]])
  qvalues = np.array([[1.0, -1.0, 99.0], [5.0, 5.0, 5.0]])
  value = search.mixed_value(
    jnp.array([2.0, -3.0]), jnp.array(prior), jnp.array(qvalues),
    jnp.array(visits),
  )
  first = (2 + 4 * (0.5 * 1 - 0.3 * 1) / 0.8) / 5
  np.testing.assert_allclose(value, [first, -3.0], rtol=1e-6)


@pytest.mark.parametrize('floor, gap', [(1e-8, 1.0), (0.5, 0.02)])
def test_small_differences_are_not_stretched_below_the_floor(floor, gap):
  """q-values 0 and 0.01: scaled to [0, 1], or to 0.01 / floor."""
  found = helpers.make_search(
    bandit_model(), IDENTITY, IDENTITY, policy='gumbel', noise=False,
    num_simulations=2, discount=0.5, max_considered_actions=2, max_depth=1,
    gumbel_value_scale=0.1, gumbel_min_range=floor,
  )(
    bandit([0.0, 0.01], [0.0, 0.0]), jax.random.key(0), jnp.zeros(1),
    legal(1, 2), 0.0,
  )
  odds = np.log(found.policy[0, 1] / found.policy[0, 0])
  np.testing.assert_allclose(odds, 51 * 0.1 * gap, rtol=1e-3)


@pytest.mark.parametrize('weight', [1.0, 0.5, 0.0])
def test_the_prior_counts_in_the_policy_target_by_its_weight(weight):
  """Equal q-values: the target's logits are w times the prior's."""
  found = helpers.make_search(
    bandit_model(), IDENTITY, IDENTITY, policy='gumbel', noise=False,
    num_simulations=4, discount=0.5, max_depth=1, gumbel_prior_weight=weight,
  )(
    bandit([0.3] * 3, [0.0] * 3, [2.0, 0.0, 5.0], 0.3), jax.random.key(0),
    jnp.zeros(1), jnp.array([[True, True, False]]), 0.0,
  )
  odds = np.log(found.policy[0, 0] / found.policy[0, 1])
  np.testing.assert_allclose(odds, 2 * weight, atol=1e-4)
  assert found.policy[0, 2] == 0


def test_a_small_prior_weight_never_turns_a_policy_around():
  """Logits where they settle, at sigma / (1 - w): far below what floats tell
  apart as probabilities."""
  found = helpers.make_search(
    bandit_model(), IDENTITY, IDENTITY, policy='gumbel', noise=False,
    num_simulations=64, discount=0.5, max_depth=1, gumbel_value_scale=1.0,
    max_considered_actions=2, gumbel_prior_weight=0.5,
  )(
    bandit([1.0, 0.0], [0.0, 0.0], [228.0, 0.0], 1.0), jax.random.key(0),
    jnp.zeros(1), legal(1, 2), 0.0,
  )
  np.testing.assert_allclose(found.policy[0], [1.0, 0.0], atol=1e-6)
