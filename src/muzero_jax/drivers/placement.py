"""Where the state of a run is: on which devices, and for how many agents.

Environments, replay and batch are sharded over a mesh of devices; parameters
are replicated.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from muzero_jax.config import Config
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.errors import UserError
from muzero_jax.replay.reanalyse_buffer import StreamState
from muzero_jax.replay.ring import ReplayState
from muzero_jax.types import Array

AXIS = 'devices'
AGENTS = 'agents'


class Placement(NamedTuple):
  """Where a state is: on which devices, and for how many agents."""

  many: bool  # Several agents side by side, in front of all arrays.
  mesh: Mesh
  specs: TrainState  # Partition specs of its parts.
  shardings: TrainState  # Likewise.

  @property
  def num_devices(self) -> int:
    """Return over how many devices it is sharded."""
    return self.mesh.devices.size

  @property
  def axis_name(self) -> str | None:
    """Return the device axis, None on one device."""
    return AXIS if self.num_devices > 1 else None

  def over_agents(self, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one agent as one of all."""
    return jax.vmap(function) if self.many else function

  def over_devices(
    self, function: Callable[..., Any], in_specs: Any, out_specs: Any
  ) -> Callable[..., Any]:
    """Return a function of one device's share as one of all."""
    if self.num_devices == 1:
      return function
    return jax.shard_map(
      function, mesh=self.mesh, check_vma=False, in_specs=in_specs,
      out_specs=out_specs)

  def split(self, rng_key: Array) -> Array:
    """Return a key for each device, of each agent."""
    return self.over_agents(
      functools.partial(jax.random.split, num=self.num_devices))(rng_key)


def make_placement(
  config: Config, num_devices: int, *, streamed: bool
) -> Placement:
  """Make the placement of a run on the first devices.

  Args:
    config: of the run.
    num_devices: the first so many of `jax.devices()`.
    streamed: whether there is a stream of reanalysed rows.
  """
  many = config.num_seeds > 1
  mesh = Mesh(jax.devices()[:num_devices], (AXIS,))
  specs = _partition_specs(many, streamed)
  shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
  return Placement(many, mesh, specs, shardings)


def choose_num_devices(
  config: Config, restorable: bool = True, num_envs: int = 0
) -> int:
  """Returns how many devices to use.

  Args:
    config: `num_devices` 0 takes the most that divide environments and batch.
    restorable: False for environments behind a pointer, which run on one.
    num_envs: B where it is not the configuration's; 0 where it is.

  Raises:
    UserError: if a stated number is not available or does not divide.
  """
  num_envs = num_envs or config.num_envs
  available = len(jax.devices())
  wanted = config.num_devices
  if jax.process_count() > 1:
    # Each process has to take part in every collective.
    wanted = _of_all_processes(config, available, restorable)
  if not restorable and wanted > 1:
    raise UserError(
      f'num_devices={wanted}: family {config.family!r} runs on 1 device'
    )
  if wanted > available:
    raise UserError(
      f'num_devices={wanted}: this machine has {available}'
    )

  def fits(count: int) -> bool:
    return num_envs % count == 0 and config.batch_size % count == 0

  if wanted and not fits(wanted):
    raise UserError(
      f'num_devices={wanted}: must divide num_envs={num_envs} and '
      f'batch_size={config.batch_size}'
    )
  if wanted:
    return wanted
  if not restorable:
    return 1
  return max(n for n in range(1, available + 1) if fits(n))


def _of_all_processes(
  config: Config, available: int, restorable: bool
) -> int:
  """Return the number of devices of several processes: all.

  Raises:
    UserError: fewer are wanted, or the environments run in one process.
  """
  if not restorable:
    raise UserError(
      f'num_processes={jax.process_count()}: family {config.family!r} runs in '
      'one process')
  if config.num_devices not in (0, available):
    raise UserError(
      f'num_devices={config.num_devices}: {jax.process_count()} processes have '
      f'{available} devices, and use all; allowed are 0 and {available}')
  return available


def _partition_specs(many: bool, streamed: bool) -> TrainState:
  """Return how the parts of a state are sharded."""
  agents = (None,) if many else ()
  sharded, replicated = PartitionSpec(*agents, AXIS), PartitionSpec()
  by_env: Any = PartitionSpec(*agents, None, AXIS)
  of_replay = ReplayState(by_env, by_env, replicated)  # type: ignore[arg-type]
  stream = StreamState(of_replay, by_env, replicated)  # type: ignore[arg-type]
  return TrainState(
    learner=replicated,  # type: ignore[arg-type]
    actor=sharded,  # type: ignore[arg-type]
    replay=of_replay,
    rng_key=sharded,  # type: ignore[arg-type]
    num_steps=replicated,  # type: ignore[arg-type]
    num_iterations=replicated,  # type: ignore[arg-type]
    stream=stream if streamed else None,
  )


def place(shardings: TrainState, state: TrainState) -> TrainState:
  """Returns the state on its devices."""
  return _map_prefix(jax.device_put, shardings, state)


def make_global(
  placement: Placement, make: Callable[[Array], TrainState], rng_key: Array
) -> TrainState:
  """Returns make(rng_key), each process with its own devices' share.

  Args:
    placement: over devices of several processes.
    make: key -> state; traced.
    rng_key: the same in all processes.
  """
  # As NumPy: what lies on a device of one process is nowhere else.
  data = np.asarray(jax.random.key_data(rng_key))
  impl = jax.random.key_impl(rng_key)
  return jax.jit(
    lambda data: make(jax.random.wrap_key_data(data, impl=impl)),
    out_shardings=placement.shardings)(data)


def abstract_like(shardings: TrainState, state: TrainState) -> TrainState:
  """Returns the shapes of `state` with their shardings."""

  def describe(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  return _map_prefix(describe, shardings, state)


def _map_prefix(
  f: Callable[[Any, Any], Any], prefix: TrainState, state: TrainState
) -> TrainState:
  """Returns f(leaf, sharding) for each leaf, with its part's sharding."""
  return jax.tree.map(
    lambda sharding, part: jax.tree.map(lambda x: f(x, sharding), part),
    prefix,
    state,
    is_leaf=lambda x: isinstance(x, NamedSharding),
  )
