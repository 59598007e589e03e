"""What uniformly random actions score in an environment that runs in JAX.

python -m benchmarks.uniform --preset=pendulum [--field=value ...]

One episode of each of 1,000 environments, as an evaluation would play them.
Continuous actions are drawn between their bounds. Prints the mean return with
its standard error and adds both to benchmarks/results/uniform.json, in place of
an older record of the same environment: leave its rules as they are.
"""

import pathlib
from typing import Any

from muzero_jax.config import command_line
from muzero_jax.errors import UserError
from muzero_jax.runs import run_dir

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'uniform.json'
_EPISODES = 1_000


def main(arguments: command_line.Arguments) -> int:
  config = run_dir.resolve(*arguments)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from benchmarks import common
  from muzero_jax import envs

  # One alone tells whether it can be: a thousand of some take a minute.
  check(envs.make(config, num_envs=1, evaluation=True))
  env = envs.make(config, num_envs=_EPISODES, evaluation=True)
  returns = play(env, _EPISODES, seed=config.seed)
  mean = float(returns.mean())
  error = float(returns.std(ddof=1) / len(returns) ** 0.5)
  print(f'{env.spec.name}: {mean:.2f} +- {error:.2f} over {len(returns)} '
        'episodes of uniformly random actions')
  common.store(_RESULTS, env.spec.name, dict(
    command=' '.join(['python -m benchmarks.uniform', *common.argv()]),
    num_episodes=len(returns), mean=mean, standard_error=error,
    **common.machine(),
  ))
  return 0


def check(env: Any) -> None:
  """Raises ValueError where one episode of each environment cannot be had."""
  from muzero_jax.types import HostEnvironment

  spec = env.spec
  if isinstance(env, HostEnvironment):
    env.close()
    raise UserError(
      f'env_id: {spec.name} is stepped by the host; allowed are environments '
      'that run in JAX')
  if spec.num_players != 1 or not spec.max_episode_steps:
    raise UserError(
      f'env_id: {spec.name} has {spec.num_players} players and a limit of '
      f'{spec.max_episode_steps} steps; allowed are 1 player and a limit above '
      '0')


def play(env: Any, num_envs: int, *, seed: int) -> Any:
  """Returns the return of the first episode of each environment [B].

  Args:
    env: as `check` lets it pass.
    num_envs: B.
    seed: of the environments and of the actions.
  """
  import jax
  import jax.numpy as jnp

  spec = env.spec

  def draw(rng_key, legal_actions):
    if spec.is_continuous:
      return jax.random.uniform(
        rng_key, (num_envs, spec.num_actions),
        minval=jnp.array(spec.action_low), maxval=jnp.array(spec.action_high))
    return jax.random.categorical(
      rng_key, jnp.where(legal_actions, 0.0, -jnp.inf))

  def step(carry, rng_key):
    state, row, total, over = carry
    action_key, step_key = jax.random.split(rng_key)
    state, row = env.step(state, draw(action_key, row.legal_actions), step_key)
    total = total + jnp.where(over, 0.0, row.reward)
    return (state, row, total, over | row.is_last), None

  @jax.jit
  def run(rng_key):
    init_key, rng_key = jax.random.split(rng_key)
    state, row = env.init(init_key)
    carry = state, row, jnp.zeros(num_envs), jnp.zeros(num_envs, bool)
    keys = jax.random.split(rng_key, spec.max_episode_steps)
    return jax.lax.scan(step, carry, keys)[0][2:]

  total, over = run(jax.random.key(seed))
  assert over.all(), 'the limit of steps ends every episode'
  return jax.device_get(total)


if __name__ == '__main__':
  command_line.define(defaults='cartpole', workdir='runs/uniform')
  command_line.run(main)
