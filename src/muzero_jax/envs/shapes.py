"""Whether an environment's arrays are those of its spec; nothing is run."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from muzero_jax import types
from muzero_jax.errors import UserError

_F = TypeVar('_F', bound=Callable[..., Any])


def in_32_bits(function: _F) -> _F:
  """Returns a function for which whatever names no dtype is of 32 bits.

  So specs say it. With JAX_ENABLE_X64 it would be of 64 bits, and some
  libraries of games then fail by themselves.
  """

  @functools.wraps(function)
  def call(*args: Any, **kwargs: Any) -> Any:
    with jax.enable_x64(False):
      return function(*args, **kwargs)

  return call  # type: ignore[return-value]


def check_arrays(environment: types.Environment, num_envs: int) -> None:
  """Raises UserError if the traced arrays are not those of the spec.

  Runs nothing; `make_environment` does it by itself.

  Args:
    environment: pure functions.
    num_envs: B, of `environment`.
  """
  spec = environment.spec
  key = jax.eval_shape(lambda: jax.random.key(0))
  action = jax.ShapeDtypeStruct(
    (num_envs, *spec.action_shape), spec.action_dtype)
  state, row = jax.eval_shape(environment.init, key)
  next_state, next_row = jax.eval_shape(environment.step, state, action, key)
  check_row(spec, row, (num_envs,))
  check_row(spec, next_row, (num_envs,))
  leaves = jax.tree_util.tree_leaves_with_path(state)
  for (path, x), y in zip(leaves, jax.tree.leaves(next_state)):
    if x.shape != y.shape:
      raise UserError(
        f'{spec.name}: state{jax.tree_util.keystr(path)} has shape '
        f'{x.shape} after reset and {y.shape} after step'
      )


def check_row(
  spec: types.EnvSpec, row: types.TimeStep, batch_shape: tuple[int, ...]
) -> None:
  """Raises UserError if a row's shapes and dtypes are not the spec's.

  Args:
    spec: of its environment.
    row: traced, of JAX or of NumPy.
    batch_shape: the axes in front, [B] or [T, B].
  """
  expected: dict[str, tuple[tuple[int, ...], Any]] = {
    'observation': (spec.observation_shape, spec.observation_dtype),
    'reward': ((), np.float32),
    'discount': ((), np.float32),
    'is_first': ((), np.bool_),
    'is_last': ((), np.bool_),
    'legal_actions': ((spec.num_actions,), np.bool_),
    'to_play': ((), np.int32),
  }
  for name, (shape, dtype) in expected.items():
    value = getattr(row, name)
    want = (*batch_shape, *shape)
    if value.shape != want or value.dtype != np.dtype(dtype):
      raise UserError(
        f'{spec.name}: {name} is {value.dtype}{list(value.shape)}, '
        f'expected {np.dtype(dtype)}{list(want)}'
      )
