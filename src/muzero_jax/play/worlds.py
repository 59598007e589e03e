"""One environment to play in step by step, and to go back in.

An environment of JAX is a value: any earlier state of it can be stepped again.
One that cannot be copied, as those of the host, plays the same actions again
from the same seed, and is only looked at where that does not lead to the same
rows.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from muzero_jax.agent import Agent, AgentState
from muzero_jax.errors import UserError
from muzero_jax.evaluation import host_play
from muzero_jax.replay import frame_stack
from muzero_jax.types import (
  AnyEnvironment,
  Array,
  Environment,
  History,
  TimeStep,
)


class Moment(NamedTuple):
  """What an environment shows at one step of an episode."""

  row: TimeStep  # [1] as NumPy arrays.
  state: Any  # Of the environment; None where it cannot be kept.
  picture: Any  # What `snap` made of it at once; None where it can wait.
  action: Any = None  # That led here: a number or a vector; None at first.


class World(Protocol):
  """An environment of one."""

  def begin(self, keys: tuple[Array, Array]) -> Moment:
    """Return the first step of an episode; keys to begin and to step with."""
    ...

  def follow(self, moments: Sequence[Moment], action: Any) -> Moment:
    """Return what an action leads to after these steps."""
    ...

  def close(self) -> None:
    """End what was started."""
    ...


class Device:
  """An environment of JAX, compiled once for all episodes."""

  def __init__(self, env: Environment) -> None:
    self._spec = env.spec
    self._stepper = host_play.compiled(env)

  def open(self) -> 'Episode':
    """Return an environment for one episode."""
    return Episode(self)

  def begin(self, rng_key: Array) -> Moment:
    """Return the first step of an episode."""
    state, row = self._stepper.init(rng_key)
    return Moment(jax.device_get(row), state, None)

  def step(self, moment: Moment, action: Any, rng_key: Array) -> Moment:
    """Return what an action leads to."""
    given = np.asarray(action, self._spec.action_dtype)[None]
    state, row = self._stepper.step(moment.state, given, rng_key)
    return Moment(jax.device_get(row), state, None, action)


class Episode:
  """One episode in an environment of JAX: a `World`."""

  def __init__(self, device: Device) -> None:
    self._device = device

  def begin(self, keys: tuple[Array, Array]) -> Moment:
    """Return the first step, as `World` says."""
    init_key, self._key = keys
    return self._device.begin(init_key)

  def follow(self, moments: Sequence[Moment], action: Any) -> Moment:
    """Return the next step; the same action leads to the same again."""
    key = jax.random.fold_in(self._key, len(moments))
    return self._device.step(moments[-1], action, key)

  def close(self) -> None:
    """Do nothing: the state is the episode's own."""


class Outside:
  """An environment whose state cannot be copied: a `World`.

  Pictures are made at once, since it does not come back.
  """

  def __init__(
    self, agent: Agent, env: AnyEnvironment, snap: Callable[[TimeStep], Any]
  ) -> None:
    """Take an environment of one.

    Args:
      agent: who plays.
      env: this episode's own; closed with it.
      snap: row [1] -> picture of the environment as it stands.
    """
    self._spec, self._snap = agent.spec, snap
    self._stack = contextlib.ExitStack()
    self._stepper = self._stack.enter_context(host_play.stepping(
      env, num_envs=1, timeout=agent.config.worker_timeout, name='play'))
    self._taken: list[Any] = []
    self._state: Any = None

  def begin(self, keys: tuple[Array, Array]) -> Moment:
    """Return the first step, as `World` says."""
    self._keys = keys
    self._state, row = self._stepper.init(keys[0])
    self._taken = []
    return self._moment(row, None)

  def follow(self, moments: Sequence[Moment], action: Any) -> Moment:
    """Return the next step, after going back if need be.

    Raises:
      UserError: the same actions have not led to the same rows.
    """
    before = [moment.action for moment in moments[1:]]
    if not _same_actions(before, self._taken):
      self._replay(moments)
    return self._moment(self._step(action), action)

  def close(self) -> None:
    """End the environment."""
    self._stack.close()

  def _replay(self, moments: Sequence[Moment]) -> None:
    """Play the same actions again, and look whether the rows are the same."""
    self._state, row = self._stepper.init(self._keys[0])
    self._taken = []
    for number, moment in enumerate(moments):
      if number:
        row = self._step(moment.action)
      if not _same_rows(jax.device_get(row), moment.row):
        self._taken = [None]  # Wherever it is, it is not where it was.
        raise UserError(
          f'{self._spec.name} does not repeat itself: its earlier steps can be '
          'looked at, but not played on from; go to the last one')

  def _step(self, action: Any) -> TimeStep:
    given = np.asarray(action, self._spec.action_dtype)[None]
    key = jax.random.fold_in(self._keys[1], len(self._taken) + 1)
    self._state, row = self._stepper.step(self._state, given, key)
    self._taken.append(action)
    return row

  def _moment(self, row: TimeStep, action: Any) -> Moment:
    row = jax.device_get(row)
    return Moment(row, None, self._snap(row), action)


def memory_at(
  agent: Agent, moments: Sequence[Moment], index: int
) -> AgentState:
  """Return what an agent remembers before it sees a step of an episode.

  Args:
    agent: whose memory it is.
    moments: of the episode, from its first on.
    index: of the step that it has not seen yet.
  """
  spec, depth = agent.spec, agent.config.stacked_frames
  empty: Any = jax.tree.map(np.array, frame_stack.init(spec, 1, depth))
  for slot, number in enumerate(range(index - depth, index)):
    if number >= 0:
      empty.frames[0, slot] = moments[number].row.observation[0]
      if number:
        empty.actions[0, slot] = moments[number].action
  action: Any = np.array(frame_stack.no_action(spec, 1))
  if index:
    action[0] = moments[index].action
  return AgentState(History(empty.frames, empty.actions), action)


def _same_actions(some: Sequence[Any], others: Sequence[Any]) -> bool:
  return len(some) == len(others) and all(
    np.array_equal(a, b) for a, b in zip(some, others))


def _same_rows(row: TimeStep, other: TimeStep) -> bool:
  return all(np.array_equal(a, b) for a, b in zip(row, other))
