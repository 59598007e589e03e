"""The driver without environments: all data come from a dataset.

Each iteration is `updates_per_iteration` updates on a replay that holds the
dataset and never changes. With reanalyse_fraction 1 this is MuZero Unplugged
(arXiv 2104.06294). The rows stand beside the state, so no checkpoint repeats
them; they and the batch are sharded over a mesh of devices as Anakin's are.
"""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from muzero_jax.config import Config
from muzero_jax.drivers import build, iteration
from muzero_jax.drivers.anakin import Anakin
from muzero_jax.drivers.iteration import IterationMetrics, TrainState
from muzero_jax.errors import UserError
from muzero_jax.learning import learner
from muzero_jax.replay import dataset
from muzero_jax.replay.dataset import Dataset
from muzero_jax.replay.reanalyse_buffer import Stream
from muzero_jax.replay.ring import ReplayState
from muzero_jax.types import Array, Trajectory

# In a state: what offline runs do not have, or have beside it.
_NONE: Any = None


def make_offline(
  config: Config, data: Dataset, *, num_devices: int = 1
) -> Anakin:
  """Returns the driver's functions, of the form that Anakin's have.

  In their states and metrics `num_steps` counts updates: there are no others.
  With several agents side by side, all learn from the same rows.

  Args:
    config: of the run.
    data: what it learns from.
    num_devices: the first so many of `jax.devices()`.

  Raises:
    UserError: if the network does not fit the data.
  """
  many = config.num_seeds > 1
  over: Callable[..., Any] = jax.vmap if many else lambda function: function
  mesh = Mesh(jax.devices()[:num_devices], (iteration.AXIS,))
  axis_name = iteration.AXIS if num_devices > 1 else None
  system = build.make_system(config, data.spec)
  learn = build.make_learner(
    config, data.spec, system, num_devices=num_devices, axis_name=axis_name
  )
  num_rows, num_envs = data.rows.reward.shape
  size = dict(rows_per_env=num_rows, num_envs=num_envs)
  streamer = build.make_stream(
    config, data.spec, system, num_devices=num_devices, **size
  )
  specs = iteration.partition_specs(many, streamer is not None)
  by_env = PartitionSpec(None, iteration.AXIS)
  shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
  priority = opening_rows(data.rows, config.stacked_frames)

  def init_one(rng_key: Array) -> TrainState:
    model_key, next_key = jax.random.split(rng_key)
    observation = build.example_observation(config, data.spec)
    return TrainState(
      learner=learn.init(system.model.init(model_key, observation)),
      actor=_NONE,
      replay=ReplayState(
        _NONE, jnp.asarray(priority, jnp.float32), jnp.int32(len(priority))
      ),
      rng_key=jax.random.split(next_key, num_devices),
      num_steps=jnp.zeros((), jnp.int32),
      num_iterations=jnp.zeros((), jnp.int32),
    )

  def init(rng_key: Array) -> TrainState:
    if many:
      rng_key = jax.random.split(rng_key, config.num_seeds)
    state = jax.jit(over(init_one))(rng_key)
    return iteration.place(shardings, state._replace(
      stream=iteration.init_stream(streamer, shardings, rng_key, over)))

  def abstract() -> TrainState:
    shapes = jax.eval_shape(init, jax.random.key(0))
    return iteration.abstract_like(shardings, shapes)

  step: Any = functools.partial(_iterate, config, learn, streamer)
  if many:
    step = jax.vmap(step, in_axes=(0, None), axis_name=iteration.AGENTS)
  if num_devices > 1:
    step = jax.shard_map(
      step, mesh=mesh, check_vma=False, in_specs=(specs, by_env),
      out_specs=(specs, PartitionSpec()),
    )
  jitted = jax.jit(step, donate_argnums=0)
  # A copy of each column: the files are no place for what a run rests on.
  rows = jax.tree.map(
    lambda column: jax.device_put(
      np.array(column), NamedSharding(mesh, by_env)),
    data.rows,
  )

  def compile_step(state: TrainState) -> Any:
    compiled = jitted.lower(state, rows).compile()
    return lambda state: compiled(state, rows)

  return Anakin(
    spec=data.spec,
    restorable=True,
    init=init,
    init_actors=_no_actors,
    abstract=abstract,
    step=lambda state: jitted(state, rows),
    compile=compile_step,
    mesh=mesh,
    samples_per_row=float('inf'),
    searches_per_iteration=build.searches_per_iteration(
      config, num_devices, **size),
  )


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


def _no_actors(rng_key: Array) -> Any:
  raise NotImplementedError('an offline run has no actors')


def _iterate(
  config: Config,
  learn: learner.Learner,
  streamer: Stream | None,
  state: TrainState,
  rows: Trajectory,
) -> tuple[TrainState, IterationMetrics]:
  """Learns U times from the rows; one device's share."""
  next_key, learn_key = jax.random.split(state.rng_key[0])
  new_learner, priority, stream, metrics = iteration.learn_iteration(
    learn,
    streamer,
    config.updates_per_iteration,
    state.learner,
    state.replay._replace(rows=rows),
    state.stream,
    learn_key,
    jnp.bool_(True),
  )
  num_steps = state.num_steps + config.updates_per_iteration
  return state._replace(
    learner=new_learner,
    replay=state.replay._replace(priority=priority),
    rng_key=next_key[None],
    num_steps=num_steps,
    num_iterations=state.num_iterations + 1,
    stream=stream,
  ), IterationMetrics(
    rollout=None,
    learner=metrics,
    has_learnt=jnp.bool_(True),
    num_steps=num_steps,
    num_updates=new_learner.num_updates,
    num_skipped=new_learner.num_skipped,
    skips_in_a_row=new_learner.skips_in_a_row,
  )
