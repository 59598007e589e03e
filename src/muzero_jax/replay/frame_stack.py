"""Stacks an episode's last frames and actions into one network input.

The actor keeps a running `History`; the replay gathers the same stacks from
single stored frames, so both give the network the same input.
"""

import jax.numpy as jnp

from muzero_jax.types import Array, EnvSpec, History


def init(spec: EnvSpec, num_envs: int, stacked_frames: int) -> History:
  """Returns the empty history of `num_envs` episodes."""
  shape = (num_envs, stacked_frames)
  return History(
    frames=jnp.zeros(
      shape + tuple(spec.observation_shape), spec.observation_dtype
    ),
    actions=jnp.full((*shape, *spec.action_shape), -1, spec.action_dtype),
  )


def no_action(spec: EnvSpec, num_envs: int) -> Array:
  """Returns the actions [B, ...] of agents that have not acted yet."""
  return jnp.full((num_envs, *spec.action_shape), -1, spec.action_dtype)


def push(
  history: History, frame: Array, action: Array, is_first: Array
) -> History:
  """Returns the history after a new frame.

  Args:
    history: of B episodes.
    frame: [B, ...] the newest frame.
    action: [B, ...] the action that led to it; ignored where `is_first`.
    is_first: [B] True where the frame opens an episode: all before it is
      forgotten.
  """
  frames = jnp.where(
    _expand(is_first, history.frames), 0, history.frames
  ).astype(history.frames.dtype)
  actions = jnp.where(_expand(is_first, history.actions), -1, history.actions)
  action = jnp.where(_expand(is_first, action), -1, action)
  return History(
    frames=jnp.concatenate([frames[:, 1:], frame[:, None]], axis=1),
    actions=jnp.concatenate([actions[:, 1:], action[:, None]], axis=1),
  )


def stack(
  frames: Array, actions: Array, num_actions: int, stack_actions: bool
) -> Array:
  """Returns the network input made of S frames.

  Images [B, S, H, W, C] become [B, H, W, S * C], followed by S planes of
  (action + 1) / A if `stack_actions` (MuZero appendix E; here 0 means that no
  action led to the frame); vectors [B, S, N] become [B, S * N] likewise.

  Args:
    frames: [B, S, ...] oldest first.
    actions: [B, S] the action that led to each frame, -1 for none.
    num_actions: A.
    stack_actions: whether to append the actions.
  """
  num_frames = frames.shape[1]
  stacked = jnp.moveaxis(frames, 1, -2)
  stacked = stacked.reshape(*stacked.shape[:-2], -1)
  if not stack_actions:
    return stacked
  planes = (actions + 1) / num_actions
  if frames.dtype == jnp.uint8:
    planes = jnp.round(255 * planes).astype(jnp.uint8)
  else:
    stacked = stacked.astype(planes.dtype)  # bool cannot hold a fraction.
  middle = (1,) * (stacked.ndim - 2)
  planes = planes.reshape(-1, *middle, num_frames)
  planes = jnp.broadcast_to(planes, (*stacked.shape[:-1], num_frames))
  return jnp.concatenate([stacked, planes], axis=-1)


def observe(
  history: History, num_actions: int, stack_actions: bool
) -> Array:
  """Returns the network input [B, ...] of the newest frame of a history."""
  return stack(history.frames, history.actions, num_actions, stack_actions)


def observation_shape(
  spec: EnvSpec, stacked_frames: int, stack_actions: bool
) -> tuple[int, ...]:
  """Returns the shape of one network input, without the batch."""
  *lead, last = spec.observation_shape
  extra = stacked_frames if stack_actions else 0
  return (*lead, stacked_frames * last + extra)


def _expand(mask: Array, like: Array) -> Array:
  return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim))
