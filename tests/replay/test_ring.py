"""Replay: against a log of all rows that were ever added."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_replay import (
  CHUNK,
  IMAGE,
  NUM_ENVS,
  VECTOR,
  add,
  fill,
  make_rows,
  part,
  stacks,
)

from muzero_jax.errors import UserError
from muzero_jax.replay import ring
from muzero_jax.types import EnvSpec


def log_index(slot, num_added, capacity):
  """The newest row of the log that lies in a ring's slot."""
  newest = num_added - 1
  return newest - (newest - np.asarray(slot)) % capacity


@functools.partial(
  jax.jit,
  static_argnames=(
    'batch_size', 'window', 'stacked_frames', 'stack_actions',
    'observed_rows', 'alpha',
  ),
)
def sample(state, rng_key, **kwargs):
  return ring.sample(state, rng_key, **kwargs)


@pytest.mark.parametrize('spec,stacked_frames,stack_actions', [
  (IMAGE, 3, True), (VECTOR, 3, True), (VECTOR, 1, False),
])
# Half full, exactly full, once and many times around the ring.
@pytest.mark.parametrize('num_rows', [8, 16, 20, 52])
def test_windows_are_the_rows_that_were_added(
  spec, stacked_frames, stack_actions, num_rows
):
  capacity, window, observed_rows = 16, 5, 3
  rows = make_rows(np.random.default_rng(num_rows), spec, num_rows)
  state = fill(spec, rows, capacity)
  seen = stacks(spec, rows, stacked_frames, stack_actions)
  batch = sample(
    state, jax.random.key(1), batch_size=64, window=window,
    stacked_frames=stacked_frames, stack_actions=stack_actions,
    observed_rows=observed_rows, alpha=0.0,
  )
  batch = jax.tree.map(np.asarray, batch)
  assert batch.sequence.observation.dtype == seen.dtype
  for n in range(64):
    first = log_index(batch.slot[n], num_rows, capacity)
    assert 0 <= first < num_rows - 1
    env = batch.env[n]
    for i in range(min(window, num_rows - first)):
      t = first + i
      for name in ('reward', 'discount', 'legal_actions', 'to_play', 'action',
                   'policy', 'value'):
        np.testing.assert_array_equal(
          getattr(batch.sequence, name)[n, i], getattr(rows, name)[t, env]
        )
      is_last = rows.is_last[t, env] or t == num_rows - 1
      assert batch.sequence.is_last[n, i] == is_last
      if i < observed_rows:
        np.testing.assert_array_equal(
          batch.sequence.observation[n, i], seen[t, env]
        )


@pytest.mark.parametrize('stacked_frames', [1, 3])
@pytest.mark.parametrize('num_rows', [8, 16, 20])
def test_only_rows_that_may_open_a_window_are_drawn(num_rows, stacked_frames):
  capacity = 16
  rows = make_rows(np.random.default_rng(5), VECTOR, num_rows)
  state = fill(VECTOR, rows, capacity)
  batch = sample(
    state, jax.random.key(0), batch_size=2048, window=2,
    stacked_frames=stacked_frames, alpha=0.0,
  )
  drawn = set(zip(
    log_index(batch.slot, num_rows, capacity).tolist(), batch.env.tolist()
  ))
  # Neither last rows, nor the newest, nor those of which the ring has lost a
  # frame (or the action that led to the oldest frame).
  oldest = max(0, num_rows - capacity)
  oldest += stacked_frames if oldest else 0
  allowed = {
    (t, env)
    for t in range(oldest, num_rows - 1)
    for env in range(NUM_ENVS)
    if not rows.is_last[t, env]
  }
  assert drawn == allowed
  np.testing.assert_allclose(batch.probability, 1 / len(allowed), rtol=1e-6)


