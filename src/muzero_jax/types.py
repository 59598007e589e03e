"""The records that cross a jit boundary, in the order in which data flows.

Axes, used in every shape comment of this package:
  B  batch: environments while acting, sequences while learning
  T  time: consecutive rows of one environment
  L  rows of a training window, K + 1 + n
  K  unroll steps; states have K + 1 rows, rewards K
  M  chance codes of a stochastic model
  A  actions; components of a continuous action
  C  candidates that Sampled MuZero draws at a node; then policies are of these
  D  outputs of a value or reward head (support bins, or 1 for a scalar head)
  S  stacked frames of an observation

A *row* is what an agent sees at one moment of one environment: the
observation, and the reward and discount of the transition that led to it. The
transition from row t to row t + 1 therefore has its reward in row t + 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array
Params = Any  # A pytree of arrays.


class EnvSpec(NamedTuple):
  """What an environment's arrays look like; static, never crosses jit."""

  name: str  # For example "atari/breakout".
  observation_shape: tuple[int, ...]  # Of ONE frame, without the batch.
  observation_dtype: Any  # numpy dtype; uint8 images are in 0..255.
  num_actions: int  # A; of continuous actions the number of components.
  num_players: int = 1  # 1 or 2.
  max_episode_steps: int = 0  # Time limit in agent steps; 0 if there is none.
  action_names: tuple[str, ...] = ()
  # Of two players: False where one may move several times in a row.
  alternates: bool = True
  # Bounds [A] of continuous actions, in the environment's units; () if actions
  # are whole numbers below A. Legal actions are then of no meaning, all True.
  action_low: tuple[float, ...] = ()
  action_high: tuple[float, ...] = ()

  @property
  def is_continuous(self) -> bool:
    """Returns whether actions are vectors of floats."""
    return bool(self.action_low)

  @property
  def action_shape(self) -> tuple[int, ...]:
    """Returns the shape of one action: [] or [A]."""
    return (self.num_actions,) if self.is_continuous else ()

  @property
  def action_dtype(self) -> Any:
    """Returns the dtype of actions: int32 or float32."""
    return np.float32 if self.is_continuous else np.int32


class TimeStep(NamedTuple):
  """One row of B environments."""

  observation: Array  # [B, ...] On the last row, the episode's final one.
  reward: Array  # [B] f32, of the transition that led here, to who moved.
  discount: Array  # [B] f32, 0 where that transition terminated, else 1.
  is_first: Array  # [B] bool, True on the first row of an episode.
  is_last: Array  # [B] bool, True on its last row (terminated or truncated).
  legal_actions: Array  # [B, A] bool, at least one True in each row.
  to_play: Array  # [B] i32, player to move.


class Environment(NamedTuple):
  """B environments as pure, batched functions.

  `step` on a row with `is_last` ignores the action and returns the first row
  of the next episode with reward 0 and discount 1.
  """

  spec: EnvSpec
  init: Callable[[Array], tuple[Any, TimeStep]]  # rng_key -> state, row.
  # state, action [B] (or [B, A] floats), rng_key -> state, row.
  step: Callable[[Any, Array, Array], tuple[Any, TimeStep]]
  # False where the state holds a pointer that a checkpoint cannot keep.
  restorable: bool = True


class HostEnvironment(NamedTuple):
  """B environments that the host steps, outside of JAX.

  Rows are NumPy's and follow each other as those of `Environment` do. One
  thread at a time may call the functions; only `reset` starts anything.
  """

  spec: EnvSpec
  reset: Callable[[int], TimeStep]  # seed -> first rows; as often as wanted.
  step: Callable[[Any], TimeStep]  # action [B] i32 -> rows.
  close: Callable[[], None]  # Ends all that `reset` started.
  restorable: bool = False  # A checkpoint cannot keep the host's objects.
  # Index -> [H, W, 3] u8, what that environment looks like now, or None where
  # it cannot be seen; itself None where none of them can.
  render: Callable[[int], np.ndarray | None] | None = None


AnyEnvironment = Environment | HostEnvironment


class ModelOutput(NamedTuple):
  """What h and f, or g and f, return."""

  state: Any  # [B, ...] hidden state.
  # [B, D] of the transition into `state`, or of its value prefix; 0 at the
  # root.
  reward_logits: Array
  value_logits: Array  # [B, D]
  policy_logits: Array  # [B, A], or [B, P] as a `Distribution` wants them.


class PrefixState(NamedTuple):
  """The hidden state of a model that predicts sums of rewards."""

  hidden: Array  # [B, ...] what h and g make.
  memory: tuple[Array, Array]  # [B, R] twice, of the LSTM.
  num_steps: Array  # [B] i32, transitions since the root.


class AfterstateOutput(NamedTuple):
  """What Stochastic MuZero's phi and psi return."""

  state: Array  # [B, ...] hidden afterstate phi(s, a).
  value_logits: Array  # [B, D] of Q, the value of the action.
  chance_logits: Array  # [B, M] of the codes that may follow.


