"""Noise-free play in host environments; what `play` is for those of JAX."""

import itertools

import jax
import numpy as np

from muzero_jax.acting.host_worker import Worker
from muzero_jax.agent import Agent
from muzero_jax.errors import UserError
from muzero_jax.types import HostEnvironment

# Gymnasium has environments without a time limit, in which a greedy agent may
# go round for ever: its episodes are cut off after so many steps, as many as
# Atari's 108,000 frames are.
LONGEST_EPISODE = 27_000


def play(
  agent: Agent,
  env: HostEnvironment,
  *,
  num_envs: int,
  num_episodes: int,
  seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the returns and lengths of episodes, [E, B] each.

  Args:
    agent: plays greedily.
    env: `num_envs` evaluation environments; closed afterwards.
    num_envs: B.
    num_episodes: a multiple of `num_envs`; every environment plays as many.
      One of more than LONGEST_EPISODE steps counts as it stands then.
    seed: of environments and searches.

  Raises:
    UserError: if the episodes cannot be shared out evenly.
    WorkerError: the environments raised, hung or returned no rows.
  """
  if num_episodes < 1 or num_episodes % num_envs:
    raise UserError(
      f'num_episodes={num_episodes}: must be a multiple of num_envs='
      f'{num_envs}, so that every environment plays as many'
    )
  worker = Worker(
    lambda: env, num_envs=num_envs, name='evaluation',
    timeout=agent.config.worker_timeout)
  try:
    return _play(agent, worker, num_envs, num_episodes // num_envs, seed)
  finally:
    worker.close()


def _play(
  agent: Agent, worker: Worker, num_envs: int, per_env: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  act = jax.jit(agent.act_fn)
  memory, rng_key = agent.init_state(num_envs), jax.random.key(seed)
  returns = np.zeros((per_env, num_envs), np.float32)
  lengths = np.zeros((per_env, num_envs), np.int32)
  score, length = np.zeros(num_envs, np.float32), np.zeros(num_envs, np.int32)
  num_done = np.zeros(num_envs, np.int32)
  row = worker.reset(seed)
  for t in itertools.count():
    memory, found = act(
      agent.params, memory, jax.random.fold_in(rng_key, t), row.observation,
      row.legal_actions, row.is_first)
    row = worker.step(np.array(found.action))
    score = np.where(row.is_first, 0, score + row.reward)
    length = np.where(row.is_first, 0, length + 1)
    # Episodes beyond the share of an environment are not counted.
    is_over = row.is_last | (length >= LONGEST_EPISODE)
    for b in np.flatnonzero(is_over & (num_done < per_env)):
      returns[num_done[b], b], lengths[num_done[b], b] = score[b], length[b]
      num_done[b] += 1
    score, length = np.where(is_over, 0, score), np.where(is_over, 0, length)
    if num_done.min() == per_env:
      return returns, lengths
  raise AssertionError('counting never ends')
