"""Targets: literal windows and an oracle that walks row by row."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import targets
from muzero_jax.types import Sequence

NUM_ACTIONS = 3


def make_sequence(rng, num_rows, end=None, terminated=False, players=1):
  """A window whose episode ends at row `end`, with garbage where unread."""
  f32 = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  sequence = Sequence(
    observation=f32(num_rows, 2),
    reward=f32(num_rows),
    discount=np.ones(num_rows, np.float32),
    is_last=np.zeros(num_rows, bool),
    legal_actions=np.ones((num_rows, NUM_ACTIONS), bool),
    to_play=rng.integers(0, players, num_rows).astype(np.int32),
    action=rng.integers(0, NUM_ACTIONS, num_rows).astype(np.int32),
    policy=rng.dirichlet(np.ones(NUM_ACTIONS), num_rows).astype(np.float32),
    value=f32(num_rows),
  )
  # Of the transition into row 0, which is outside the window.
  sequence.reward[0] = np.nan
  if end is None:
    return sequence
  sequence.is_last[end] = True
  if terminated:
    sequence.discount[end] = 0.0
    sequence.value[end] = np.nan
    sequence.policy[end] = np.nan
  sequence.action[end:] = 99
  sequence.is_last[end + 1 :] = rng.random(num_rows - end - 1) < 0.5
  for field in (sequence.reward, sequence.discount, sequence.value):
    field[end + 1 :] = rng.choice([np.nan, np.inf, 1e30], num_rows - end - 1)
  sequence.policy[end + 1 :] = np.nan
  return sequence


def oracle_value(sequence, k, horizon, gamma, td_lambda):
  """Walks back from the row of the bootstrap to row k."""
  s = sequence
  num_rows = len(s.reward)
  end = next((t for t in range(num_rows) if s.is_last[t]), num_rows - 1)
  if k >= end:
    return 0.0
  stop = min(k + horizon, end)
  result = float(s.value[stop])
  for i in range(stop - 1, k - 1, -1):
    if s.discount[i + 1] == 0:
      result = float(s.reward[i + 1])
      continue
    sign = 1 if s.to_play[i] == s.to_play[i + 1] else -1
    mixed = (1 - td_lambda) * float(s.value[i + 1]) + td_lambda * result
    result = float(s.reward[i + 1]) + gamma * sign * mixed
  return result


def oracle_masks(sequence, unroll_steps):
  """What is trained at each row, by the three cases of an end."""
  value, reward, policy, action_is_real = [], [], [], []
  end, terminated = None, False
  for t in range(len(sequence.reward)):
    if end is None and sequence.is_last[t]:
      end, terminated = t, sequence.discount[t] == 0
  for k in range(unroll_steps + 1):
    if end is None or k < end:
      trained = (1, 1, 1, True)
    elif terminated:
      trained = (1, 1, 0, False)
    elif k == end:
      trained = (0, 0, 1, False)
    else:
      trained = (0, 0, 0, False)
    value.append(trained[0])
    policy.append(trained[2])
    if k < unroll_steps:
      reward.append(trained[1])
      action_is_real.append(trained[3])
  return value, reward, policy, action_is_real


def stack(sequences):
  return jax.tree.map(lambda *x: np.stack(x), *sequences)


@functools.lru_cache
def single(**kwargs):
  return jax.jit(functools.partial(targets.make_targets, **kwargs))


@functools.lru_cache
def batched(**kwargs):
  return jax.jit(jax.vmap(functools.partial(targets.make_targets, **kwargs)))


def literal_sequence(num_rows, **fields):
  sequence = make_sequence(np.random.default_rng(0), num_rows)
  sequence = sequence._replace(
    reward=np.arange(num_rows, dtype=np.float32),  # r_k = k + 1.
    value=10.0 * np.arange(num_rows, dtype=np.float32))
  for name, row_values in fields.items():
    for row, value in row_values.items():
      getattr(sequence, name)[row] = value
  return sequence


def make(sequence, unroll_steps=2, td_steps=2, discount=0.5, **kwargs):
  return single(
    unroll_steps=unroll_steps, td_steps=td_steps, discount=discount, **kwargs,
  )(jax.random.key(0), sequence)


def test_signed_discounts():
  result = targets.signed_discounts(
    jnp.array([0.0, 1.0, 1.0, 1.0, 0.0, 1.0]),
    jnp.array([0, 1, 0, 0, 1, 1]),
    discount_factor=0.9)
  np.testing.assert_allclose(result, [-0.9, -0.9, 0.9, 0, 0.9], rtol=1e-6)


def test_without_an_end():
  sequence = literal_sequence(5)
  target = make(sequence)
  # z_0 = 1 + 2/2 + 20/4.
  np.testing.assert_allclose(target.value, [7.0, 11.0, 15.0])
  np.testing.assert_array_equal(target.reward, [1, 2])
  np.testing.assert_array_equal(target.policy, sequence.policy[:3])
  np.testing.assert_array_equal(target.action, sequence.action[:2])
  for mask in (target.value_mask, target.reward_mask, target.policy_mask):
    np.testing.assert_array_equal(mask, np.ones(len(mask)))
    assert mask.dtype == jnp.float32
  assert target.action.dtype == jnp.int32


def test_lambda_returns_literal():
  target = make(literal_sequence(5), value_target='td_lambda', td_lambda=0.5)
  # z_0 = 1 + 1/2 (1/2 10 + 1/2 (2 + 1/2 20)) = 6.5.
  np.testing.assert_allclose(target.value, [6.5, 11.5, 16.5])


def test_monte_carlo_reads_the_whole_window():
  target = make(literal_sequence(5), value_target='monte_carlo')
  # z_2 = 3 + 4/2 + 40/4, z_1 = 2 + z_2/2, z_0 = 1 + z_1/2.
  np.testing.assert_allclose(target.value, [5.75, 9.5, 15.0])


def test_terminated_at_the_last_unroll_step():
  sequence = literal_sequence(5, is_last={2: True}, discount={2: 0.0})
  target = make(sequence)
  np.testing.assert_allclose(target.value, [2.0, 2.0, 0.0])
  np.testing.assert_array_equal(target.reward, [1, 2])
  np.testing.assert_array_equal(target.value_mask, [1, 1, 1])
  np.testing.assert_array_equal(target.reward_mask, [1, 1])
  np.testing.assert_array_equal(target.policy_mask, [1, 1, 0])
  np.testing.assert_array_equal(target.action, sequence.action[:2])


def test_terminated_at_unroll_step_1():
  sequence = literal_sequence(5, is_last={1: True}, discount={1: 0.0})
  target = make(sequence)
  # The terminal transition trains its reward, the row before it its value.
  np.testing.assert_allclose(target.value, [1.0, 0.0, 0.0])
  np.testing.assert_array_equal(target.reward, [1, 0])
  np.testing.assert_array_equal(target.value_mask, [1, 1, 1])
  np.testing.assert_array_equal(target.reward_mask, [1, 1])
  np.testing.assert_array_equal(target.policy_mask, [1, 0, 0])
  np.testing.assert_array_equal(target.policy[1:], np.zeros((2, 3)))


def test_terminated_at_unroll_step_0():
  sequence = literal_sequence(5, is_last={0: True}, discount={0: 0.0})
  target = make(sequence)
  np.testing.assert_array_equal(target.value, [0, 0, 0])
  np.testing.assert_array_equal(target.reward, [0, 0])
  np.testing.assert_array_equal(target.value_mask, [1, 1, 1])
  np.testing.assert_array_equal(target.reward_mask, [1, 1])
  np.testing.assert_array_equal(target.policy_mask, [0, 0, 0])


def test_truncated_at_each_unroll_step():
  target = make(literal_sequence(5, is_last={2: True}))
  np.testing.assert_allclose(target.value, [7.0, 12.0, 0.0])
  np.testing.assert_array_equal(target.value_mask, [1, 1, 0])
  np.testing.assert_array_equal(target.reward_mask, [1, 1])
  np.testing.assert_array_equal(target.policy_mask, [1, 1, 1])
  target = make(literal_sequence(5, is_last={1: True}))
  np.testing.assert_allclose(target.value, [6.0, 0.0, 0.0])
  np.testing.assert_array_equal(target.reward, [1, 0])
  np.testing.assert_array_equal(target.value_mask, [1, 0, 0])
  np.testing.assert_array_equal(target.reward_mask, [1, 0])
  np.testing.assert_array_equal(target.policy_mask, [1, 1, 0])
  target = make(literal_sequence(5, is_last={0: True}))
  np.testing.assert_array_equal(target.value_mask, [0, 0, 0])
  np.testing.assert_array_equal(target.reward_mask, [0, 0])
  np.testing.assert_array_equal(target.policy_mask, [1, 0, 0])


def test_two_players_alternating():
  # The player to move at row 2 wins: +1 for rows 0 and 2, -1 for row 1.
  sequence = literal_sequence(
    6, is_last={3: True}, discount={3: 0.0},
    to_play={0: 0, 1: 1, 2: 0, 3: 1}, reward={1: 0, 2: 0, 3: 1})
  for value_target in ('n_step', 'monte_carlo'):
    target = make(
      sequence, unroll_steps=2, td_steps=3, discount=1.0,
      value_target=value_target)
    np.testing.assert_array_equal(target.value, [1, -1, 1])


def test_two_players_who_do_not_always_alternate():
  # Player 0 moves twice, then player 1; bootstrap from row 3, player 0's.
  sequence = literal_sequence(5, to_play={0: 0, 1: 0, 2: 1, 3: 0, 4: 0})
  target = make(sequence, unroll_steps=1, td_steps=3, discount=1.0)
  # z_0 = 1 + (2 - (3 - v_3)), z_1 = 2 - (3 - (4 + v_4)).
  np.testing.assert_array_equal(target.value, [30.0, 43.0])


@pytest.mark.parametrize('unroll_steps, td_steps', [(1, 1), (3, 2), (2, 6)])
@pytest.mark.parametrize('value_target', ['n_step', 'td_lambda', 'monte_carlo'])
def test_agrees_with_oracle(unroll_steps, td_steps, value_target):
  rng = np.random.default_rng(unroll_steps)
  num_rows = unroll_steps + 1 + td_steps
  sequences = [make_sequence(rng, num_rows, players=2)]
  for end in range(num_rows):
    for terminated in (False, True):
      for players in (1, 2):
        sequences.append(
          make_sequence(rng, num_rows, end, terminated, players))
  horizon = num_rows if value_target == 'monte_carlo' else td_steps
  td_lambda = 0.7 if value_target == 'td_lambda' else 1.0
  result = batched(
    unroll_steps=unroll_steps, td_steps=td_steps, discount=0.9,
    value_target=value_target, td_lambda=0.7,
  )(jax.random.split(jax.random.key(1), len(sequences)), stack(sequences))
  chex.assert_tree_all_finite(result)
  result = jax.tree.map(np.asarray, result)
  for i, sequence in enumerate(sequences):
    target = jax.tree.map(lambda x, i=i: x[i], result)
    value, reward, policy, is_real = oracle_masks(sequence, unroll_steps)
    np.testing.assert_array_equal(target.value_mask, value)
    np.testing.assert_array_equal(target.reward_mask, reward)
    np.testing.assert_array_equal(target.policy_mask, policy)
    for k in range(unroll_steps + 1):
      expected = oracle_value(sequence, k, horizon, 0.9, td_lambda)
      np.testing.assert_allclose(
        target.value[k], expected, rtol=1e-4, atol=1e-5)
      expected = sequence.policy[k] if policy[k] else np.zeros(NUM_ACTIONS)
      np.testing.assert_array_equal(target.policy[k], expected)
    for k in range(unroll_steps):
      expected = sequence.reward[k + 1] if is_real[k] else 0.0
      assert target.reward[k] == expected
      if is_real[k]:
        assert target.action[k] == sequence.action[k]
      else:
        assert 0 <= target.action[k] < NUM_ACTIONS


def test_the_older_the_shorter():
  age = jnp.array([0.0, 29.0, 30.0, 61.0, 1e6])
  limits = targets.td_limits(age, td_steps=3, period=30.0)
  np.testing.assert_array_equal(limits, [3, 3, 2, 1, 1])
  assert limits.dtype == jnp.int32


@pytest.mark.parametrize('value_target', ['n_step', 'td_lambda'])
def test_a_limit_is_a_smaller_td_steps(value_target):
  rng = np.random.default_rng(5)
  sequences = [make_sequence(rng, 6)] + [
    make_sequence(rng, 6, end, terminated)
    for end in range(6) for terminated in (False, True)
  ]
  keys = jax.random.split(jax.random.key(0), len(sequences))
  found = {
    limit: jax.jit(jax.vmap(functools.partial(
      targets.make_targets, unroll_steps=1, td_steps=4, discount=0.9,
      value_target=value_target, td_lambda=0.7,
    )))(keys, stack(sequences), td_limit=jnp.full(len(sequences), limit))
    for limit in (1, 3, 4)
  }
  for limit, target in found.items():
    for i, sequence in enumerate(sequences):
      for k in range(2):
        expected = oracle_value(
          sequence, k, limit, 0.9, 0.7 if value_target == 'td_lambda' else 1
        )
        np.testing.assert_allclose(
          target.value[i, k], expected, rtol=1e-4, atol=1e-5
        )


def test_stale_sequences_train_their_values_on_searches():
  """Rows before the end take the search's value, others the return."""
  oldest, start = 100.0, 7
  age = np.array([0.0, 99.0, 100.0, 1e6])
  for num_updates in (6, 7, 1_000):
    stale = targets.is_stale(age, num_updates, oldest=oldest, start=start)
    np.testing.assert_array_equal(
      stale, [False, False, num_updates >= 7, num_updates >= 7])
  rng = np.random.default_rng(6)
  cases = [(None, False)] + [
    (end, terminated) for end in range(6) for terminated in (False, True)]
  sequences = [make_sequence(rng, 6, *case) for case in cases]
  searched = rng.normal(size=(len(cases), 4)).astype(np.float32)
  batch = stack(sequences)._replace(searched_value=searched)
  keys = jax.random.split(jax.random.key(0), len(cases))
  run = jax.jit(jax.vmap(functools.partial(
    targets.make_targets, unroll_steps=3, td_steps=2, discount=0.9)))
  fresh = run(keys, stack(sequences))
  for is_stale in (False, True):
    found = run(keys, batch, stale=jnp.full(len(cases), is_stale))
    for i, (sequence, (end, _)) in enumerate(zip(sequences, cases)):
      for k in range(4):
        expected = oracle_value(sequence, k, 2, 0.9, 1)
        if is_stale:
          expected = searched[i, k] if k < (5 if end is None else end) else 0
        np.testing.assert_allclose(
          found.value[i, k], expected, rtol=1e-4, atol=1e-5)
    # Nothing else is any different.
    for name in found._fields:
      if name != 'value':
        np.testing.assert_array_equal(
          getattr(found, name), getattr(fresh, name))