def test_frequencies_follow_the_priorities():
  rng = np.random.default_rng(0)
  capacity, alpha, num_draws = 16, 0.6, 1 << 15
  rows = make_rows(rng, VECTOR, 20)
  state = fill(VECTOR, rows, capacity)
  priority = rng.lognormal(0, 2, (capacity, NUM_ENVS)).astype(np.float32)
  priority *= np.asarray(state.priority) > 0
  state = state._replace(priority=jnp.asarray(priority))
  batch = jax.tree.map(np.asarray, sample(
    state, jax.random.key(0), batch_size=num_draws, window=1, alpha=alpha
  ))
  weight = np.where(priority > 0, priority.astype(np.float64) ** alpha, 0)
  weight[(20 - 1) % capacity] = 0  # The newest row.
  weight[20 % capacity] = 0  # The oldest.
  expected = weight / weight.sum()
  np.testing.assert_allclose(
    batch.probability, expected[batch.slot, batch.env], rtol=1e-5
  )
  counts = np.zeros_like(expected)
  np.add.at(counts, (batch.slot, batch.env), 1)
  assert not counts[expected == 0].any()
  mean = num_draws * expected[expected > 0]
  chi_square = np.sum((counts[expected > 0] - mean) ** 2 / mean)
  assert chi_square < mean.size + 5 * np.sqrt(2 * mean.size)


def test_draws_differ_by_key_and_repeat_with_it():
  rows = make_rows(np.random.default_rng(0), VECTOR, 16)
  state = fill(VECTOR, rows, 16)
  draw = lambda seed: np.asarray(sample(  # noqa: E731
    state, jax.random.key(seed), batch_size=64, window=1, alpha=0.0
  ).env)
  np.testing.assert_array_equal(draw(0), draw(0))
  assert (draw(0) != draw(1)).any()


