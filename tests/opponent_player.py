"""Opponents in the place of agents."""

from types import SimpleNamespace

import jax.numpy as jnp

from muzero_jax.agent import AgentState
from muzero_jax.types import TimeStep


class Player:
  """An opponent in the agent's place."""

  params = None
  step = 0

  def __init__(self, opponent):
    self._opponent = opponent

  def init_state(self, num_envs):
    return AgentState(None, jnp.zeros(num_envs, jnp.int32))

  def act_fn(self, params, state, key, observation, legal_actions, is_first):
    row = row_of(observation, legal_actions)
    action = self._opponent(key, None, row)
    return state._replace(action=action), SimpleNamespace(action=action)


def row_of(observation, legal_actions):
  empty = TimeStep(*[None] * len(TimeStep._fields))
  return empty._replace(observation=observation, legal_actions=legal_actions)
