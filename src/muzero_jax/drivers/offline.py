"""The driver without environments: all data come from a dataset.

Each iteration is `updates_per_iteration` updates on a replay that holds the
dataset and never changes. With reanalyse_fraction 1 this is MuZero Unplugged
(arXiv 2104.06294). The rows stand beside the state, so no checkpoint repeats
them; they and the batch are sharded over a mesh of devices as Anakin's are.
"""

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from muzero_jax import wide_counts
from muzero_jax.config import Config
from muzero_jax.drivers import build, iteration
from muzero_jax.drivers import placement as placement_lib
from muzero_jax.drivers.build import Extensions, System
from muzero_jax.drivers.iteration import Driver, IterationMetrics, Step
from muzero_jax.drivers.placement import Placement
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.errors import UserError
from muzero_jax.learning.learner import Learner
from muzero_jax.replay import dataset
from muzero_jax.replay.dataset import Dataset
from muzero_jax.replay.reanalyse_buffer import Stream
from muzero_jax.replay.ring import ReplayState
from muzero_jax.types import Array, Trajectory

# In a state: what offline runs do not have, or have beside it.
_NONE: Any = None
_BY_ENV = PartitionSpec(None, placement_lib.AXIS)


class _Parts(NamedTuple):
  """What a run is made of; never crosses jit."""

  config: Config
  data: Dataset
  system: System
  learn: Learner
  streamer: Stream | None
  placement: Placement


def make_offline(
  config: Config,
  data: Dataset,
  *,
  num_devices: int = 1,
  extensions: Extensions = build.NONE,
) -> Driver:
  """Make the driver.

  In its states and metrics `num_steps` counts updates: there are no others.
  With several agents side by side, all learn from the same rows.

  Args:
    config: of the run.
    data: what it learns from.
    num_devices: the first so many of `jax.devices()`.
    extensions: a user's own parts.

  Raises:
    UserError: if the network does not fit the data.
  """
  num_rows, num_envs = data.rows.reward.shape
  size = dict(rows_per_env=num_rows, num_envs=num_envs)
  system = build.make_system(config, data.spec, extensions)
  streamer = build.make_stream(
    config, data.spec, system, num_devices=num_devices, **size)
  placement = placement_lib.make_placement(
    config, num_devices, streamed=streamer is not None)
  learn = build.make_learner(
    config, data.spec, system, num_devices=num_devices,
    axis_name=placement.axis_name)
  parts = _Parts(config, data, system, learn, streamer, placement)
  # A copy of each column: the files are no place for what a run rests on.
  rows = jax.tree.map(
    lambda column: jax.device_put(
      np.array(column), NamedSharding(placement.mesh, _BY_ENV)),
    data.rows,
  )
  step = jax.jit(_make_step(parts), donate_argnums=0)
  return Driver(
    spec=data.spec,
    restorable=True,
    init=functools.partial(_init, parts),
    restart_actors=lambda rng_key, step: _NONE,
    abstract=functools.partial(_abstract, parts),
    session=functools.partial(_session, step, rows),
    num_devices=num_devices,
    samples_per_row=None,
    searches_per_iteration=build.searches_per_iteration(
      config, num_devices, **size),
    rows_per_iteration=0,
    step=lambda state: step(state, rows),
  )


def _session(
  step: Any,
  rows: Trajectory,
  state: TrainState,
  report: Callable[[str], Any] = print,
  should_stop: Callable[[], bool] = lambda: False,
) -> contextlib.AbstractContextManager[Step]:
  """Compile the step for a state; nothing is started."""
  del report, should_stop  # No iteration waits for anybody.
  compiled = step.lower(state, rows).compile()
  return contextlib.nullcontext(lambda state: compiled(state, rows))


def _make_step(parts: _Parts) -> Callable[..., Any]:
  """Make the step of all agents and devices, of a state and rows."""
  placement = parts.placement
  step: Any = functools.partial(_iterate, parts)
  if placement.many:
    step = jax.vmap(step, in_axes=(0, None), axis_name=placement_lib.AGENTS)
  return placement.over_devices(
    step, in_specs=(placement.specs, _BY_ENV),
    out_specs=(placement.specs, PartitionSpec()))


def _init(parts: _Parts, rng_key: Array) -> TrainState:
  """Make the state before the first update."""
  placement = parts.placement
  init = placement.over_agents(functools.partial(_init_one, parts))
  state = jax.jit(init)(rng_key)
  return placement_lib.place(placement.shardings, state._replace(
    stream=iteration.init_stream(parts.streamer, placement, rng_key)))


def _init_one(parts: _Parts, rng_key: Array) -> TrainState:
  """Make the state of one agent, without a stream."""
  config, data = parts.config, parts.data
  model_key, next_key = jax.random.split(rng_key)
  observation = build.example_observation(config, data.spec)
  priority = opening_rows(data.rows, config.stacked_frames)
  return TrainState(
    learner=parts.learn.init(parts.system.model.init(model_key, observation)),
    actor=_NONE,
    replay=ReplayState(
      _NONE, jnp.asarray(priority, jnp.float32), jnp.int32(len(priority))
    ),
    rng_key=jax.random.split(next_key, parts.placement.num_devices),
    num_steps=wide_counts.zero(),
    num_iterations=wide_counts.zero(),
  )


def _abstract(parts: _Parts) -> TrainState:
  """Return shapes, types and shardings of a state."""
  rng_key = iteration.run_key(parts.config)
  shapes = jax.eval_shape(functools.partial(_init, parts), rng_key)
  return placement_lib.abstract_like(parts.placement.shardings, shapes)


def opening_rows(rows: Trajectory, stacked_frames: int) -> np.ndarray:
  """Returns which rows [T, B] may open a window.

  Not an episode's last ones, and not those near the start of which the data
  lack a frame, or the action that led to the oldest frame.

  Args:
    rows: [T, B, ...] in time order.
    stacked_frames: S.
  """
  is_whole = np.maximum.accumulate(np.asarray(rows.is_first), axis=0)
  is_whole[stacked_frames:] = True
  return is_whole & ~np.asarray(rows.is_last)


def check_same_data(workdir: str | os.PathLike, data: Dataset) -> None:
  """Raises UserError where a run directory has learnt from other data."""
  if (pathlib.Path(workdir) / dataset.FACTS_FILE).exists():
    facts = dataset.read_facts(workdir)
    for name, column in facts['columns'].items():
      if column['sha256'] != data.facts['columns'][name]['sha256']:
        raise UserError(
          f'workdir {workdir} belongs to a run with another dataset: {name} '
          'is not the same; choose another --workdir')


def _iterate(
  parts: _Parts, state: TrainState, rows: Trajectory
) -> tuple[TrainState, IterationMetrics]:
  """Learn U times from the rows; one device's share."""
  next_key, learn_key = jax.random.split(state.rng_key[0])
  state, metrics = iteration.learn_iteration(
    iteration.LearnerParts(
      parts.config, parts.learn, parts.streamer, parts.placement.axis_name),
    state,
    state.replay._replace(rows=rows),
    learn_key,
    jnp.bool_(True),
  )
  num_steps = wide_counts.add(
    state.num_steps, parts.config.updates_per_iteration)
  return state._replace(
    rng_key=next_key[None],
    num_steps=num_steps,
    num_iterations=wide_counts.add(state.num_iterations, 1),
  ), IterationMetrics(
    rollout=None,
    learner=metrics,
    has_learnt=jnp.bool_(True),
    num_steps=num_steps,
    **iteration.counters(state.learner),
  )
