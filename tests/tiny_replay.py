"""Random rows, a ring filled with them, and the stacks that an actor saw."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.replay import frame_stack, ring
from muzero_jax.types import EnvSpec, Trajectory

NUM_ENVS, NUM_ACTIONS, CHUNK = 3, 4, 4
IMAGE = EnvSpec('test/image', (2, 1, 1), np.uint8, NUM_ACTIONS)
VECTOR = EnvSpec('test/vector', (2,), np.float32, NUM_ACTIONS)


def make_rows(rng, spec, num_rows, num_envs=NUM_ENVS):
  """Random rows; an episode's last row is followed by a first one."""
  shape = (num_rows, num_envs)
  is_last = rng.random(shape) < 0.25
  is_first = np.concatenate([np.ones((1, num_envs), bool), is_last[:-1]])
  f32 = lambda *s: rng.normal(size=s).astype(np.float32)  # noqa: E731
  return Trajectory(
    frame=rng.integers(1, 255, shape + spec.observation_shape).astype(
      spec.observation_dtype
    ),
    reward=f32(*shape),
    discount=(1 - is_last * rng.integers(0, 2, shape)).astype(np.float32),
    is_first=is_first,
    is_last=is_last,
    legal_actions=rng.random((*shape, NUM_ACTIONS)) < 0.5,
    to_play=rng.integers(0, 2, shape).astype(np.int32),
    action=rng.integers(0, NUM_ACTIONS, shape).astype(np.int32),
    policy=f32(*shape, NUM_ACTIONS),
    value=f32(*shape),
  )


add = jax.jit(ring.add)


def part(rows, start, stop):
  return jax.tree.map(lambda x: x[start:stop], rows)


def fill(spec, rows, capacity, chunk=CHUNK):
  """A replay to which the log `rows` was added in chunks."""
  num_rows, num_envs = rows.reward.shape
  state = ring.init(spec, num_envs, capacity)
  for start in range(0, num_rows, chunk):
    state = add(state, part(rows, start, start + chunk))
  return state


def stacks(spec, rows, stacked_frames, stack_actions):
  """What the actor sees: `history.push` from the first row on."""
  num_envs = rows.reward.shape[1]
  state = frame_stack.init(spec, num_envs, stacked_frames)
  action = jnp.full(num_envs, -1, jnp.int32)
  observed = []
  for t in range(len(rows.reward)):
    state, seen = push_and_observe(
      state, rows.frame[t], action, rows.is_first[t], spec.num_actions,
      stack_actions,
    )
    action = rows.action[t]
    observed.append(np.asarray(seen))
  return np.stack(observed)


@functools.partial(jax.jit, static_argnums=(4, 5))
def push_and_observe(state, frame, action, is_first, num_actions, with_actions):
  state = frame_stack.push(state, frame, action, is_first)
  return state, frame_stack.observe(state, num_actions, with_actions)
