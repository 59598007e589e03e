"""A host environment that answers in time and in shape, or ends in one error.

Between `types.HostEnvironment` and whoever plays in it: the actors of
`sebulba`, and `host_play`.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from muzero_jax.envs import shapes
from muzero_jax.errors import RunError, StoppedError, UserError
from muzero_jax.types import HostEnvironment, TimeStep

_LOOK = 0.2  # Seconds between looks at whether to stop.
# Seconds that a call may still take once nobody wants its answer.
_GRACE = 2.0


class WorkerError(RunError):
  """An environment raised, hung or returned what is no row; says which."""


class Worker:
  """A host environment in a thread of its own.

  A call that hangs cannot be ended from outside, but its thread can be left
  behind: it ends with the process, or closes the environment when it comes
  back.
  """

  def __init__(
    self,
    make_env: Callable[[], HostEnvironment],
    *,
    num_envs: int,
    name: str,
    timeout: float,
    is_stopped: Callable[[], bool] = lambda: False,
  ) -> None:
    """Starts the thread and makes the environment in it.

    Args:
      make_env: the environment, of `num_envs`.
      num_envs: B.
      name: who this is, in messages.
      timeout: seconds for each call, making the environment included.
      is_stopped: asked while a call is waited for.

    Raises:
      WorkerError: as all that follows.
      StoppedError: likewise; `is_stopped` says so, and the call has not come
        back soon afterwards.
    """
    self._is_stopped = is_stopped
    self._num_envs, self._name, self._timeout = num_envs, name, timeout
    self._requests: queue.SimpleQueue[Callable[[], Any] | None] = (
      queue.SimpleQueue())
    self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = (
      queue.SimpleQueue())
    self._is_last: np.ndarray | None = None
    self._env: HostEnvironment | None = None
    self._is_left_behind = False
    threading.Thread(
      target=_serve, args=(self._requests, self._answers), name=name,
      daemon=True).start()

    def make() -> HostEnvironment:
      env = make_env()
      if self._is_left_behind:
        env.close()
      return env

    try:
      self._env = self._call('making it', make)
    except (WorkerError, StoppedError):
      self.close()
      raise

  def reset(self, seed: int) -> TimeStep:
    """Returns the first rows [B] of new episodes."""
    assert self._env is not None
    reset = self._env.reset
    self._is_last = np.ones(self._num_envs, bool)
    return self._checked('reset', self._call('reset', lambda: reset(seed)))

  def step(self, action: np.ndarray) -> TimeStep:
    """Returns the rows [B] that the actions [B] lead to."""
    assert self._env is not None
    step = self._env.step
    return self._checked('step', self._call('step', lambda: step(action)))

  def close(self) -> None:
    """Closes the environment and ends the thread, at once if they can."""
    env, self._env = self._env, None
    if env is not None:
      self._requests.put(env.close)
    self._requests.put(None)
    if env is not None:
      try:
        # Whatever is wrong with it, it is not wanted any more.
        self._wait()
      except (queue.Empty, StoppedError):
        pass

  def _call(self, what: str, function: Callable[[], Any]) -> Any:
    """Returns what a function returns in the thread of the environment."""
    self._requests.put(function)
    try:
      result, error = self._wait()
    except StoppedError:
      self._leave_behind()
      raise
    except queue.Empty:
      self._leave_behind()
      raise WorkerError(
        f'{self._name}: {what} has not come back within worker_timeout = '
        f'{self._timeout:g} seconds'
      ) from None
    if error is not None:
      raise WorkerError(
        f'{self._name}: {what} raised {type(error).__name__}: {error}'
      ) from error
    return result

  def _wait(self) -> tuple[Any, BaseException | None]:
    """Return the next answer.

    Raises:
      queue.Empty: there is none in time.
      StoppedError: nobody wants it any more.
    """
    end, stopped_end = time.monotonic() + self._timeout, None
    while True:
      left = end - time.monotonic()
      try:
        return self._answers.get(timeout=max(min(left, _LOOK), 0))
      except queue.Empty:
        if left <= 0:
          raise
      if self._is_stopped():
        now = time.monotonic()
        stopped_end = stopped_end or now + _GRACE
        if now >= stopped_end:
          raise StoppedError(self._name)

  def _leave_behind(self) -> None:
    """Let the thread close the environment when the call comes back."""
    self._is_left_behind = True
    env, self._env = self._env, None
    if env is not None:
      self._requests.put(env.close)

  def _checked(self, what: str, row: TimeStep) -> TimeStep:
    """Returns a row that follows from the one before it."""
    assert self._env is not None
    try:
      _check(self._env, row, self._num_envs, self._is_last)
    except (ValueError, AttributeError) as error:
      raise WorkerError(
        f'{self._name}: {what} did not return a valid row: {error}') from None
    self._is_last = np.asarray(row.is_last)
    return row


def _serve(requests: Any, answers: Any) -> None:
  """Calls what is requested, one after another, until it is None."""
  while (function := requests.get()) is not None:
    try:
      answers.put((function(), None))
    except BaseException as error:  # noqa: B036 - whoever asked will raise it.
      answers.put((None, error))


def _check(
  env: HostEnvironment, row: Any, num_envs: int, was_last: Any
) -> None:
  """Raises UserError unless a row [B] keeps the contract."""
  name = env.spec.name
  shapes.check_row(env.spec, row, (num_envs,))
  if (row.is_first != was_last).any():
    raise UserError(f'{name}: is_first must follow is_last and nothing else')
  if (~row.is_last[row.discount == 0]).any():
    raise UserError(f'{name}: discount 0 must come with is_last')
  if not row.legal_actions.any(-1).all():
    raise UserError(f'{name}: each row needs a legal action')
  numbers = [row.reward]
  if np.issubdtype(row.observation.dtype, np.floating):
    numbers.append(row.observation)
  if not all(np.isfinite(x).all() for x in numbers):
    raise UserError(f'{name}: an observation or a reward is not finite')