class Model(NamedTuple):
  """MuZero's three functions; `networks.model` makes them of a Flax module.

  The others belong to variants, and are None in models without them.
  """

  init: Callable[..., Params]  # rng_key, observation -> params.
  root: Callable[..., ModelOutput]  # params, observation: f(h(o)).
  step: Callable[..., ModelOutput]  # params, state, action: f(g(s, a)).
  # Stochastic MuZero. params, state, action: psi(phi(s, a)).
  afterstate: Callable[..., AfterstateOutput] | None = None
  # params, afterstate, code [B, M]: f(g(as, c)).
  chance: Callable[..., ModelOutput] | None = None
  # params, observation, action, next observation -> [B, M], e(o_t, a_t,
  # o_{t+1}), of which the largest is the code.
  encode: Callable[..., Array] | None = None
  num_codes: int = 0  # M
  # Where players do not alternate. params, afterstate -> logits [B] that the
  # turn passes with the transition.
  turn: Callable[..., Array] | None = None
  # EfficientZero. params, states [B, ...] -> projections [B, P], and what the
  # predictor makes of them.
  project: Callable[..., Array] | None = None
  predict: Callable[..., Array] | None = None
  # EfficientZero. Rewards are predicted as sums that start anew after so many
  # transitions, and states are `PrefixState`; 0 where each is predicted.
  prefix_steps: int = 0
  # Sampled MuZero. Actions are numbers of candidates, which the state holds:
  # state -> [B, C], or [B, C, A] floats.
  candidates: Callable[[Any], Array] | None = None


class SearchOutput(NamedTuple):
  """Result of a search from B roots."""

  action: Array  # [B] i32, or [B, A] f32, the action to play.
  policy: Array  # [B, A] f32, the policy target; 0 on illegal actions.
  value: Array  # [B] f32, the searched value, for the player to move.
  network_value: Array  # [B] f32, the network's own value of the root.
  # Sampled MuZero: the actions that `policy` [B, C] is of.
  candidates: Array | None = None  # [B, C], or [B, C, A] f32.
  # [B] f32, the searched q-value of `action`: of an afterstate, where there are
  # any. Always there from `search.make_search`.
  action_value: Array | None = None
  # The trees, `mctx.Tree`, of a search that was made to keep them.
  tree: Any | None = None


class History(NamedTuple):
  """The last S frames and actions of B running episodes, oldest first."""

  frames: Array  # [B, S, ...] zeros before the episode's first row.
  # [B, S] i32, the action that led to each frame, -1 for none; continuous ones
  # are [B, S, A] f32 and never observed.
  actions: Array


class ScaledParams(NamedTuple):
  """Parameters to search with, and by how much searched values err.

  A search takes them in place of parameters alone.
  """

  params: Params
  search_error: Array  # [] f32, in units of reward; above 0.


def network_params(params: Params) -> Params:
  """Returns those that the network itself takes, of what a search takes."""
  return params.params if isinstance(params, ScaledParams) else params


class Trajectory(NamedTuple):
  """What acting leaves behind: rows as stored by the replay, [T, B, ...]."""

  frame: Array  # [T, B, ...] single frame.
  reward: Array  # [T, B] f32, of the transition that led to this row.
  discount: Array  # [T, B] f32, 0 where that transition terminated.
  is_first: Array  # [T, B] bool
  is_last: Array  # [T, B] bool
  legal_actions: Array  # [T, B, A] bool
  to_play: Array  # [T, B] i32
  # [T, B] i32, or [T, B, A] f32, taken at this row; meaningless if is_last.
  action: Array
  policy: Array  # [T, B, A] f32, the search's policy at this row.
  value: Array  # [T, B] f32, the search's value of this row.
  # Sampled MuZero: the actions that `policy` [T, B, C] is of. The action taken
  # need not be one of them, once Reanalyse has drawn them anew.
  candidates: Array | None = None  # [T, B, C], or [T, B, C, A] f32.
  # [T, B] f32, the searched q-value of the action; not stored by a replay.
  action_value: Array | None = None


class Sequence(NamedTuple):
  """One training window of L = K + 1 + n rows, or [B, L, ...] of them.

  Rows after the end of the first row's episode, or after the newest stored
  row, belong to something else; `targets.make_targets` hides them.
  """

  observation: Array  # [L, ...] stacked network input of each row.
  reward: Array  # [L] f32, of the transition into the row.
  discount: Array  # [L] f32, 0 where that transition terminated.
  is_last: Array  # [L] bool, also True on the newest stored row.
  legal_actions: Array  # [L, A] bool
  to_play: Array  # [L] i32
  action: Array  # [L] i32, or [L, A] f32
  policy: Array  # [L, A] f32
  value: Array  # [L] f32
  candidates: Array | None = None  # As in `Trajectory`.
  # [K+1] f32, of a fresh search at each row; None unless values are trained
  # on it (`targets.is_stale`).
  searched_value: Array | None = None


class Target(NamedTuple):
  """What one unroll of K steps is trained towards."""

  value: Array  # [K+1] f32
  reward: Array  # [K] f32
  policy: Array  # [K+1, A] f32
  action: Array  # [K] i32 or [K, A] f32, to unroll with; random after the end.
  value_mask: Array  # [K+1] f32, 1 where the value is trained.
  reward_mask: Array  # [K] f32
  policy_mask: Array  # [K+1] f32
  candidates: Array | None = None  # [K+1, C, ...] that `policy` is of.
