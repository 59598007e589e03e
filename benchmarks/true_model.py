"""Is it the model or the search? An agent's search on the real environment.

python -m benchmarks.true_model --workdir=runs/minatar_space_invaders

Plays an agent without noise in four ways: by its policy head alone, by its own
search, and by the same search with the environment itself in place of the
learned model, values and policies still the agent's, with as many simulations
and with four times as many. Where the environment as the model is far better,
values and policy are good enough and the model is not.

Then compares what both models say of each action: q = r + d v after one step,
less the mean over actions, at positions that the policy head samples. The
correlation says how much of the difference that an action makes the model
knows; of actions that end the episode where others do not, it is stated by how
much their q lies below that mean. Adds both to
benchmarks/results/true_model.json, under the name of the run directory.

For one player, JAX environments, single frames and Gumbel search.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from benchmarks import common
from muzero_jax import agent as agent_lib
from muzero_jax.agent import Agent
from muzero_jax.errors import UserError
from muzero_jax.search import model_functions, qtransforms
from muzero_jax.types import (
  Array,
  Environment,
  HostEnvironment,
  Params,
  ScaledParams,
  TimeStep,
  network_params,
)

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'true_model.json'
_CHUNK = 100  # Steps between looks at whether all episodes are over.

# params, environment's state, row, rng_key -> action [B]
Choose = Callable[[Params, Any, TimeStep, Array], Array]


class Parts(NamedTuple):
  """An agent's functions, and B environments."""

  env: Environment
  root: Callable[[Params, Array], mctx.RootFnOutput]
  step: Callable[..., Any]  # mctx's recurrent function of the learned model.
  agent: Agent


def make_parts(agent: Agent, num_envs: int, **changes: Any) -> Parts:
  """Make what the comparison needs.

  Args:
    agent: whose model is asked.
    num_envs: B.
    **changes: to the environment's configuration.

  Raises:
    UserError: it cannot be compared.
  """
  config = agent.config
  for name, wanted in (
    ('search', 'gumbel'), ('stacked_frames', 1), ('chance_codes', 0),
    ('num_sampled_actions', 0),
  ):
    if getattr(config, name) != wanted:
      raise UserError(
        f'{name} = {getattr(config, name)!r}: the comparison needs {wanted!r}')
  env = agent.make_env(
    dataclasses.replace(config, **changes), num_envs=num_envs, evaluation=True)
  if isinstance(env, HostEnvironment) or env.spec.num_players != 1:
    raise UserError(
      f'{agent.spec.name}: the comparison needs a JAX environment of one '
      'player')
  system = agent.system
  return Parts(
    env=env,
    root=functools.partial(
      model_functions.root, system.model, system.value_transform),
    step=model_functions.recurrent_fns(
      system.model, system.value_transform, system.reward_transform,
      config.discount)['recurrent_fn'],
    agent=agent,
  )


def true_step(
  parts: Parts, params: Params, rng_key: Array, action: Array, state: Any
) -> tuple[mctx.RecurrentFnOutput, Any]:
  """Compute mctx's view of the environment, with the agent's values.

  Args:
    parts: of the agent.
    params: of its network.
    rng_key: of the environment.
    action: [B] i32.
    state: the environment's, and where the episode is over [B] bool.
  """
  env_state, is_over = state
  env_state, row = parts.env.step(env_state, action.astype(jnp.int32), rng_key)
  found = parts.root(params, row.observation)
  alive = ~is_over
  return mctx.RecurrentFnOutput(
    reward=jnp.where(alive, row.reward, 0.0),
    discount=jnp.where(
      alive, parts.agent.config.discount * row.discount, 0.0),
    prior_logits=found.prior_logits,
    value=jnp.where(alive & (row.discount > 0), found.value, 0.0),
  ), (env_state, is_over | row.is_last)


def choose_by_prior(
  parts: Parts, params: Params, state: Any, row: TimeStep, rng_key: Array
) -> Array:
  """Choose the likeliest actions [B] of the policy head."""
  del state, rng_key
  return jnp.argmax(parts.root(params, row.observation).prior_logits, axis=-1)


