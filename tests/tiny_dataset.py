"""Random rows that keep the contract, for tests of datasets."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny_run

from muzero_jax import envs
from muzero_jax.replay import ring
from muzero_jax.runs import checkpoint, run_dir
from muzero_jax.types import EnvSpec, Trajectory

NUM_ACTIONS = 3
SPEC = EnvSpec(
  'test/tiny', (4,), np.float32, NUM_ACTIONS, max_episode_steps=9,
  action_names=('left', 'stay', 'right'))


def make_rows(num_rows=12, num_envs=2, *, seed=0, spec=SPEC):
  """Rows [T, B] of which a fifth end an episode."""
  rng = np.random.default_rng(seed)
  shape = (num_rows, num_envs)
  is_last = rng.random(shape) < 0.2
  is_last[-1] = True
  is_first = np.concatenate([np.ones((1, num_envs), bool), is_last[:-1]])
  f32 = lambda x: np.asarray(x, np.float32)  # noqa: E731
  legal = rng.random((*shape, spec.num_actions)) < 0.5
  legal[..., 0] = True
  policy = legal * rng.dirichlet(np.ones(spec.num_actions), shape)
  policy /= policy.sum(-1, keepdims=True)
  frame = 200 * rng.random(shape + tuple(spec.observation_shape))
  return Trajectory(
    frame=frame.astype(spec.observation_dtype),
    reward=f32(rng.normal(size=shape) * ~is_first),
    discount=f32(1 - is_last * rng.integers(0, 2, shape)),
    is_first=is_first,
    is_last=is_last,
    legal_actions=legal,
    to_play=np.zeros(shape, np.int32),
    action=np.int32((legal * rng.random(legal.shape)).argmax(-1)),
    policy=f32(policy),
    value=f32(rng.normal(size=shape)),
  )


def store_run(workdir, **changes):
  """A run directory whose replay holds rows; returns them, in time order."""
  config = tiny_run.config(replay_capacity=128, **changes)
  spec = envs.spec(config)
  rows = make_rows(num_rows=24, num_envs=8, spec=spec)
  state = ring.init(spec, 8, config.capacity_rows_per_env)
  for t in (0, 8, 16):
    chunk = jax.tree.map(lambda x, t=t: jnp.asarray(x[t:t + 8]), rows)
    state = ring.add(state, chunk)
  if config.num_seeds > 1:
    other = state._replace(rows=jax.tree.map(jnp.zeros_like, state.rows))
    state = jax.tree.map(lambda x, y: jnp.stack([x, y]), other, state)
  run_dir.store(workdir, config)
  checkpoint.save(workdir, 150, {'replay': state})
  return config, jax.tree.map(lambda x: x[8:], rows)