def test_live_transitions_end_with_the_episode():
  ends = {(None, False): [1, 1, 1], (1, True): [1, 0, 0],
          (1, False): [1, 0, 0], (3, True): [1, 1, 1], (0, True): [0, 0, 0]}
  for (end, terminated), expected in ends.items():
    sequence = make_sequence(np.random.default_rng(1), 6, end, terminated)
    target = make(sequence, unroll_steps=3)
    np.testing.assert_array_equal(targets.live_transitions(target), expected)


def test_without_jit():
  sequence = literal_sequence(5, is_last={1: True}, discount={1: 0.0})
  target = targets.make_targets(
    jax.random.key(0), sequence, unroll_steps=2, td_steps=2, discount=0.5)
  chex.assert_trees_all_close(target, make(sequence))


def test_hidden_rows_do_not_change_anything():
  dirty = make_sequence(np.random.default_rng(1), 6, end=2, terminated=True)
  clean = jax.tree.map(np.copy, dirty)
  for field in (clean.reward, clean.discount, clean.value):
    field[3:] = 0.0
  clean.is_last[3:] = False
  make = batched(
    unroll_steps=3, td_steps=2, discount=0.9, value_target='td_lambda',
    td_lambda=0.7)
  keys = jax.random.split(jax.random.key(0), 1)
  chex.assert_trees_all_equal(
    make(keys, stack([dirty])), make(keys, stack([clean])))


