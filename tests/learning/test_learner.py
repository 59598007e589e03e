"""Learner: samples, fresh targets, priorities, ages and devices."""

import functools

import chex
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec
from tiny_learner import (
  TD,
  TRANSFORM,
  A,
  K,
  L,
  N,
  initial_params,
  make,
  make_batch,
  make_buffer,
  make_targets,
  shared,
  spoilt,
)

from muzero_jax import networks, wide_counts
from muzero_jax.config import settings
from muzero_jax.errors import UserError
from muzero_jax.learning import learner, total_loss, value_prefix
from muzero_jax.networks import model
from muzero_jax.replay import ring
from muzero_jax.types import SearchOutput

# --- Learning ---------------------------------------------------------------

def entropy_floor(target, value_weight=0.25):
  """The least loss that a batch allows: the entropy of its targets."""
  entropy = lambda p: -np.sum(  # noqa: E731
    p * np.log(np.where(p > 0, p, 1)), axis=-1
  )
  weights = np.full(K + 1, 1 / K)
  weights[0] = 1
  target = jax.tree.map(np.asarray, target)
  policy = target.policy_mask * entropy(target.policy)
  value = target.value_mask * entropy(np.asarray(TRANSFORM.apply(target.value)))
  reward = target.reward_mask * entropy(
    np.asarray(TRANSFORM.apply(target.reward))
  )
  return np.mean(
    np.sum(weights * (policy + value_weight * value), axis=1)
    + np.sum(weights[1:] * reward, axis=1)
  )


def test_overfits_one_batch_down_to_the_entropy_of_its_targets():
  learn = make(optax.adam(1e-2), width=32)
  sequence, target, weights = shared()[2]

  @jax.jit
  def fit(state):
    return jax.lax.scan(
      lambda state, _: learn.step(state, sequence, target, weights),
      state, None, 600,
    )

  state, metrics = fit(learn.init(initial_params(32)))
  floor = entropy_floor(target)
  start, end = metrics.loss[0] - floor, metrics.loss[-1] - floor
  assert start > 0.5
  assert 0 <= end < 0.03 * start
  assert int(state.num_updates) == 600
  assert metrics.value_error[-1] < 0.1 * metrics.value_error[0]


@pytest.mark.parametrize(
  'variant', ['consistency', 'prefix', 'stochastic', 'turns'])
def test_variants_overfit_one_batch(variant):
  common = dict(
    num_actions=A, num_outputs=TRANSFORM.num_outputs, width=32, num_blocks=0,
    head_hidden=32,
  )
  network = {
    'consistency': lambda: networks.MLPNetwork(projection=8, **common),
    'prefix': lambda: networks.MLPNetwork(prefix_steps=2, **common),
    'stochastic': lambda: networks.StochasticMLPNetwork(
      num_codes=4, **common
    ),
    'turns': lambda: networks.StochasticMLPNetwork(
      num_codes=4, predicts_turn=True, **common
    ),
  }[variant]()
  learn = learner.make_learner(
    total_loss.make_total_loss(
      model.make_model(network), TRANSFORM, TRANSFORM, settings.LossWeights(
        consistency_weight=2.0 if variant == 'consistency' else 0.0)),
    optax.adam(3e-3),
    settings.Learning(
      batch_size=N, unroll_steps=K, td_steps=TD, discount=0.9),
  )
  batch = make_batch()
  seen = np.random.default_rng(1).normal(size=(N, K + 1, 4))
  batch = batch._replace(observation=seen.astype(np.float32))
  if variant == 'turns':
    batch = batch._replace(
      to_play=np.random.default_rng(2).integers(0, 2, (N, L)))
  target = make_targets(jax.random.key(0), batch)
  state = learn.init(
    jax.jit(model.make_model(network).init)(
      jax.random.key(0), jnp.zeros((1, 4))
    )
  )

  @jax.jit
  def train(state):
    step = lambda state, _: learn.step(state, batch, target, jnp.ones(N))
    return jax.lax.scan(step, state, length=800)

  _, metrics = train(state)
  steps = 2 if variant == 'prefix' else 0
  floor = entropy_floor(target._replace(
    reward=value_prefix.sums(target.reward, steps=steps)
  ))
  assert float(metrics.loss[0]) > floor + 0.5
  if variant == 'prefix':
    assert metrics.chance_loss is None and metrics.consistency_loss is None
  elif variant == 'consistency':
    assert metrics.chance_loss is None
    assert float(metrics.consistency_loss[0]) > 0.5
    # Batch statistics, in which rows after an end count, keep it from 0.
    assert float(metrics.consistency_loss[-1]) < 0.3
    floor = floor + 2 * float(metrics.consistency_loss[-1])
  else:
    assert metrics.consistency_loss is None
    assert float(metrics.commitment_loss[-1]) < 0.3
    assert float(metrics.chance_loss[-1]) < 0.1
    assert float(metrics.codes_in_use[-1]) > 1.5
    # Afterstates have the targets of their states.
    floor = floor + 0.25 * float(metrics.afterstate_loss[-1])
  if variant == 'turns':
    assert float(metrics.turn_accuracy[0]) < 0.8
    assert float(metrics.turn_accuracy[-1]) == 1
    assert float(metrics.turn_loss[-1]) < 0.05
  else:
    assert metrics.turn_loss is None
  assert float(metrics.loss[-1]) < floor + 0.25


