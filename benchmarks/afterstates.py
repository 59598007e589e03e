"""Searched values of afterstates against what really follows them.

python -m benchmarks.afterstates --workdir=runs/2048 [--index=0]

An agent plays as many episodes as there are to be positions, without noise; of
each episode one position is kept, each with the same probability. There it
searches, and the q-value of the action that it chooses is the searched value of
the afterstate. From each of these go a number of continuations, noise-free too,
with chance drawn anew: the mean of their discounted returns is what the value
should have been. Prints by how much it is off and adds that to
benchmarks/results/afterstates.json, under the name of the run directory.
"""

import argparse
import pathlib
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from muzero_jax import agent as agent_lib
from muzero_jax.agent import Agent, AgentState
from muzero_jax.errors import UserError
from muzero_jax.types import Array, Environment, Params, TimeStep

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'afterstates.json'


class Position(NamedTuple):
  """Where B agents are about to act."""

  env_state: Any
  row: TimeStep
  memory: AgentState


class Compared(NamedTuple):
  """What was searched and what followed, N positions."""

  searched: np.ndarray  # [N] q-values of the actions chosen.
  real: np.ndarray  # [N] means of the continuations' discounted returns.
  variance: np.ndarray  # [N] of such a mean: of the returns, over their number.


def compare(
  agent: Agent,
  make_env: Any,
  *,
  num_positions: int,
  num_continuations: int,
  seed: int = 0,
) -> Compared:
  """Returns searched values and real returns of `num_positions` afterstates.

  Args:
    agent: plays noise-free.
    make_env: num_envs -> JAX environments of one player whose episodes end.
    num_positions: N, at least 2.
    num_continuations: of each, at least 2.
    seed: of environments, searches and the choice of positions.
  """
  num_games = num_positions * num_continuations
  many = make_env(num_games)
  keep_key, search_key, play_key = jax.random.split(jax.random.key(seed), 3)
  kept = _keep(
    agent, make_env(num_positions), num_positions, agent.params, keep_key)

  @jax.jit
  def go_on(params: Params, at: Position) -> tuple[Array, Array]:
    at, action, searched = _search(agent, params, at, search_key)
    at, action = jax.tree.map(
      lambda x: jnp.repeat(x, num_continuations, axis=0), (at, action))
    first_key, rest_key = jax.random.split(play_key)
    env_state, row = many.step(at.env_state, action, first_key)
    at = Position(env_state, row, at.memory)
    return searched, _returns(agent, many, params, at, rest_key)

  searched, returns = jax.device_get(go_on(agent.params, kept))
  returns = returns.reshape(num_positions, num_continuations)
  return Compared(
    searched=searched,
    real=returns.mean(axis=1),
    variance=returns.var(axis=1, ddof=1) / num_continuations,
  )


def _search(
  agent: Agent, params: Params, at: Position, rng_key: Array
) -> tuple[Position, Array, Array]:
  """Returns the position remembered, the actions chosen and their q-values."""
  memory, found = agent.act_fn(
    params, at.memory, rng_key, at.row.observation, at.row.legal_actions,
    at.row.is_first)
  assert found.action_value is not None
  return at._replace(memory=memory), found.action, found.action_value


def _keep(
  agent: Agent, env: Environment, num_envs: int, params: Params, rng_key: Array
) -> Position:
  """Returns one position of the first episode of each environment."""

  def step(carry: Any) -> Any:
    t, at, kept, is_over, rng_key = carry
    rng_key, draw_key, search_key, env_key = jax.random.split(rng_key, 4)
    # The t-th position replaces what was kept with probability 1 / t, so that
    # each is kept as probably as any other.
    draw = jax.random.uniform(draw_key, (num_envs,)) * (t + 1) < 1
    takes = draw & ~is_over
    kept = jax.tree.map(
      lambda new, old: jnp.where(
        takes.reshape(-1, *(1,) * (new.ndim - 1)), new, old),
      at, kept)
    at, action, _ = _search(agent, params, at, search_key)
    env_state, row = env.step(at.env_state, action, env_key)
    at = Position(env_state, row, at.memory)
    return t + 1, at, kept, is_over | row.is_last, rng_key

  @jax.jit
  def run(params: Params, rng_key: Array) -> Position:
    init_key, rng_key = jax.random.split(rng_key)
    at = Position(*env.init(init_key), agent.init_state(num_envs))
    is_over = jnp.zeros(num_envs, bool)
    return jax.lax.while_loop(
      lambda carry: ~carry[3].all(), step,
      (jnp.int32(0), at, at, is_over, rng_key))[2]

  return run(params, rng_key)


