"""What all drivers share: their protocol, and learning from what was played.

Drivers differ in where rows come from; what is done with them stands here.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax import wide_counts
from muzero_jax.acting.actor import RolloutStats
from muzero_jax.config import Config
from muzero_jax.drivers import placement as placement_lib
from muzero_jax.drivers.placement import Placement
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.learning import learner_state, search_error, total_loss
from muzero_jax.learning.learner import Learner
from muzero_jax.learning.learner_state import LearnerState
from muzero_jax.learning.total_loss import Metrics
from muzero_jax.replay import mixture, ring
from muzero_jax.replay.reanalyse_buffer import Stream, StreamState
from muzero_jax.replay.ring import ReplayState
from muzero_jax.types import Array, EnvSpec, Trajectory
from muzero_jax.wide_counts import Count


class IterationMetrics(NamedTuple):
  """Of one iteration, over all devices."""

  rollout: RolloutStats | None  # None offline.
  learner: Metrics  # Over the iteration's updates.
  has_learnt: Array  # [] bool, False while the replay fills.
  num_steps: Count  # [] so far; offline, updates.
  num_updates: Count  # [] so far.
  num_skipped: Array  # [] i32, so far.
  skips_in_a_row: Array  # [] i32
  # [] f32, the least range of q-values, and the trust of searches from 0 to 1;
  # None where they are not measured.
  search_error: Array | None = None
  search_trust: Array | None = None
  jobs: dict[str, Any] | None = None  # How the jobs do, if there are any.


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
  # state, report, should_stop -> context that gives the step; it compiles at
  # once, starts what there is to start when it is entered, and ends that
  # afterwards. `report` gets a line about whatever is not as it should be. A
  # step that waits for others ends in StoppedError once `should_stop` says so;
  # the state is untouched then.
  session: Callable[..., contextlib.AbstractContextManager[Step]]
  num_devices: int
  # Sequences trained per row played, exactly; None where nothing is played.
  samples_per_row: float | None
  searches_per_iteration: int  # By Reanalyse, once it learns.
  rows_per_iteration: int  # Played by all environments; 0 offline.
  # Compiled state -> (state, metrics), which donates its argument, where the
  # whole iteration is one program; None where the host plays.
  step: Any = None


def run_key(config: Config) -> Array:
  """Return the key of a run; of several agents [agents], one each.

  That of agent i is the key of `seed` + i, so that it can be repeated alone.
  """
  if config.num_seeds == 1:
    return jax.random.key(config.seed)
  return jax.vmap(jax.random.key)(config.seed + jnp.arange(config.num_seeds))


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
  buffer = ring.add(state.replay, chunk._replace(action_value=None))
  if parts.axis_name is not None:
    stats = jax.lax.psum(stats, parts.axis_name)
  num_steps = wide_counts.add(state.num_steps, stats.num_steps)

  stored = jnp.minimum(
    buffer.num_added, buffer.priority.shape[0]
  ) * config.num_envs
  has_learnt = (stored >= config.min_replay) & (buffer.num_added > 1)
  if config.num_seeds > 1:
    # The same for all agents. Said so, it stays one branch of the program; a
    # condition of each agent's own would make all compute both.
    has_learnt = jax.lax.pmin(
      has_learnt.astype(jnp.int32), placement_lib.AGENTS) > 0
  learner = _measure_error(parts, state.learner, chunk)
  state, metrics = learn_iteration(
    parts, state._replace(replay=buffer, learner=learner), buffer, learn_key,
    has_learnt)
  return state._replace(
    num_steps=num_steps,
    num_iterations=wide_counts.add(state.num_iterations, 1),
  ), IterationMetrics(
    rollout=stats,
    learner=metrics,
    has_learnt=has_learnt,
    num_steps=num_steps,
    **counters(state.learner),
  )


def _measure_error(
  parts: LearnerParts, state: LearnerState, chunk: Trajectory
) -> LearnerState:
  """Return the learner with the error of values updated by a rollout [T, B].

  Before the first update the values mean nothing, and nothing is measured.
  """
  if state.search_sums is None:
    return state
  measured = search_error.measure(chunk, parts.config.discount)
  if parts.axis_name is not None:
    measured = jax.lax.psum(measured, parts.axis_name)
  has_learnt = wide_counts.as_float(state.num_updates) > 0
  sums = jax.tree.map(
    lambda new, old: jnp.where(has_learnt, new, old),
    search_error.update(state.search_sums, measured), state.search_sums)
  return state._replace(
    search_sums=sums, search_error=search_error.least_range(sums))


def counters(state: LearnerState) -> dict[str, Any]:
  """Return what `IterationMetrics` tells of a learner's counters."""
  return dict(
    num_updates=state.num_updates,
    num_skipped=state.num_skipped,
    skips_in_a_row=state.skips_in_a_row,
    search_error=state.search_error,
    search_trust=(
      None if state.search_sums is None
      else search_error.trust(state.search_sums)),
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
      learner_state.to_search(state.learner, state.learner.params),
      stream_key, buffer, stream,
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
