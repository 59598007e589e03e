"""An agent for the counting environments, with random parameters."""

import functools

import jax
import tiny_run
from helpers import counting_env, random_params

from muzero_jax import agent
from muzero_jax.drivers import build

CONFIG = tiny_run.config(stacked_frames=3, stack_actions=True)
NUM_ENVS = 3


@functools.cache
def counting_agent():
  """An agent with random parameters for the counting environments."""
  spec = counting_env(NUM_ENVS).spec
  system = build.make_system(CONFIG, spec)
  observation = build.example_observation(CONFIG, spec)

  @jax.jit  # One compilation instead of dozens.
  def init(key):
    return random_params(system.model.init(key, observation), key)

  return agent.Agent(CONFIG, spec, init(jax.random.key(0)))