def test_weights_scale_each_sequence():
  learn, step, (sequence, target, _) = shared()
  state = learn.init(initial_params())
  alone = [
    step(state, sequence, target, jax.nn.one_hot(n, N))[1].loss
    for n in range(3)
  ]
  both = step(
    state, sequence, target, jnp.zeros(N).at[jnp.arange(3)].set([1, 2, 3.0])
  )[1].loss
  np.testing.assert_allclose(
    both, alone[0] + 2 * alone[1] + 3 * alone[2], rtol=1e-5
  )


@functools.cache
def prioritised():
  learn = make(priority_alpha=1.0, priority_beta=0.5)
  return learn, jax.jit(learn.update)


def test_update_is_sample_targets_and_step():
  """`update` trains what `replay.sample` draws with the first key."""
  learn, update = prioritised()
  buffer = make_buffer()
  state = learn.init(initial_params())
  rng_key = jax.random.key(7)
  new_state, new_buffer, metrics = update(state, buffer, rng_key)
  sample_key, _, _, target_key, _ = jax.random.split(rng_key, 5)
  batch = ring.sample(
    buffer, sample_key, batch_size=N, window=L, alpha=1.0
  )
  target = make_targets(target_key, batch.sequence)
  weights = ring.importance_weights(
    batch.probability, ring.num_rows(buffer), beta=0.5
  )
  expected, expected_metrics = shared()[1](
    state, batch.sequence, target, weights
  )
  chex.assert_trees_all_close(
    new_state.params, expected.params, rtol=1e-4, atol=1e-6
  )
  np.testing.assert_allclose(
    metrics.loss, expected_metrics.loss, rtol=1e-5
  )
  np.testing.assert_allclose(
    metrics.sample_age, ring.ages(buffer, batch).mean()
  )
  # |search value - n-step return| + epsilon, at the rows drawn and only there.
  priority = np.array(buffer.priority)
  priority[batch.slot, batch.env] = 1e-3 + np.abs(
    batch.sequence.value[:, 0] - target.value[:, 0]
  )
  np.testing.assert_allclose(new_buffer.priority, priority, rtol=1e-5)


