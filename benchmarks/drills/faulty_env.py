"""An environment that fails in the way that FAULT names, after FAULT_AT steps.

`env_id=benchmarks.drills.faulty_env:Faulty-v0`; FAULT is raise, hang, die or
nothing. The processes of asynchronous environments read the same variables.
"""

import os
import signal
import time
from typing import Any

import gymnasium
import numpy as np

ENV_ID = 'benchmarks.drills.faulty_env:Faulty-v0'
# What it prints when it does so.
HANGS = 'the environment hangs'


class Faulty(gymnasium.Env):
  """Episodes of 20 steps of a random observation; FAULT ends them all."""

  observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
  action_space = gymnasium.spaces.Discrete(2)

  def __init__(self) -> None:
    self._num_steps = 0

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[Any, dict[str, Any]]:
    super().reset(seed=seed)
    return self._observation(), {}

  def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    self._num_steps += 1
    if self._num_steps == int(os.environ.get('FAULT_AT', '0')):
      self._fail(os.environ.get('FAULT', ''))
    return self._observation(), 1.0, False, False, {}

  def _observation(self) -> Any:
    return self.np_random.uniform(-1, 1, 3).astype(np.float32)

  def _fail(self, fault: str) -> None:
    if fault == 'raise':
      raise KeyError('lost')
    if fault == 'hang':
      print(HANGS, flush=True)
      time.sleep(1e6)
    if fault == 'die':
      os.kill(os.getpid(), signal.SIGKILL)


gymnasium.register('Faulty-v0', Faulty, max_episode_steps=20)