@pytest.mark.parametrize('capacity,num_envs', [(1 << 16, 16), (1 << 20, 1)])
def test_no_impossible_row_is_drawn_from_a_million(capacity, num_envs):
  """Sums of floats in different orders need not rise."""
  rng = np.random.default_rng(0)
  priority = np.exp(rng.uniform(np.log(1e-3), np.log(1e5), (capacity, 1)))
  priority = np.broadcast_to(priority, (capacity, num_envs))
  priority = priority * (rng.random((capacity, 1)) < 0.5)
  spec = EnvSpec('test', (1,), np.uint8, 1)
  state = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype),
    jax.eval_shape(lambda: ring.init(spec, num_envs, capacity)),
  )
  state = state._replace(
    priority=jnp.asarray(priority, jnp.float32),
    num_added=jnp.int32(3 * capacity // 2),
  )
  for seed in range(10):
    batch = sample(
      state, jax.random.key(seed), batch_size=8192, window=1, alpha=1.0
    )
    assert (batch.probability > 0).all()
    assert (state.priority[batch.slot, batch.env] > 0).all()


def test_new_rows_enter_at_the_largest_priority():
  rows = make_rows(np.random.default_rng(1), VECTOR, 12)
  chunks = [part(rows, i, i + CHUNK) for i in (0, 4, 8)]
  state = add(ring.init(VECTOR, NUM_ENVS, 8), chunks[0])
  live = ~rows.is_last
  np.testing.assert_array_equal(state.priority[:4], live[:4])
  batch = sample(state, jax.random.key(0), batch_size=1, window=1, alpha=1.0)
  state = ring.set_priority(state, batch, jnp.array([7.5]))
  assert state.priority[batch.slot[0], batch.env[0]] == 7.5
  state = add(state, chunks[1])
  np.testing.assert_array_equal(state.priority[4:], 7.5 * live[4:8])
  # What is overwritten counts once more, then is forgotten.
  state = add(state, chunks[2])
  np.testing.assert_array_equal(state.priority[:4], 7.5 * live[8:])


def test_set_priority_changes_only_the_sampled_rows():
  rows = make_rows(np.random.default_rng(1), VECTOR, 16)
  state = fill(VECTOR, rows, 16)
  batch = sample(state, jax.random.key(0), batch_size=4, window=1, alpha=1.0)
  new = ring.set_priority(state, batch, jnp.full(4, 0.25))
  drawn = np.zeros(state.priority.shape, bool)
  drawn[batch.slot, batch.env] = True
  np.testing.assert_array_equal(
    new.priority, np.where(drawn, 0.25, state.priority)
  )


@pytest.mark.parametrize('beta', [0.0, 0.4, 1.0])
def test_importance_weights(beta):
  probability = np.array([0.5, 0.1, 0.02], np.float32)
  weights = ring.importance_weights(
    jnp.array(probability), jnp.int32(50), beta=beta
  )
  expected = (1 / (50 * probability)) ** beta
  np.testing.assert_allclose(weights, expected / expected.max(), rtol=1e-5)


def test_importance_weights_make_the_prioritised_mean_uniform():
  """With beta 1, weighted means over draws estimate means over rows."""
  rows = make_rows(np.random.default_rng(3), VECTOR, 16)
  state = fill(VECTOR, rows, 16)
  priority = np.random.default_rng(0).uniform(0.2, 3, state.priority.shape)
  priority = (priority * (np.asarray(state.priority) > 0)).astype(np.float32)
  state = state._replace(priority=jnp.asarray(priority))
  batch = sample(
    state, jax.random.key(0), batch_size=1 << 15, window=1, alpha=1.0
  )
  weights = ring.importance_weights(
    batch.probability, ring.num_rows(state), beta=1.0
  )
  values = np.asarray(batch.sequence.value[:, 0])
  estimate = np.sum(weights * values) / np.sum(weights)
  priority[15] = 0
  assert abs(estimate - rows.value[priority > 0].mean()) < 0.02


def test_close_episodes_marks_the_newest_rows_as_truncated():
  rows = make_rows(np.random.default_rng(2), VECTOR, 20)
  before = fill(VECTOR, rows, 16)
  closed = ring.close_episodes(before)
  newest = 19 % 16
  assert closed.rows.is_last[newest].all()
  assert not closed.priority[newest].any()
  np.testing.assert_array_equal(
    np.delete(closed.rows.is_last, newest, 0),
    np.delete(before.rows.is_last, newest, 0),
  )
  np.testing.assert_array_equal(
    np.delete(closed.priority, newest, 0),
    np.delete(before.priority, newest, 0),
  )
  np.testing.assert_array_equal(closed.rows.discount, before.rows.discount)


def test_dropped_rows_open_no_window_any_more():
  rows = make_rows(np.random.default_rng(3), VECTOR, 20)
  before = fill(VECTOR, rows, 16)
  before = before._replace(priority=before.priority + 0.5)
  # Slot 3 is the newest; 6 rows reach back over the ring's end.
  state = jax.jit(ring.drop)(before, np.array([0, 2, 6]))
  dropped = [np.flatnonzero(column).tolist()
             for column in np.asarray(state.priority == 0).T]
  assert dropped == [[], [2, 3], [0, 1, 2, 3, 14, 15]]
  kept = np.asarray(state.priority) > 0
  np.testing.assert_array_equal(
    np.asarray(state.priority)[kept], np.asarray(before.priority)[kept])
  batch = ring.sample(
    state, jax.random.key(0), batch_size=512, window=2, alpha=0.0)
  drawn = set(zip(np.asarray(batch.slot), np.asarray(batch.env)))
  assert drawn <= set(zip(*np.nonzero(kept))) and len(drawn) > 30
  longer = ring.drop(before, np.array([99, 0, 0]))
  assert (longer.priority[:, 0] == 0).all() and longer.priority[:, 1:].all()


@pytest.mark.parametrize('spec', [IMAGE, VECTOR])
def test_num_bytes_is_what_is_allocated(spec):
  state = ring.init(spec, NUM_ENVS, 8)
  expected = sum(x.nbytes for x in jax.tree.leaves(state))
  assert ring.num_bytes(spec, NUM_ENVS, 8) == expected


def test_each_frame_is_stored_once():
  spec = EnvSpec('test', (96, 96, 3), np.uint8, 18)
  frame = 96 * 96 * 3
  # Rows of Atari: everything but the frame is under 1 % of it.
  assert frame < ring.num_bytes(spec, 10, 100) / 1000 < 1.01 * frame


def test_num_bytes_allocates_nothing():
  spec = EnvSpec('test', (96, 96, 3), np.uint8, 18)
  assert ring.num_bytes(spec, 1000, 25_000) > 600e9


def test_a_chunk_must_divide_the_capacity():
  rows = make_rows(np.random.default_rng(0), VECTOR, 3)
  with pytest.raises(UserError, match='3 rows.*capacity 8'):
    ring.add(ring.init(VECTOR, NUM_ENVS, 8), rows)


def test_num_rows_stops_at_the_capacity():
  rows = make_rows(np.random.default_rng(0), VECTOR, 20)
  for num_rows, stored in ((8, 8), (16, 16), (20, 16)):
    state = fill(VECTOR, part(rows, 0, num_rows), 16)
    assert ring.num_rows(state) == stored * NUM_ENVS
