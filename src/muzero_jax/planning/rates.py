"""How fast a machine plays, learns and searches again: measured, and kept.

The jobs of `drivers.cluster` are timed one after the other in this process, so
that what is timed is what runs.
"""

import dataclasses
import functools
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from muzero_jax import files
from muzero_jax.config import Config
from muzero_jax.drivers.cluster import driver, jobs, runtime
from muzero_jax.errors import UserError
from muzero_jax.types import AnyEnvironment

_LEAST_SECONDS = 3.0  # Of each measurement.
_MOST_BYTES, _MOST = 1 << 20, 1e9


@dataclasses.dataclass(frozen=True)
class Rates:
  """Seconds of one device, and of the processor's cores beside it."""

  device: str  # As JAX calls it.
  cores: int  # Of the machine.
  play_seconds: float  # For each row that a player makes.
  play_core_seconds: float  # Of all cores together.
  update_seconds: float
  update_core_seconds: float
  search_seconds: float  # For each row that Reanalyse searches; 0 for none.
  search_core_seconds: float


def measure(config: Config, make_env: Callable[..., AnyEnvironment]) -> Rates:
  """Measure this machine with the sizes of a run.

  It takes a minute or two, most of which compiles.

  Args:
    config: of the run, with nothing left to the environment.
    make_env: (config, *, num_envs) -> environments, as `envs.make`.
  """
  # One player with all environments, and a replay of two stretches at least.
  spec = make_env(config, num_envs=1).spec
  streams = bool(config.reanalyse_fraction)
  streamed = dataclasses.replace(
    _roomy(config), min_replay=1,
    reanalyse_form='stream' if streams else config.reanalyse_form)
  learns = driver.make_parts(
    streamed, spec, make_env, runtime.Wanted(1, int(streams)))
  parts, plan = learns.parts, learns.parts.plan
  state = jax.jit(functools.partial(driver.init, learns))(jax.random.key(0))
  published = driver.published(state)
  player = jobs.Player(parts, 0, 0)
  stretch = player.play(published, 1)
  played = _timed(lambda: player.play(published, 2))
  rows = plan.rollouts * config.rollout_length * plan.num_envs
  searched = (0.0, 0.0)
  if streams:
    reanalyser = jobs.Reanalyser(parts, 0, 0)
    search = lambda: reanalyser.search(published, stretch, 0, 1)
    search()
    searched = _timed(search)
  learnt = _time_updates(learns, state, stretch)
  num_updates = max(plan.updates, 1)
  num_searched = (plan.length - plan.context) * plan.num_envs
  return Rates(
    device=jax.devices()[0].device_kind, cores=os.cpu_count() or 1,
    play_seconds=played[0] / rows, play_core_seconds=played[1] / rows,
    update_seconds=learnt[0] / num_updates,
    update_core_seconds=learnt[1] / num_updates,
    search_seconds=searched[0] / num_searched,
    search_core_seconds=searched[1] / num_searched)


def _roomy(config: Config) -> Config:
  """Return the configuration with a replay that holds a few stretches."""
  rows = 4 * config.num_envs * (config.rollout_length + 256)
  return dataclasses.replace(
    config, replay_capacity=max(config.replay_capacity, rows))


def _time_updates(learns: Any, state: Any, stretch: Any) -> tuple[float, float]:
  """Return the seconds of a stretch's updates, by the clock and of cores."""
  learn = jax.jit(
    functools.partial(driver.learn, learns.learner), donate_argnums=0)
  if state.stream is not None:
    state = state._replace(stream=driver.add_fresh(
      state.stream, stretch.rows._replace(action_value=None), np.int32(0),
      np.int32(0)))

  def step() -> None:
    nonlocal state
    state, metrics = learn(state, stretch.rows, stretch.stats)
    jax.block_until_ready(metrics)

  step()
  return _timed(step)


def _timed(act: Callable[[], Any]) -> tuple[float, float]:
  """Return the mean seconds of some calls, by the clock and of all cores."""
  count, start, cores = 0, time.monotonic(), time.process_time()
  while time.monotonic() - start < _LEAST_SECONDS:
    act()
    count += 1
  return (
    (time.monotonic() - start) / count, (time.process_time() - cores) / count)


def write(path: str | os.PathLike, found: Rates) -> None:
  """Write rates as JSON."""
  with files.writing(str(path)):
    files.write_json(pathlib.Path(path), dataclasses.asdict(found))


def read(path: str | os.PathLike) -> Rates:
  """Read rates from JSON.

  Raises:
    UserError: the file is none of `write`'s.
  """
  try:
    data = json.loads(files.read_bytes(pathlib.Path(path), _MOST_BYTES))
    found = Rates(**data)
    numbers = [x for name, x in data.items() if name != 'device']
    is_sound = isinstance(found.device, str) and all(
      type(x) in (int, float) and 0 <= x < _MOST for x in numbers)
    if not is_sound:
      raise ValueError('not all rates are numbers')
  except (OSError, TypeError, ValueError) as error:
    raise UserError(
      f'rates = {os.fspath(path)!r}: not what --measure writes ({error})'
    ) from None
  return found
