"""Toy tasks with continuous actions of which the best are known."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import config as config_lib
from muzero_jax.agent import Agent
from muzero_jax.drivers import anakin, iteration
from muzero_jax.envs import base
from muzero_jax.evaluation import report
from muzero_jax.learning import learner_state
from muzero_jax.types import EnvSpec


class Goal(NamedTuple):
  """State of one toy."""

  goal: jax.Array  # [] in [-1, 1]
  position: jax.Array  # []
  step: jax.Array  # [] i32


def _reset(rng_key):
  goal = jax.random.uniform(rng_key, minval=-1.0, maxval=1.0)
  return Goal(goal, jnp.float32(0), jnp.int32(0))


def _observe(state):
  return jnp.stack([
    state.goal, state.position, state.step.astype(jnp.float32)])


def _bandit(state, action, rng_key):
  """One step that pays 1 - 4 |a - goal|: at best 1, for a = goal."""
  del rng_key
  reward = 1 - 4 * jnp.abs(action[0] - state.goal)
  return base.Transition(state._replace(step=state.step + 1), reward, True)


def _two_steps(state, action, rng_key):
  """Two steps of cost a^2, then (a_1 + a_2 - goal)^2.

  At best a_1 = a_2 = goal / 3 and -goal^2 / 3 in all; who looks one step ahead
  does nothing first, and gets -goal^2 / 2.
  """
  del rng_key
  action = action[0]
  position = state.position + action
  ends = state.step == 1
  reward = -(action**2) - ends * (position - state.goal) ** 2
  return base.Transition(
    Goal(state.goal, position, state.step + 1), reward, ends)


def make(name):
  """A toy as `envs.make` would make it."""

  def make_env(config, *, num_envs, evaluation=False, seed=None):
    spec = EnvSpec(
      name=f'test/{name}', observation_shape=(3,),
      observation_dtype=np.float32, num_actions=1, max_episode_steps=4,
      action_low=(-2.0,), action_high=(2.0,))
    step = _two_steps if name == 'two_steps' else _bandit
    return base.make_environment(
      spec, num_envs, reset=_reset, step=step, observe=_observe)

  return make_env


def best(name, goal):
  """The best return by goal."""
  return -(goal**2) / 3 if name == 'two_steps' else np.ones_like(goal)


def config(**changes):
  """The toys' Config."""
  return config_lib.Config(**{**dict(
    family='continuous', env_id='toy', network='mlp', num_blocks=1,
    num_channels=32, head_hidden=32, support_bins=41, support_max=2.5,
    policy_head='tanh_gaussian', num_sampled_actions=8, entropy_weight=5e-3,
    num_simulations=8, gumbel_min_range=0.1, discount=1.0, num_envs=64,
    rollout_length=8, replay_capacity=8_192, min_replay=1_024,
    unroll_steps=2, td_steps=2, batch_size=64, updates_per_iteration=16,
    learning_rate=3e-3, learning_rate_schedule='constant', temperature=(1.0,),
    temperature_at=(0.0,), num_devices=1, num_steps=100_000, eval_envs=64,
  ), **changes})


def train(run_config, make_env, iterations):
  """The parameters and the environment after some iterations."""
  env = make_env(run_config, num_envs=run_config.num_envs)
  driver = anakin.make_anakin(
    run_config, env, rows_per_env=run_config.capacity_rows_per_env)
  state = driver.init(iteration.run_key(run_config))
  for _ in range(iterations):
    state, metrics = driver.step(state)
  return state, jax.device_get(metrics)


def regret(run_config, name, state):
  """What the trained agent's returns fall short of the best, in the mean."""
  make_env = make(name)
  env = make_env(run_config, num_envs=64, evaluation=True)
  agent = Agent(
    run_config, env.spec, learner_state.final_params(state.learner),
    make_env=make_env)
  score = report.evaluate(agent, env, num_envs=64, num_episodes=64)
  init_key, _ = jax.random.split(jax.random.key(0))
  goal = np.asarray(env.init(init_key)[1].observation[:, 0])
  return float(np.mean(best(name, goal) - score.returns))