def choose_by_search(
  parts: Parts,
  num_simulations: int,
  is_true: bool,
  params: Params,
  state: Any,
  row: TimeStep,
  rng_key: Array,
) -> Array:
  """Choose actions [B] by a search, of the learned or the true model."""
  config = parts.agent.config
  root = parts.root(params, row.observation)
  step = parts.step
  if is_true:
    step = functools.partial(true_step, parts)
    over = jnp.zeros(row.is_last.shape, bool)
    root = root.replace(embedding=(state, over))  # type: ignore[attr-defined]
  return mctx.gumbel_muzero_policy(
    params, rng_key, root, step, num_simulations, ~row.legal_actions,
    qtransform=functools.partial(
      qtransforms.qtransform_above_noise,
      value_scale=config.gumbel_value_scale,
      epsilon=_least_range(parts.agent)),
    max_num_considered_actions=config.max_considered_actions,
    gumbel_scale=0.0,
  ).action


def _least_range(agent: Agent) -> float:
  """Return the least range of q-values that the agent's search divides by."""
  if isinstance(agent.params, ScaledParams):
    return float(agent.params.search_error)
  return agent.config.gumbel_min_range or 1e-8


def returns(parts: Parts, choose: Choose, longest: int) -> dict[str, float]:
  """Play B episodes without noise; return mean, its standard error, length.

  Args:
    parts: of the agent.
    choose: the actions.
    longest: steps after which an episode counts as it stands.
  """
  def step(carry: Any, rng_key: Array) -> Any:
    params, state, row, total, length, is_over = carry
    search_key, env_key = jax.random.split(rng_key)
    action = choose(params, state, row, search_key).astype(jnp.int32)
    state, row = parts.env.step(state, action, env_key)
    total = total + jnp.where(is_over, 0.0, row.reward)
    return (
      params, state, row, total, length + ~is_over, is_over | row.is_last
    ), None

  play = jax.jit(lambda carry, rng_key: jax.lax.scan(
    step, carry, jax.random.split(rng_key, _CHUNK))[0])
  state, row = parts.env.init(jax.random.key(1))
  size = row.is_last.shape
  carry = (
    network_params(parts.agent.params), state, row, jnp.zeros(size),
    jnp.zeros(size, jnp.int32), jnp.zeros(size, bool))
  for chunk in range(-(-longest // _CHUNK)):
    carry = play(carry, jax.random.key(2 + chunk))
    if carry[5].all():
      break
  total = np.asarray(carry[3], np.float64)
  return dict(
    mean=float(total.mean()),
    standard_error=float(total.std(ddof=1) / len(total) ** 0.5),
    mean_length=float(carry[4].mean()),
    ended=float(carry[5].mean()),
  )


def action_values(
  parts: Parts, num_positions: int, steps_between: int = 23
) -> dict[str, float | None]:
  """Compare q-values of the learned and of the true model after one step.

  Args:
    parts: of the agent, of environments in which actions are never repeated.
    num_positions: at least so many.
    steps_between: that the policy head plays from position to position.
  """
  def walk(carry: Any, rng_key: Array) -> Any:
    params, state, row = carry
    draw_key, env_key = jax.random.split(rng_key)
    logits = parts.root(params, row.observation).prior_logits
    action = jax.random.categorical(draw_key, logits).astype(jnp.int32)
    return (params, *parts.env.step(state, action, env_key)), None

  def fan(params: Params, state: Any, row: TimeStep, rng_key: Array) -> Any:
    hidden = parts.root(params, row.observation).embedding
    over = jnp.zeros(row.is_last.shape, bool)
    both = []
    for action in range(parts.env.spec.num_actions):
      chosen = jnp.full(row.is_last.shape, action, jnp.int32)
      true, _ = true_step(parts, params, rng_key, chosen, (state, over))
      learned, _ = parts.step(params, rng_key, chosen, hidden)
      both.append((
        true.reward + true.discount * true.value,
        learned.reward + learned.discount * learned.value,
        true.discount == 0))
    return [jnp.stack(x, axis=1) for x in zip(*both, strict=True)]

  @jax.jit
  def look(carry: Any, rng_key: Array) -> Any:
    carry, _ = jax.lax.scan(
      walk, carry, jax.random.split(rng_key, steps_between))
    return carry, fan(*carry, rng_key), ~carry[2].is_last

  carry = (
    network_params(parts.agent.params), *parts.env.init(jax.random.key(3)))
  found: list[Any] = []
  size = len(carry[2].is_last)
  for number in range(-(-num_positions // size)):
    carry, seen, counts = look(carry, jax.random.key(4 + number))
    found.append([np.asarray(x)[np.asarray(counts)] for x in seen])
  return summarise(*(np.concatenate(x) for x in zip(*found, strict=True)))


def summarise(
  true: np.ndarray, learned: np.ndarray, ends: np.ndarray
) -> dict[str, float | None]:
  """Compute how alike two models' q-values [N, A] are, of each position.

  Args:
    true: of the environment.
    learned: of the model.
    ends: [N, A] bool, whether the action ends the episode.
  """
  true, learned = (x - x.mean(axis=1, keepdims=True) for x in (true, learned))
  some = ends.any(axis=1) & ~ends.all(axis=1)
  fatal = ends & some[:, None]
  varies = true.std() and learned.std()
  return dict(
    positions=len(true),
    correlation=(
      float(np.corrcoef(true.ravel(), learned.ravel())[0, 1])
      if varies else None),
    spread_true=float(true.std()),
    spread_learned=float(learned.std()),
    positions_where_some_actions_end_it=float(some.mean()),
    end_true=float(true[fatal].mean()) if fatal.any() else None,
    end_learned=float(learned[fatal].mean()) if fatal.any() else None,
  )


def run(
  workdir: pathlib.Path,
  path: pathlib.Path,
  *,
  command: str,
  num_episodes: int,
  num_positions: int,
  longest: int,
) -> dict[str, Any]:
  """Compare, print and add to the JSON file at `path`.

  Raises:
    UserError: the directory has no agent, or not one that can be compared.
  """
  agent = agent_lib.load(workdir)
  parts = make_parts(agent, num_episodes)
  number = agent.config.num_simulations
  ways: dict[str, Choose] = {
    'policy head': functools.partial(choose_by_prior, parts)}
  for name, simulations, is_true in (
    ('learned model', number, False), ('true model', number, True),
    ('true model', 4 * number, True),
  ):
    ways[f'{name}, {simulations} simulations'] = functools.partial(
      choose_by_search, parts, simulations, is_true)
  result: dict[str, Any] = dict(
    command=command, step=agent.step, **common.machine(), returns={})
  for name, choose in ways.items():
    played = result['returns'][name] = returns(parts, choose, longest)
    print(f'{name}: {played["mean"]:.2f} +- {played["standard_error"]:.2f}',
          flush=True)
  calm = make_parts(agent, num_episodes, repeat_action_probability=0.0)
  result['action_values'] = action_values(calm, num_positions)
  print(result['action_values'])
  common.store(path, workdir.name, result)
  return result


def main() -> int:
  """Compare the agent of a run; return the exit status."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument('--episodes', type=int, default=32)
  parser.add_argument('--positions', type=int, default=2_048)
  parser.add_argument('--longest', type=int, default=1_500)
  given = parser.parse_args()
  for name in ('episodes', 'positions', 'longest'):
    if getattr(given, name) < 2:
      parser.error(f'--{name}={getattr(given, name)} must be at least 2')
  try:
    run(given.workdir, _RESULTS,
        command='python -m benchmarks.true_model ' + ' '.join(common.argv()),
        num_episodes=given.episodes, num_positions=given.positions,
        longest=given.longest)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_status
  return 0


if __name__ == '__main__':
  sys.exit(main())