def test_random_actions_are_uniform_and_depend_on_the_key():
  sequence = make_sequence(np.random.default_rng(2), 6, end=1)
  count = 3000
  make = jax.jit(jax.vmap(
    functools.partial(
      targets.make_targets, unroll_steps=3, td_steps=2, discount=0.9),
    in_axes=(0, None)))
  action = make(jax.random.split(jax.random.key(3), count), sequence).action
  np.testing.assert_array_equal(action[:, 0], sequence.action[0])
  for k in (1, 2):
    frequency = np.bincount(action[:, k], minlength=NUM_ACTIONS) / count
    np.testing.assert_allclose(frequency, np.full(3, 1 / 3), atol=0.04)
  # Each step draws its own.
  assert 0.25 < np.mean(action[:, 1] == action[:, 2]) < 0.42


def test_long_horizon():
  rng = np.random.default_rng(4)
  sequences = [make_sequence(rng, 206), make_sequence(rng, 206, 190)]
  result = batched(
    unroll_steps=5, td_steps=200, discount=0.997,
  )(jax.random.split(jax.random.key(0), 2), stack(sequences))
  for i, sequence in enumerate(sequences):
    expected = [oracle_value(sequence, k, 200, 0.997, 1.0) for k in range(6)]
    np.testing.assert_allclose(result.value[i], expected, rtol=1e-4)


