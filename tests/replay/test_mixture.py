"""Both rings as one: exact shares, and priorities that find their way back."""

import functools

import jax
import numpy as np
import pytest
from tiny_replay import NUM_ENVS, VECTOR, fill, make_rows

from muzero_jax import wide_counts
from muzero_jax.replay import mixture, reanalyse_buffer
from muzero_jax.replay import ring as ring_lib

priority_of, set_priority, num_rows, ages_of, target_age = map(jax.jit, (
  mixture.priority_of, mixture.set_priority, mixture.num_rows, mixture.ages,
  mixture.target_age))

LENGTH, NUM_CHUNKS, NUM_ACTORS = 4, 3, 2


@functools.cache
def make():
  """A replay of 8 rows that went round once, and a full second ring."""
  host = functools.partial(jax.tree.map, np.asarray)
  log = make_rows(np.random.default_rng(0), VECTOR, 12)
  source = host(fill(VECTOR, log, 8))
  other = make_rows(np.random.default_rng(1), VECTOR, 12, NUM_ACTORS)
  ring = host(fill(VECTOR, other, LENGTH * NUM_CHUNKS))
  state = reanalyse_buffer.StreamState(
    ring=ring,
    first_row=np.array([[3, 5], [4, 6], [5, 7]], np.int32),
    searched_at=np.array([10, 20, 30], np.int32),
  )
  return mixture.both(source, state), source, state


@functools.cache
def draw(num_reanalysed, alpha=0.0, batch_size=10):
  both, _, _ = make()
  return jax.tree.map(np.asarray, jax.jit(functools.partial(
    mixture.sample, batch_size=batch_size, num_reanalysed=num_reanalysed,
    window=3, alpha=alpha))(both, jax.random.key(0)))


@pytest.mark.parametrize('num_reanalysed', [1, 4, 10])
def test_shares_are_exact_and_rows_come_from_their_ring(num_reanalysed):
  _, source, state = make()
  batch = draw(num_reanalysed)
  env = batch.env
  assert (env >= NUM_ENVS).sum() == num_reanalysed
  assert env.max() < NUM_ENVS + NUM_ACTORS
  for n in range(10):
    ring, column = source, env[n]
    if column >= NUM_ENVS:
      ring, column = state.ring, column - NUM_ENVS
    slot = (int(batch.slot[n]) + np.arange(2)) % len(ring.priority)
    for name in ('reward', 'policy', 'value', 'action'):
      np.testing.assert_array_equal(
        getattr(batch.sequence, name)[n, :2],
        getattr(ring.rows, name)[slot, column])
    np.testing.assert_array_equal(
      batch.sequence.observation[n, 0], ring.rows.frame[slot[0], column])


def test_priorities_of_both():
  both, source, state = make()
  batch = draw(4)
  np.testing.assert_array_equal(priority_of(both, batch), np.ones(10))
  priority = np.arange(2, 12, dtype=np.float32)
  new = set_priority(both, batch, priority)
  expected = [np.array(source.priority), np.array(state.ring.priority)]
  for n in range(10):
    slot, env = int(batch.slot[n]), int(batch.env[n])
    if env < NUM_ENVS:
      expected[0][slot, env] = priority[n]
    else:
      expected[1][slot, env - NUM_ENVS] = priority[n]
  # A row that was drawn twice may keep either.
  for found, wanted, old in zip(new.priority, expected, both.priority):
    np.testing.assert_array_equal(found != old, wanted != old)
  found = np.asarray(priority_of(new, batch))
  keys = list(zip(batch.slot.tolist(), batch.env.tolist()))
  for n, key in enumerate(keys):
    assert found[n] in [priority[m] for m in range(10) if keys[m] == key]


def test_rows_that_count():
  both, source, state = make()
  counts = np.asarray(num_rows(both, draw(4)))
  fresh = int((np.asarray(source.priority) > 0).sum())
  second = int((np.asarray(state.ring.priority) > 0).sum())
  assert counts.tolist() == [fresh] * 6 + [second] * 4


def test_ages():
  both, source, _ = make()
  batch = draw(4)
  slot, env = batch.slot, batch.env
  ages, searched = [], []
  for n in range(10):
    if env[n] < NUM_ENVS:
      ages.append((11 - slot[n]) % 8)
      continue
    number = slot[n] // LENGTH
    first = [[3, 5], [4, 6], [5, 7]][number][env[n] - NUM_ENVS]
    ages.append(11 - (first + slot[n] % LENGTH))
    searched.append(10 * (number + 1))
  np.testing.assert_allclose(
    ages_of(both, batch), np.array(ages) * NUM_ENVS)
  np.testing.assert_allclose(
    target_age(both, batch, wide_counts.of(50)), 50 - np.mean(searched),
    rtol=1e-6)
  whole = draw(10)
  assert target_age(both, whole, wide_counts.of(50)) <= 40
  fresh = jax.tree.map(lambda x: x[batch.env < NUM_ENVS], batch)
  np.testing.assert_allclose(
    ages_of(both, fresh), jax.jit(ring_lib.ages)(source, fresh))