def test_diagnostics_by_unroll_step():
  learn, step, (sequence, target, weights) = shared()
  state = learn.init(initial_params())
  new_state, metrics = step(state, sequence, target, weights)
  output = model.unroll(
    helpers.tiny_model(A), state.params, sequence.observation[:, 0],
    target.action,
  )
  value = np.abs(TRANSFORM.invert(output.value_logits) - target.value)
  reward = np.abs(
    TRANSFORM.invert(output.reward_logits)[:, 1:] - target.reward
  )
  for found, error, mask in (
    (metrics.value_error_at, value, target.value_mask),
    (metrics.reward_error_at, reward, target.reward_mask),
  ):
    assert 0 < np.asarray(mask).mean() < 1
    wanted = (error * mask).sum(axis=0) / np.asarray(mask).sum(axis=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
  np.testing.assert_allclose(metrics.value_error, metrics.value_error_at[0])
  searched = np.asarray(target.policy[:, 0])
  ratio = np.log(searched) - jax.nn.log_softmax(output.policy_logits[:, 0])
  mask = np.asarray(target.policy_mask[:, 0])
  np.testing.assert_allclose(
    metrics.policy_divergence,
    (mask * (searched * ratio).sum(axis=-1)).sum() / mask.sum(), rtol=1e-4,
  )
  change = jax.tree.map(jnp.subtract, new_state.params, state.params)
  np.testing.assert_allclose(
    metrics.update_norm, optax.tree.norm(change), rtol=1e-3
  )


def test_age_of_samples_counts_environment_steps():
  buffer = make_buffer(capacity=16, num_envs=4)
  sample = ring.sample(
    buffer, jax.random.key(0), batch_size=N, window=L
  )._replace(slot=jnp.array([15, 14, 15, 14]))
  assert ring.ages(buffer, sample).mean() == 2.0
  # The ring goes on: what was newest is now four rows old.
  more = jax.tree.map(lambda x: x[:4], buffer.rows)
  assert ring.ages(ring.add(buffer, more), sample).mean() == 2.0 + 4 * 4


def test_broken_values_do_not_reach_the_priorities():
  learn, update = prioritised()
  buffer = make_buffer()
  broken = buffer._replace(
    rows=buffer.rows._replace(value=jnp.full_like(buffer.rows.value, np.nan))
  )
  state, after, _ = update(
    learn.init(initial_params()), broken, jax.random.key(0)
  )
  assert state.num_skipped == 1
  np.testing.assert_array_equal(after.priority, buffer.priority)


# --- Reanalyse --------------------------------------------------------------

@pytest.mark.parametrize('fraction,fresh', [
  (0.0, 0), (0.03, 0), (0.1, 2), (0.5, 8), (0.99, 16), (1.0, 16),
])
def test_reanalyse_fraction_is_split_exactly(fraction, fresh):
  searched = []

  def search(params, rng_key, observation, legal_actions, temperature=1.0):
    searched.append(observation.shape[0])
    zero = jnp.zeros(observation.shape[0])
    return SearchOutput(
      zero.astype(jnp.int32), legal_actions / A, zero, zero
    )

  learn = make(reanalyse_fraction=fraction, reanalyse_search=search)
  state = jax.eval_shape(lambda: learn.init(initial_params()))
  jax.eval_shape(
    learn.update, state, make_buffer(), jax.eval_shape(
      lambda: jax.random.key(0))
  )
  assert sum(searched) == fresh * (K + 1)


def test_reanalyse_uses_the_target_networks_parameters():
  """Values to bootstrap from are those of `target_params`, not `params`."""

  def search(params, rng_key, observation, legal_actions, temperature=1.0):
    # What the search sees of its parameters becomes the value.
    value = jnp.full(observation.shape[0], jax.tree.leaves(params)[0].sum())
    return SearchOutput(
      value.astype(jnp.int32), legal_actions / A, value, value
    )

  learn = make(reanalyse_fraction=1.0, reanalyse_search=search)
  state = learn.init(initial_params())
  update = jax.jit(learn.update)
  buffer = make_buffer()
  moved = jax.tree.map(lambda x: x + 1, state.params)
  results = [
    update(s, buffer, jax.random.key(0))
    for s in (
      state, state._replace(params=moved), state._replace(target_params=moved)
    )
  ]
  first, same, other = (metrics.value_target for _, _, metrics in results)
  assert first == same != other
  # Uniform sampling leaves priorities alone.
  for _, after, metrics in results:
    helpers.assert_trees_equal(buffer, after)
    assert metrics.weight_min == 1


def test_old_samples_train_their_values_on_the_fresh_search():
  """By age and updates, as an oracle has it; each element by itself."""

  def search(params, rng_key, observation, legal_actions, temperature=1.0):
    value = 3 * observation.sum(axis=-1)
    return SearchOutput(
      value.astype(jnp.int32), legal_actions / A, value, 0 * value)

  learn = make(
    reanalyse_fraction=1.0, reanalyse_search=search, mixed_value_age=24,
    mixed_value_start=5)
  plain = make(reanalyse_fraction=1.0, reanalyse_search=search)
  state, buffer = learn.init(initial_params()), make_buffer()
  rng_key = jax.random.key(3)
  late = state._replace(num_updates=wide_counts.add(state.num_updates, 5))
  early = jax.jit(learn.update)(state, buffer, rng_key)[2]
  found = jax.jit(learn.update)(late, buffer, rng_key)[2]
  wanted = jax.jit(plain.update)(late, buffer, rng_key)[2]
  assert early.value_target == wanted.value_target
  sample_key, _, _, target_key, _ = jax.random.split(rng_key, 5)
  batch = ring.sample(
    buffer, sample_key, batch_size=N, window=L, observed_rows=L)
  stale = np.asarray(ring.ages(buffer, batch)) >= 24
  assert 0 < stale.mean() < 1
  values = np.asarray(plain_values(initial_params(), batch.sequence))
  sequence = batch.sequence._replace(value=jnp.asarray(values))
  target = make_targets(target_key, sequence)
  searched = 3 * np.asarray(batch.sequence.observation[:, 0]).sum(axis=-1)
  searched = np.where(batch.sequence.is_last[:, 0], 0, searched)
  rows = np.where(stale, searched, target.value[:, 0])
  mask = np.asarray(target.value_mask[:, 0])
  np.testing.assert_allclose(
    found.value_target, (rows * mask).sum() / mask.sum(), rtol=1e-4)
  assert abs(found.value_target - wanted.value_target) > 0.01


def plain_values(params, sequence):
  """What Reanalyse makes of values: 0 of that search, then the network's."""
  rest = sequence.observation[:, K + 1 :]
  logits = helpers.tiny_model(A).root(params, rest.reshape(-1, 4)).value_logits
  values = TRANSFORM.invert(logits).reshape(N, TD)
  return jnp.concatenate([jnp.zeros((N, K + 1)), values], axis=1)


@pytest.mark.parametrize('fields', [
  dict(reanalyse_fraction=0.5), dict(reanalyse_fraction=0.0),
  dict(reanalyse_fraction=1.0, reanalyse_form='stream'),
])
def test_mixed_values_without_fresh_searches_are_refused(fields):
  with pytest.raises(UserError, match='mixed_value_age = 9'):
    make(mixed_value_age=9, reanalyse_search=lambda *_: None, **fields)


@pytest.mark.parametrize('fields', [
  dict(mixed_value_age=9, reanalyse_fraction=1.0), dict(td_correction=9)])
def test_monte_carlo_returns_never_bootstrap(fields):
  name = next(iter(fields))
  with pytest.raises(UserError, match=f"{name} = 9"):
    make(value_target='monte_carlo', reanalyse_search=lambda *_: None, **fields)


@pytest.mark.parametrize('name', ['consistency_weight', 'entropy_weight'])
def test_weights_of_what_there_is_none_of_are_refused(name):
  with pytest.raises(UserError, match=f'{name}=0.5'):
    total_loss.make_total_loss(
      helpers.tiny_model(A), TRANSFORM, TRANSFORM,
      settings.LossWeights(**{name: 0.5}))


def test_a_fraction_without_a_search_is_refused():
  with pytest.raises(UserError, match='reanalyse_fraction=0.5'):
    make(reanalyse_fraction=0.5)


# --- Devices ----------------------------------------------------------------

def test_eight_devices_make_the_step_of_one():
  """Same batch, same loss, same parameters; one bad shard skips all."""
  learn, step, (sequence, target, _) = shared()
  weights = jnp.linspace(0.1, 1.0, N)
  state = learn.init(initial_params())
  expected, expected_metrics = step(state, sequence, target, weights)

  mesh = Mesh(np.array(jax.devices()[:8]), ('devices',))
  local = make(target_period=3, batch_size=N // 8, axis_name='devices')
  split, whole = PartitionSpec('devices'), PartitionSpec()
  sharded = jax.jit(jax.shard_map(
    local.step, mesh=mesh, in_specs=(whole, split, split, split),
    out_specs=(whole, whole), check_vma=False,
  ))
  new_state, metrics = sharded(state, sequence, target, weights)
  np.testing.assert_allclose(metrics.loss, expected_metrics.loss, rtol=1e-5)
  np.testing.assert_allclose(
    metrics.grad_norm, expected_metrics.grad_norm, rtol=1e-5
  )
  chex.assert_trees_all_close(
    new_state.params, expected.params, rtol=1e-5, atol=1e-7
  )
  skipped, _ = sharded(state, *spoilt((sequence, target, weights)))
  assert skipped.num_skipped == 1
  helpers.assert_trees_equal(skipped.params, state.params)
  # Every device holds the same.
  for leaf in jax.tree.leaves(new_state.params):
    copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
    assert len(copies) == 8
    assert all(np.array_equal(copies[0], copy) for copy in copies)


def test_ages_count_the_steps_of_all_devices():
  """Each device draws from its own environments and counts those of all."""
  buffer, rng_key = make_buffer(), jax.random.key(7)
  learn = make(batch_size=N // 2, axis_name='devices')
  whole = PartitionSpec()
  by_env = PartitionSpec(None, 'devices')
  spec = buffer._replace(rows=by_env, priority=by_env, num_added=whole)
  mesh = Mesh(np.array(jax.devices()[:2]), ('devices',))
  *_, metrics = jax.jit(jax.shard_map(
    learn.update, mesh=mesh, in_specs=(whole, spec, whole),
    out_specs=(whole, spec, whole), check_vma=False,
  ))(learn.init(initial_params()), buffer, rng_key)
  sample_key = jax.random.split(rng_key, 5)[0]
  capacity, num_envs = buffer.priority.shape
  ages = []
  for envs in (slice(num_envs // 2), slice(num_envs // 2, None)):
    rows, priority = jax.tree.map(
      lambda x, envs=envs: x[:, envs], (buffer.rows, buffer.priority))
    batch = ring.sample(
      buffer._replace(rows=rows, priority=priority), sample_key,
      batch_size=N // 2, window=L)
    ages.append((buffer.num_added - 1 - batch.slot) % capacity * num_envs)
  np.testing.assert_allclose(metrics.sample_age, np.mean(ages), rtol=1e-6)