def test_returns_stand_alone():
  reward = jnp.array([0.0, 1.0, 2.0, 3.0])
  discount = jnp.array([0.5, -0.5, 0.0])
  is_last = jnp.array([False, False, False, True])
  value = jnp.array([7.0, 8.0, 9.0, jnp.nan])
  rows = (reward, discount, is_last, value)

  def check(returns, expected, **kwargs):
    returns = jax.jit(functools.partial(returns, **kwargs))
    np.testing.assert_allclose(returns(*rows), expected)

  check(
    targets.n_step_returns, [1 + 0.5 * 2 - 0.25 * 9, 2 - 0.5 * 3, 3, 0],
    td_steps=2, num_targets=4)
  check(
    targets.lambda_returns, [1 + 0.5 * 8],
    td_steps=2, num_targets=1, td_lambda=0.0)
  check(
    targets.monte_carlo_returns, [1 + 0.5 * 0.5, 0.5], num_targets=2)


@pytest.mark.parametrize('arguments, message', [
  (dict(unroll_steps=0), 'unroll_steps=0: .*>= 1'),
  (dict(td_steps=0), 'td_steps=0: .*>= 1'),
  (dict(td_steps=3), 'sequence has 5 rows: .*= 6'),
  (dict(discount=1.5), r'discount=1\.5: .*\[0, 1\]'),
  (dict(td_lambda=-0.1), r'td_lambda=-0\.1: .*\[0, 1\]'),
  (dict(value_target='td'), "value_target='td': .*n_step.*monte_carlo"),
])
def test_wrong_arguments_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    make(literal_sequence(5), **arguments)


@pytest.mark.parametrize('name, length', [
  ('reward', 5), ('is_last', 6), ('value', 4), ('discount', 6)])
def test_an_array_of_the_wrong_length_is_named(name, length):
  lengths = dict(reward=6, discount=5, is_last=6, value=6) | {name: length}
  if name == 'is_last':
    lengths = dict(reward=7, discount=6, is_last=6, value=7)
  if name == 'reward':
    name = 'is_last'  # As many rows as rewards are right.
  arrays = {key: np.zeros(n, bool if key == 'is_last' else np.float32)
            for key, n in lengths.items()}
  with pytest.raises(AssertionError, match=rf'\[{name}: one for each'):
    targets.n_step_returns(**arrays, td_steps=2, num_targets=2)
