"""Jobs of one kind in Ray's processes: hired, watched and replaced."""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from muzero_jax.errors import RunError, UserError

# Seconds before a job is made anew, doubled with each failure without a
# stretch in between.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_MOST_FAILURES = 6  # In a row, of one job.
# What jobs see of this process's environment variables besides Ray's own.
_SHARED = ('JAX_COMPILATION_CACHE_DIR', 'JAX_ENABLE_COMPILATION_CACHE')


class Done(NamedTuple):
  """What a job has returned."""

  result: Any
  ref: Any  # Ray's reference to it, for other jobs.


class _Place:
  """One job, whoever holds it."""

  def __init__(self, index: int, incarnation: int) -> None:
    self.index, self.incarnation = index, incarnation
    self.handle: Any = None
    self.pending: Any = None
    self.since = 0.0  # When it was given what it is at.
    self.free_at = 0.0  # When it may be hired.
    self.number = 0
    self.failures = 0


# handle, number of the task -> Ray's reference to what it will return; None
# if there is nothing to do.
Assign = Callable[[Any, int], Any]


class Crew:
  """Jobs that all do the same; each has one task at most."""

  def __init__(
    self,
    kind: str,
    job: Any,
    parts: Any,
    *,
    count: int,
    incarnation: int,
    timeout: float,
    report: Callable[[str], Any],
  ) -> None:
    """Hires nobody yet.

    Args:
      kind: of job, in messages.
      job: its class, of (parts, index, incarnation).
      parts: what Ray is to carry to them.
      count: of jobs.
      incarnation: the first; higher than any that this run had before.
      timeout: seconds without a result after which a job is replaced.
      report: gets a line about each loss.
    """
    import ray  # An extra.

    self._ray, self._kind, self._timeout = ray, kind, timeout
    self._report = report
    self._parts = ray.put(parts)
    shared = {x: os.environ[x] for x in _SHARED if x in os.environ}
    self._class = ray.remote(job).options(
      num_cpus=1, max_restarts=0, max_task_retries=0,
      runtime_env=dict(env_vars=dict(shared, JAX_PLATFORMS='cpu')))
    self._places = [_Place(i, incarnation) for i in range(count)]
    self.num_lost = 0  # Tasks that were lost with their job.

  def take(self, assign: Assign, wait: float) -> Done | None:
    """Returns what some job has done, whichever has waited longest.

    It is given its next task at once, so that it works while its result is
    used.

    Args:
      assign: gives a job its next task.
      wait: seconds to wait at most.

    Raises:
      RunError: a job fails again and again.
      UserError: what it was asked for cannot be done.
    """
    self._occupy(assign)
    busy = {x.pending: x for x in sorted(
      self._places, key=lambda x: x.since) if x.pending is not None}
    if not busy:
      time.sleep(wait)
      return None
    ready, _ = self._ray.wait(
      list(busy), num_returns=1, timeout=wait, fetch_local=True)
    now = time.monotonic()
    if not ready:
      for place in busy.values():
        if now - place.since > self._timeout:
          self._lose(place, f'nothing for {self._timeout:g} s')
      return None
    place = busy[ready[0]]
    try:
      result = self._ray.get(place.pending)
    except Exception as error:
      cause = getattr(error, 'cause', None) or error
      if isinstance(cause, UserError):
        raise cause from None  # It would be the same again.
      self._lose(place, _first_line(cause))
      return None
    ref, place.pending, place.failures = place.pending, None, 0
    self._occupy(assign)
    return Done(result, ref)

  def close(self) -> None:
    """Ends all jobs."""
    for place in self._places:
      self._dismiss(place)

  def _occupy(self, assign: Assign) -> None:
    """Hire for each free place, and give tasks to all without one."""
    now = time.monotonic()
    for place in self._places:
      if place.handle is None and now >= place.free_at:
        place.handle = self._class.remote(
          self._parts, place.index, place.incarnation)
      if place.handle is not None and place.pending is None:
        place.pending = assign(place.handle, place.number + 1)
        if place.pending is not None:
          place.number += 1
          place.since = now

  def _lose(self, place: _Place, why: str) -> None:
    """Make a place free after its job has failed."""
    self._dismiss(place)
    self.num_lost += 1
    place.failures += 1
    place.incarnation += 1
    place.number = 0
    if place.failures >= _MOST_FAILURES:
      raise RunError(
        f'{self._kind} {place.index} failed {place.failures} times in a row: '
        f'{why}')
    pause = min(_FIRST_PAUSE * 2 ** (place.failures - 1), _LONGEST_PAUSE)
    place.free_at = time.monotonic() + pause
    self._report(
      f'{self._kind} {place.index} is lost, with what it was at ({why}); it is '
      f'made anew after {pause:g} s')

  def _dismiss(self, place: _Place) -> None:
    handle, place.handle, place.pending = place.handle, None, None
    if handle is not None:
      self._ray.kill(handle, no_restart=True)


def _first_line(error: BaseException) -> str:
  """Return what an error of a job says, without Ray's trace."""
  lines = [x.strip() for x in str(error).splitlines() if x.strip()]
  return f'{type(error).__name__}: {lines[0][:300] if lines else ""}'
