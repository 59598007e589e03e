"""All that a run is, in arrays: what is saved, restored and stepped."""

from typing import NamedTuple

from muzero_jax.acting.actor import ActorState
from muzero_jax.learning.learner_state import LearnerState
from muzero_jax.replay.reanalyse_buffer import StreamState
from muzero_jax.replay.ring import ReplayState
from muzero_jax.types import Array
from muzero_jax.wide_counts import Count


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
