"""Noise-free play that the host steps, one row at a time.

`report` counts its episodes, `program_match` enters the moves of programs and
`diagnose` keeps its rows. `device_play` plays the same in one compiled loop.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.acting import actor
from muzero_jax.acting.host_worker import Worker
from muzero_jax.agent import Agent
from muzero_jax.errors import StoppedError
from muzero_jax.evaluation import playing
from muzero_jax.types import (
  AnyEnvironment,
  Array,
  Environment,
  SearchOutput,
  TimeStep,
  Trajectory,
)

# Gymnasium has environments without a time limit, in which a greedy agent may
# go round for ever: its episodes are cut off after so many steps, as many as
# Atari's 108,000 frames are.
LONGEST_EPISODE = 27_000

_Played = TypeVar('_Played')

# Rows [B], the agent's actions [B, ...], which may be written to -> the actions
# that are taken.
Decide = Callable[[TimeStep, np.ndarray], np.ndarray]


class Stepper(NamedTuple):
  """B environments for the host to step, as functions like `Environment`'s."""

  init: Callable[[Array], tuple[Any, TimeStep]]  # rng_key -> state, row.
  # state, action [B] (or [B, A] floats), rng_key -> state, row.
  step: Callable[[Any, Any, Array], tuple[Any, TimeStep]]


class Step(NamedTuple):
  """One step of B environments."""

  row: TimeStep  # [B] what was seen.
  found: SearchOutput  # [B] what the search found there.
  action: np.ndarray  # [B] i32, or [B, A] f32, that was taken there.
  next_row: TimeStep  # [B] the row that it led to.


def compiled(env: Environment) -> Stepper:
  """Compile an environment of the device, for as many plays as wanted."""
  return Stepper(
    init=jax.jit(env.init) if env.restorable else env.init,
    step=jax.jit(env.step))


@contextlib.contextmanager
def stepping(
  env: AnyEnvironment,
  *,
  num_envs: int,
  timeout: float,
  name: str,
  should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Stepper]:
  """Open any environment to step it; close that of the host afterwards.

  Args:
    env: `num_envs` environments.
    num_envs: B.
    timeout: seconds for each call of a host environment.
    name: who plays, in error messages.
    should_stop: asked while an environment of the host is waited for.

  Raises:
    WorkerError: a host environment raised, hung or returned no rows.
    StoppedError: `should_stop` says so.
  """
  if isinstance(env, Environment):
    yield compiled(env)
    return
  worker = Worker(
    lambda: env, num_envs=num_envs, name=name, timeout=timeout,
    is_stopped=should_stop)
  try:
    yield _of_worker(worker)
  finally:
    worker.close()


def _of_worker(worker: Worker) -> Stepper:
  """Fit a host environment, which holds its own state, to a `Stepper`."""
  # Rows outlive the next step, which may write into the same memory.
  copied = lambda row: jax.tree.map(np.array, row)

  def init(rng_key: Array) -> tuple[Any, TimeStep]:
    seed = int(jax.random.randint(rng_key, (), 0, 2**31 - 1))
    return None, copied(worker.reset(seed))

  def step(state: Any, action: Any, rng_key: Array) -> tuple[Any, TimeStep]:
    del state, rng_key
    return None, copied(worker.step(action))

  return Stepper(init, step)


def steps(
  agent: Agent,
  stepper: Stepper,
  rng_key: Array,
  *,
  num_envs: int,
  decide: Decide | None = None,
) -> Iterator[Step]:
  """Play without end, and yield every step.

  Args:
    agent: plays greedily, without noise.
    stepper: B environments.
    rng_key: for environments and searches.
    num_envs: B.
    decide: changes the agent's actions before they are taken, for example
      where somebody else is to move; None to take them all.

  Raises:
    WorkerError: as `stepping` says.
  """
  init_key, play_key = jax.random.split(rng_key)
  env_state, row = stepper.init(init_key)
  memory = agent.init_state(num_envs)
  while True:
    play_key, agent_key, env_key = jax.random.split(play_key, 3)
    memory, found = agent.jitted_act(
      agent.params, memory, agent_key, row.observation, row.legal_actions,
      row.is_first)
    action = np.array(found.action)
    if decide is not None:
      action = decide(row, action)
      memory = memory._replace(action=jnp.asarray(action))
    env_state, next_row = stepper.step(env_state, action, env_key)
    yield Step(row, found, action, next_row)
    row = next_row