def _returns(
  agent: Agent, env: Environment, params: Params, at: Position, rng_key: Array
) -> Array:
  """Returns the discounted returns [B] of episodes, reward of `at` included.

  Rewards are clipped as in training, or the values would be of something else.
  """
  discount = agent.config.discount
  most = agent.config.reward_clip or float('inf')
  reward_of = lambda row: jnp.clip(row.reward, -most, most)

  def step(carry: Any) -> Any:
    t, at, total, is_over, rng_key = carry
    rng_key, search_key, env_key = jax.random.split(rng_key, 3)
    at, action, _ = _search(agent, params, at, search_key)
    env_state, row = env.step(at.env_state, action, env_key)
    gain = discount ** (t + 1) * reward_of(row)
    total = total + jnp.where(is_over, 0.0, gain)
    at = Position(env_state, row, at.memory)
    return t + 1, at, total, is_over | row.is_last, rng_key

  return jax.lax.while_loop(
    lambda carry: ~carry[3].all(), step,
    (jnp.int32(0), at, reward_of(at.row), at.row.is_last, rng_key))[2]


def summarise(compared: Compared) -> dict[str, float | None]:
  """Returns the means, and errors as shares of the mean real value.

  `rms_error` is that of a single position. A mean of few continuations is off
  too; `rms_error_beyond_noise` is what remains without the square of that.
  Shares of 0 and correlations of what does not vary are None.
  """
  searched, real = compared.searched, compared.real
  bias = searched - real
  square = np.square(bias)
  beyond = max(square.mean() - compared.variance.mean(), 0.0)
  scale = abs(real.mean())
  share = lambda x: float(x / scale) if scale else None
  varies = searched.std() and real.std()
  return dict(
    mean_searched=float(searched.mean()),
    mean_real=float(real.mean()),
    bias=share(bias.mean()),
    bias_standard_error=share(bias.std(ddof=1) / len(bias) ** 0.5),
    mean_absolute_error=share(np.abs(bias).mean()),
    rms_error=share(square.mean() ** 0.5),
    rms_error_beyond_noise=share(beyond ** 0.5),
    correlation=float(np.corrcoef(searched, real)[0, 1]) if varies else None,
  )


def run(
  workdir: pathlib.Path,
  path: pathlib.Path,
  *,
  command: str,
  num_positions: int,
  num_continuations: int,
  index: int = 0,
) -> None:
  """Compares, prints and adds to the JSON file at `path`.

  Raises:
    ValueError: the directory has no such agent, or not one whose afterstates
      can be compared.
  """
  agent = agent_lib.load(workdir, index=index)
  config, spec = agent.config, agent.spec
  make_env = lambda num_envs: agent.make_env(
    config, num_envs=num_envs, evaluation=True)
  if (
    spec.num_players != 1 or not config.chance_codes or spec.max_episode_steps
    or config.family == 'gymnasium'
  ):
    # What is cut off has a value beyond its end, which no return holds.
    raise UserError(
      f'workdir = {str(workdir)!r}: {config.family} environment {spec.name} '
      f'has {spec.num_players} players, a limit of {spec.max_episode_steps} '
      f'steps and chance_codes = {config.chance_codes}; allowed are 1 player, '
      'no limit and 2 codes or more, in an environment that runs in JAX')
  found = summarise(compare(
    agent, make_env,
    num_positions=num_positions,
    num_continuations=num_continuations,
    # Not the seed of the run's own evaluation.
    seed=config.seed + 1,
  ))
  for name, value in found.items():
    print(f'{name:24} {"-" if value is None else format(value, "10.3f"):>10}')
  name = workdir.resolve().name + (f'/{index}' if index else '')
  common.store(path, name, dict(
    command=command, environment=spec.name, step=agent.step, index=index,
    num_simulations=config.eval_simulations or config.num_simulations,
    num_positions=num_positions, num_continuations=num_continuations, **found,
    hardware=common.hardware(),
    versions=common.versions((*common.PACKAGES, 'pgx'))))


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument(
    '--index', type=int, default=0, help='which agent of a run of several')
  parser.add_argument(
    '--num_positions', type=int, default=256,
    help='episodes, each of which gives a position')
  parser.add_argument(
    '--num_continuations', type=int, default=16, help='of each position')
  args = parser.parse_args()
  for name in ('num_positions', 'num_continuations'):
    if getattr(args, name) < 2:
      parser.error(f'--{name}={getattr(args, name)} must be at least 2')
  try:
    run(
      path=_RESULTS, command=' '.join(
        ['python -m benchmarks.afterstates', *common.argv()]),
      **vars(args))
  except ValueError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  main()
