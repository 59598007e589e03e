"""A learner of a tiny model, one batch for it, and what spoils that batch."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax

from muzero_jax import targets
from muzero_jax.config import settings
from muzero_jax.learning import learner, total_loss
from muzero_jax.replay import reanalyse, ring
from muzero_jax.types import EnvSpec, Sequence, Trajectory

N, K, TD, A = 16, 2, 2, 3
L = K + 1 + TD
TRANSFORM = helpers.TRANSFORM
SPEC = EnvSpec('test', (4,), np.float32, A)
SGD = optax.sgd(0.05)


def make_batch(seed=0):
  """Windows [N, L, ...] of which some end."""
  rng = np.random.default_rng(seed)
  f32 = lambda *s: rng.normal(size=s).astype(np.float32)  # noqa: E731
  is_last = rng.random((N, L)) < 0.2
  is_last[:, 0] = False
  return Sequence(
    observation=f32(N, 1, 4),
    reward=f32(N, L),
    discount=(1 - is_last * rng.integers(0, 2, (N, L))).astype(np.float32),
    is_last=is_last,
    legal_actions=np.ones((N, L, A), bool),
    to_play=np.zeros((N, L), np.int32),
    action=rng.integers(0, A, (N, L)).astype(np.int32),
    policy=rng.dirichlet(np.ones(A), (N, L)).astype(np.float32),
    value=f32(N, L),
  )


@jax.jit
def make_targets(rng_key, sequence):
  make = functools.partial(
    targets.make_targets, unroll_steps=K, td_steps=TD, discount=0.9
  )
  num_sequences = sequence.reward.shape[0]
  return jax.vmap(make)(jax.random.split(rng_key, num_sequences), sequence)


def make(optimiser=SGD, *, width=8, **kwargs):
  functions = helpers.tiny_model(A, width=width)
  reanalyser = None
  if search := kwargs.pop('reanalyse_search', None):
    reanalyser = reanalyse.Reanalyser(
      search, reanalyse.make_value_fn(functions, TRANSFORM))
  own = {
    name: kwargs.pop(name)
    for name in ('symmetries', 'axis_name', 'value_fn') if name in kwargs}
  return learner.make_learner(
    total_loss.make_total_loss(
      functions, TRANSFORM, TRANSFORM, settings.LossWeights()),
    optimiser,
    settings.Learning(**{
      'batch_size': N, 'unroll_steps': K, 'td_steps': TD, 'discount': 0.9,
      **kwargs}),
    reanalyser=reanalyser,
    **own,
  )


@functools.cache
def initial_params(width=8):
  functions = helpers.tiny_model(A, width=width)
  params = jax.jit(functions.init)(
    jax.random.key(0, impl='rbg'), jnp.zeros((1, 4))
  )
  return helpers.random_params(params, jax.random.key(1))


@functools.cache
def shared():
  """A learner of period 3, its jitted step and a batch."""
  learn = make(target_period=3)
  batch = make_batch()
  data = batch, make_targets(jax.random.key(0), batch), jnp.ones(N)
  return learn, jax.jit(learn.step), data


def spoilt(data):
  sequence, target, weights = data
  observation = np.array(sequence.observation)
  observation[3] = np.nan
  return sequence._replace(observation=observation), target, weights


def make_buffer(capacity=16, num_envs=4):
  """Rows of a replay."""
  rng = np.random.default_rng(4)
  shape = (capacity, num_envs)
  f32 = lambda *s: rng.normal(size=s).astype(np.float32)  # noqa: E731
  is_last = rng.random(shape) < 0.2
  rows = Trajectory(
    frame=f32(*shape, 4),
    reward=f32(*shape),
    discount=(1 - is_last).astype(np.float32),
    is_first=np.concatenate([np.ones((1, num_envs), bool), is_last[:-1]]),
    is_last=is_last,
    legal_actions=np.ones((*shape, A), bool),
    to_play=np.zeros(shape, np.int32),
    action=rng.integers(0, A, shape).astype(np.int32),
    policy=rng.dirichlet(np.ones(A), shape).astype(np.float32),
    value=f32(*shape),
  )
  state = ring.add(ring.init(SPEC, num_envs, capacity), rows)
  priority = state.priority * rng.uniform(0.5, 2, shape)
  return state._replace(priority=jnp.asarray(priority, jnp.float32))