def play(
  agent: Agent,
  env: AnyEnvironment,
  *,
  num_envs: int,
  num_episodes: int,
  seed: int = 0,
  should_stop: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, np.ndarray]:
  """Play whole episodes, and return their returns and lengths, [E, B] each.

  Args:
    agent: plays greedily.
    env: `num_envs` evaluation environments; of the host, closed afterwards.
    num_envs: B.
    num_episodes: a multiple of `num_envs`; every environment plays as many.
      One of more than LONGEST_EPISODE steps counts as it stands then.
    seed: of environments and searches.
    should_stop: asked at each step.

  Raises:
    UserError: if the episodes cannot be shared out evenly.
    WorkerError: as `stepping` says.
    StoppedError: likewise.
  """
  per_env = playing.episodes_per_env(num_episodes, num_envs)
  timeout = agent.config.worker_timeout
  with stepping(
    env, num_envs=num_envs, timeout=timeout, name='evaluation',
    should_stop=should_stop,
  ) as stepper:
    played = steps(agent, stepper, jax.random.key(seed), num_envs=num_envs)
    return count(
      (step.next_row for step in until(played, should_stop)), num_envs,
      per_env)


def until(
  played: Iterator[_Played], should_stop: Callable[[], bool]
) -> Iterator[_Played]:
  """Yield what is played until StoppedError ends them."""
  for step in played:
    if should_stop():
      raise StoppedError('while playing')
    yield step


def count(
  rows: Iterator[TimeStep], num_envs: int, per_env: int
) -> tuple[np.ndarray, np.ndarray]:
  """Count episodes until each environment has played its share, [E, B].

  Args:
    rows: what each step leads to, without the first.
    num_envs: B.
    per_env: E.
  """
  returns = np.zeros((per_env, num_envs), np.float32)
  lengths = np.zeros((per_env, num_envs), np.int32)
  score, length = np.zeros(num_envs, np.float32), np.zeros(num_envs, np.int32)
  num_done = np.zeros(num_envs, np.int32)
  while num_done.min() < per_env:
    row = next(rows)
    is_first, is_last, reward = jax.device_get(
      (row.is_first, row.is_last, row.reward))
    score = np.where(is_first, 0, score + reward)
    length = np.where(is_first, 0, length + 1)
    # Episodes beyond the share of an environment are not counted.
    is_over = is_last | (length >= LONGEST_EPISODE)
    for b in np.flatnonzero(is_over & (num_done < per_env)):
      returns[num_done[b], b], lengths[num_done[b], b] = score[b], length[b]
      num_done[b] += 1
    score, length = np.where(is_over, 0, score), np.where(is_over, 0, length)
  return returns, lengths


def collect(
  agent: Agent,
  env: AnyEnvironment,
  rng_key: Array,
  *,
  num_envs: int,
  num_steps: int,
) -> Trajectory:
  """Play `num_steps` steps, and return their rows [T, B, ...] as NumPy arrays.

  Args:
    agent: plays greedily.
    env: `num_envs` evaluation environments; of the host, closed afterwards.
    rng_key: for environments and searches.
    num_envs: B.
    num_steps: T.

  Raises:
    WorkerError: as `stepping` says.
  """
  config = agent.config
  with stepping(
    env, num_envs=num_envs, timeout=config.worker_timeout, name=env.spec.name
  ) as stepper:
    played = steps(agent, stepper, rng_key, num_envs=num_envs)
    rows = [
      jax.device_get(actor.stored_row(
        step.row, step.found, step.action, reward_clip=config.reward_clip))
      for step in itertools.islice(played, num_steps)
    ]
  return jax.tree.map(lambda *parts: np.stack(parts), *rows)
