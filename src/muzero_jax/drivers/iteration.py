"""What all drivers share: the state of a run, its placement, and learning.

Drivers differ in where rows come from; what is done with them stands here.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from muzero_jax import counting
from muzero_jax.acting.actor import ActorState, RolloutStats
from muzero_jax.config import Config
from muzero_jax.counting import Count
from muzero_jax.errors import UserError
from muzero_jax.learning import total_loss
from muzero_jax.learning.learner import Learner
from muzero_jax.learning.learner_state import LearnerState
from muzero_jax.learning.total_loss import Metrics
from muzero_jax.replay import mixture, ring
from muzero_jax.replay.reanalyse_buffer import Stream, StreamState
from muzero_jax.replay.ring import ReplayState
from muzero_jax.types import Array, EnvSpec, Trajectory

AXIS = 'devices'
AGENTS = 'agents'


class TrainState(NamedTuple):
  """All of a run; B environments over all devices.

  With several agents side by side, all arrays have their axis in front.
  """

  learner: LearnerState  # Replicated.
  actor: ActorState  # [B, ...] sharded; None offline.
  replay: ReplayState  # [T, B, ...] sharded over B; offline without rows.
  rng_key: Array  # [devices] keys, one of each device.
  num_steps: Count  # [] environment steps so far; offline, updates.
  num_iterations: Count  # []
  # The reanalysed rows, [T, R, ...] sharded over R; None unless a stream.
  stream: StreamState | None = None


class IterationMetrics(NamedTuple):
  """Of one iteration, over all devices."""

  rollout: RolloutStats | None  # None offline.
  learner: Metrics  # Over the iteration's updates.
  has_learnt: Array  # [] bool, False while the replay fills.
  num_steps: Count  # [] so far; offline, updates.
  num_updates: Count  # [] so far.
  num_skipped: Array  # [] i32, so far.
  skips_in_a_row: Array  # [] i32


# state -> state, metrics; donates its argument.
Step = Callable[[TrainState], tuple[TrainState, IterationMetrics]]


class Driver(NamedTuple):
  """What `train` needs of a driver, whatever it is; never crosses jit."""

  spec: EnvSpec
  restorable: bool  # False where a checkpoint cannot keep the actors.
  init: Callable[[Array], TrainState]  # `run_key` -> state.
  # `run_key`, step -> fresh actors, for a state whose own could not be
  # restored.
  restart_actors: Callable[[Array, int], Any]
  # () -> shapes, types and shardings of a state; allocates nothing.
  abstract: Callable[[], TrainState]
  # state, report -> context that gives the step; it compiles at once, starts
  # what there is to start when it is entered, and ends that afterwards.
  # `report` gets a line about whatever is not as it should be.
  session: Callable[..., contextlib.AbstractContextManager[Step]]
  num_devices: int
  # Sequences trained per row played, exactly; None where nothing is played.
  samples_per_row: float | None
  searches_per_iteration: int  # By Reanalyse, once it learns.
  # jax.jit of state -> (state, metrics), which donates its argument, where the
  # whole iteration is one program; None where the host plays.
  step: Any = None


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


def run_key(config: Config) -> Array:
  """Return the key of a run; of several agents [agents], one each.

  That of agent i is the key of `seed` + i, so that it can be repeated alone.
  """
  if config.num_seeds == 1:
    return jax.random.key(config.seed)
  return jax.vmap(jax.random.key)(config.seed + jnp.arange(config.num_seeds))


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


def init_stream(
  streamer: Stream | None, placement: Placement, rng_key: Array
) -> StreamState | None:
  """Make the empty stream of each agent; None where there is no stream.

  Args:
    streamer: its functions.
    placement: of the state.
    rng_key: one key of each agent: it only tells how many there are.
  """
  if streamer is None:
    return None
  init = placement.over_agents(
    lambda unused: streamer.init(placement.num_devices))
  return jax.jit(init, out_shardings=placement.shardings.stream)(rng_key)


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


class LearnerParts(NamedTuple):
  """What learns in an iteration of any driver; never crosses jit."""

  config: Config
  learn: Learner  # Of this device's share of each batch.
  streamer: Stream | None  # Of Reanalyse, if that is a stream.
  axis_name: str | None  # Device axis, or None.


def learn_from(
  parts: LearnerParts,
  state: TrainState,
  chunk: Trajectory,
  stats: RolloutStats,
  learn_key: Array,
) -> tuple[TrainState, IterationMetrics]:
  """Add T rows and learn U times; one device's share, for any driver.

  Args:
    parts: what learns.
    state: with the actors as they are after the rows, and the key of the next
      iteration; all else as it was before.
    chunk: [T, B, ...] the rows.
    stats: their sums, on this device.
    learn_key: consumed.
  """
  config = parts.config
  buffer = ring.add(state.replay, chunk)
  if parts.axis_name is not None:
    stats = jax.lax.psum(stats, parts.axis_name)
  num_steps = counting.add(state.num_steps, stats.num_steps)

  stored = jnp.minimum(
    buffer.num_added, buffer.priority.shape[0]
  ) * config.num_envs
  has_learnt = (stored >= config.min_replay) & (buffer.num_added > 1)
  if config.num_seeds > 1:
    # The same for all agents. Said so, it stays one branch of the program; a
    # condition of each agent's own would make all compute both.
    has_learnt = jax.lax.pmin(has_learnt.astype(jnp.int32), AGENTS) > 0
  state, metrics = learn_iteration(
    parts, state._replace(replay=buffer), buffer, learn_key, has_learnt)
  return state._replace(
    num_steps=num_steps,
    num_iterations=counting.add(state.num_iterations, 1),
  ), IterationMetrics(
    rollout=stats,
    learner=metrics,
    has_learnt=has_learnt,
    num_steps=num_steps,
    **counters(state.learner),
  )


def counters(state: LearnerState) -> dict[str, Any]:
  """Return what `IterationMetrics` tells of a learner's counters."""
  return dict(
    num_updates=state.num_updates,
    num_skipped=state.num_skipped,
    skips_in_a_row=state.skips_in_a_row,
  )


