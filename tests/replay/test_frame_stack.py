"""History: stacks made one frame at a time, against literal arrays."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax.replay import frame_stack
from muzero_jax.types import EnvSpec


def make_spec(shape=(1,), dtype=np.float32, num_actions=4):
  return EnvSpec('test', shape, dtype, num_actions)


def push_all(state, frames, actions, firsts):
  for frame, action, first in zip(frames, actions, firsts):
    state = frame_stack.push(
      state, jnp.array([[frame]], jnp.float32), jnp.array([action]),
      jnp.array([first]),
    )
  return state


def test_init_is_empty():
  state = frame_stack.init(make_spec((2, 3, 1), np.uint8), 5, 4)
  chex.assert_shape(state.frames, (5, 4, 2, 3, 1))
  assert state.frames.dtype == jnp.uint8
  assert not state.frames.any()
  np.testing.assert_array_equal(state.actions, np.full((5, 4), -1))


def test_push_keeps_the_last_frames_oldest_first():
  state = frame_stack.init(make_spec(), 1, 3)
  state = push_all(
    state, [1, 2, 3, 4], [-1, 0, 1, 2], [True, False, False, False]
  )
  np.testing.assert_array_equal(state.frames[0, :, 0], [2, 3, 4])
  np.testing.assert_array_equal(state.actions[0], [0, 1, 2])


def test_push_forgets_the_episode_before():
  state = frame_stack.init(make_spec(), 1, 3)
  state = push_all(
    state, [1, 2, 3, 4], [-1, 0, 1, 2], [True, False, True, False]
  )
  np.testing.assert_array_equal(state.frames[0, :, 0], [0, 3, 4])
  # The action of a last row leads nowhere.
  np.testing.assert_array_equal(state.actions[0], [-1, -1, 2])


def test_push_resets_only_the_environments_that_start():
  state = frame_stack.init(make_spec(), 2, 2)
  state = frame_stack.push(
    state, jnp.ones((2, 1)), jnp.array([1, 1]), jnp.array([True, True])
  )
  state = frame_stack.push(
    state, jnp.full((2, 1), 2.0), jnp.array([3, 3]), jnp.array([True, False])
  )
  np.testing.assert_array_equal(state.frames[..., 0], [[0, 2], [1, 2]])
  np.testing.assert_array_equal(state.actions, [[-1, -1], [-1, 3]])


def test_push_works_in_a_scan_and_keeps_dtypes():
  spec = make_spec((2, 2, 1), np.uint8)
  start = frame_stack.init(spec, 3, 2)
  frames = jnp.arange(5 * 3 * 4, dtype=jnp.uint8).reshape(5, 3, 2, 2, 1)

  def body(state, frame):
    new = frame_stack.push(
      state, frame, jnp.zeros(3, jnp.int32), jnp.zeros(3, bool)
    )
    return new, None

  state, _ = jax.lax.scan(body, start, frames)
  np.testing.assert_array_equal(
    state.frames, np.moveaxis(np.asarray(frames[-2:]), 0, 1)
  )


def test_stack_puts_frames_side_by_side_in_the_last_axis():
  frames = np.arange(2 * 3 * 2 * 2 * 2, dtype=np.float32)
  frames = frames.reshape(2, 3, 2, 2, 2)
  stacked = frame_stack.stack(
    jnp.array(frames), jnp.zeros((2, 3), jnp.int32), 4, False
  )
  expected = np.concatenate([frames[:, s] for s in range(3)], axis=-1)
  np.testing.assert_array_equal(stacked, expected)


def test_stack_appends_action_planes_scaled_by_the_number_of_actions():
  frames = jnp.zeros((1, 2, 2, 2, 1), jnp.float32)
  stacked = frame_stack.stack(frames, jnp.array([[-1, 3]]), 4, True)
  chex.assert_shape(stacked, (1, 2, 2, 4))
  np.testing.assert_array_equal(stacked[..., 2], np.zeros((1, 2, 2)))
  np.testing.assert_array_equal(stacked[..., 3], np.ones((1, 2, 2)))


def test_action_planes_of_images_use_their_range():
  frames = jnp.zeros((1, 3, 1, 1, 1), jnp.uint8)
  stacked = frame_stack.stack(frames, jnp.array([[-1, 1, 3]]), 4, True)
  assert stacked.dtype == jnp.uint8
  np.testing.assert_array_equal(
    stacked[0, 0, 0], [0, 0, 0, 0, 128, 255]
  )


def test_actions_of_boolean_boards_stay_fractions():
  frames = jnp.ones((1, 2, 1, 1, 1), bool)
  stacked = frame_stack.stack(frames, jnp.array([[0, 1]]), 4, True)
  np.testing.assert_array_equal(stacked[0, 0, 0], [1, 1, 0.25, 0.5])


@pytest.mark.parametrize('stack_actions', [False, True])
@pytest.mark.parametrize('shape', [(3,), (4, 5, 2)])
def test_observation_shape_is_that_of_an_observation(shape, stack_actions):
  spec = make_spec(shape)
  state = frame_stack.init(spec, 2, 3)
  observed = frame_stack.observe(state, spec.num_actions, stack_actions)
  expected = frame_stack.observation_shape(spec, 3, stack_actions)
  assert observed.shape == (2, *expected)
