"""Host environments that count, and misbehave when they are told to."""

import threading

import numpy as np

from muzero_jax.envs import base
from muzero_jax.types import EnvSpec, HostEnvironment

SPEC = EnvSpec('test/host', (3,), np.dtype(np.float32), 2)


class Counting:
  """Environment e ends after 4 + e steps, each of which pays 1 + its action.

  Observation: (environment, step, seed % 997). Even environments terminate, odd
  ones are truncated.
  """

  def __init__(self, num_envs, faults=()):
    """Takes faults: pairs (number of the step, what happens there)."""
    self.envs = np.arange(num_envs)
    self.faults = dict(faults)
    self.released = threading.Event()  # Ends whatever hangs.
    self.is_closed = False
    self.num_steps = 0

  def reset(self, seed):
    self.seed = seed % 997
    self.step_of = np.zeros_like(self.envs)
    return self._row(np.zeros(len(self.envs)))

  def step(self, action):
    fault = self.faults.get(self.num_steps)
    self.num_steps += 1
    if fault == 'raise':
      raise KeyError('lost')
    if fault == 'hang':
      self.released.wait(30)
    is_last = self.step_of == 4 + self.envs
    self.step_of = np.where(is_last, 0, self.step_of + 1)
    row = self._row(1 + action)
    if fault == 'shape':
      return row._replace(observation=row.observation[:, :2])
    if fault == 'nan':
      return row._replace(reward=np.full_like(row.reward, np.nan))
    if fault == 'first':
      return row._replace(is_first=~row.is_first)
    if fault == 'nothing':
      return None
    return row

  def _row(self, reward):
    columns = (self.envs, self.step_of, 0 * self.envs + self.seed)
    is_last = self.step_of == 4 + self.envs
    return base.host_row(
      SPEC, observation=np.stack(columns, 1).astype(np.float32),
      reward=reward, terminated=is_last & (self.envs % 2 == 0),
      is_last=is_last, is_first=self.step_of == 0)

  def close(self):
    self.is_closed = True

  def host(self):
    """The environment's record."""
    return HostEnvironment(SPEC, self.reset, self.step, self.close)


class Factory:
  """Makes environments as `envs.make` does, and keeps them."""

  def __init__(self, *faults_of_each):
    """Takes the faults of the first, the second, ... that plays."""
    self.faults = list(faults_of_each)
    self.made = []
    self.lock = threading.Lock()

  def __call__(self, config, *, num_envs, evaluation=False, seed=None):
    """A host environment; a probe, of one environment, has no faults."""
    with self.lock:
      probe = num_envs == 1
      faults = self.faults.pop(0) if self.faults and not probe else ()
      env = Counting(num_envs, faults)
      if not probe:
        self.made.append(env)
    return env.host()