def learn_iteration(
  parts: LearnerParts,
  state: TrainState,
  buffer: ReplayState,
  rng_key: Array,
  can_learn: Array,
) -> tuple[TrainState, Metrics]:
  """Learn U times; the state's replay gets the priorities, no rows.

  Args:
    parts: what learns.
    state: its replay may lack the rows.
    buffer: the replay with its rows.
    rng_key: consumed.
    can_learn: [] bool, False while the replay fills.

  Returns:
    The state, and metrics over the updates: means, or extremes of extremes.
  """
  streamer, stream = parts.streamer, state.stream
  if streamer is None or stream is None:
    learner, priority, metrics = _learn(
      parts, state.learner, buffer, rng_key, can_learn)
  else:
    stream_key, rng_key = jax.random.split(rng_key)
    stream = streamer.refresh(
      state.learner.params, stream_key, buffer, stream,
      state.learner.num_updates, can_learn)
    learner, (priority, second), metrics = _learn(
      parts, state.learner, mixture.both(buffer, stream), rng_key, can_learn)
    stream = stream._replace(ring=stream.ring._replace(priority=second))
  return state._replace(
    learner=learner,
    replay=state.replay._replace(priority=priority),
    stream=stream,
  ), metrics


def _learn(
  parts: LearnerParts,
  state: LearnerState,
  buffer: Any,
  rng_key: Array,
  can_learn: Array,
) -> tuple[LearnerState, Any, Metrics]:
  """Return learner, priorities and metrics after U updates.

  Of a replay or, with a stream, of `Rings`, whose priorities are a pair. The
  rows are read, never carried: a loop that carried them could copy the
  whole replay.
  """
  num_updates = parts.config.updates_per_iteration

  def update(
    carry: tuple[LearnerState, Any], key: Array
  ) -> tuple[tuple[LearnerState, Any], Metrics]:
    current, priority = carry
    current, changed, metrics = parts.learn.update(
      current, buffer._replace(priority=priority), key
    )
    return (current, changed.priority), metrics

  def run(carry: tuple[LearnerState, Any]) -> Any:
    carry, metrics = jax.lax.scan(
      update, carry, jax.random.split(rng_key, num_updates)
    )
    return carry, total_loss.over_updates(metrics)

  def skip(carry: tuple[LearnerState, Any]) -> Any:
    metrics = jax.eval_shape(update, carry, rng_key)[1]
    return carry, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)

  carry = (state, buffer.priority)
  if num_updates:
    carry, metrics = jax.lax.cond(can_learn, run, skip, carry)
  else:
    carry, metrics = skip(carry)
  return *carry, metrics
