"""How fast the whole step is, and where its time goes.

python -m benchmarks.throughput [--flagfile=...] [--field=value ...]

Times the compiled iteration (play, add, learn), then each of its parts alone
at the same sizes: environment, search, the search's network calls without a
tree, sampling, and updates. What the parts do not add up to is overlap and
overhead. Prints a table and adds it to benchmarks/results/throughput.json.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

from muzero_jax.config import command_line
from muzero_jax.runs import run_dir

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'throughput.json'


def main(arguments: command_line.Arguments) -> int:
  config = run_dir.resolve(*arguments)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from benchmarks import common

  found = common.iteration(config)
  state, whole = common.time_iteration(found)
  parts = {
    name: common.median_seconds(run)
    for name, run in _parts(config, found.env, found.driver, state).items()
  }
  result = dict(
    environment=found.env.spec.name,
    command='python -m benchmarks.throughput ' + ' '.join(common.argv()),
    num_envs=config.num_envs,
    rollout_length=config.rollout_length,
    num_simulations=config.num_simulations,
    batch_size=config.batch_size,
    updates_per_iteration=config.updates_per_iteration,
    compile_seconds=round(found.compile_seconds, 1),
    **common.rates(config, whole),
    part_seconds=parts,
    **common.machine(),
  )
  print('\n'.join(_table(result)))
  common.store(_RESULTS, ' '.join(common.argv()), result)
  return 0


def _parts(
  config: Any, env: Any, driver: Any, state: Any
) -> dict[str, Callable[[], Any]]:
  """Returns each part of the iteration as a compiled function."""
  import jax
  import jax.numpy as jnp

  from muzero_jax.drivers import build
  from muzero_jax.replay import frame_stack, ring

  system = build.make_system(config, env.spec)
  search = build.make_search(config, env.spec, system, 'acting')
  learn = build.make_learner(config, env.spec, system)
  keys = jax.random.split(jax.random.key(0), config.rollout_length)
  learner, actor = state.learner, state.actor
  window = config.unroll_steps + 1 + config.td_steps
  sample = functools.partial(
    ring.sample,
    batch_size=config.batch_size,
    window=window,
    stacked_frames=config.stacked_frames,
    stack_actions=config.stack_actions,
    observed_rows=window if config.reanalyse_fraction else 1,
    alpha=config.priority_alpha,
  )
  action = jnp.zeros(config.num_envs, jnp.int32)
  observation = frame_stack.observe(
    actor.history, env.spec.num_actions, config.stack_actions
  )

  @jax.jit
  def environment(env_state: Any) -> Any:
    return jax.lax.scan(
      lambda s, key: (env.step(s, action, key)[0], None), env_state, keys
    )[0]

  @jax.jit
  def searching(params: Any, observation: Any) -> Any:
    def body(total: Any, key: Any) -> Any:
      found = search(params, key, observation, actor.timestep.legal_actions)
      return total + found.value, None

    return jax.lax.scan(body, jnp.zeros(config.num_envs), keys)[0]

  @jax.jit
  def networks(params: Any, observation: Any) -> Any:
    """As many network calls as the searches make, and no tree."""

    def simulate(output: Any, _: Any) -> Any:
      chosen = jnp.argmax(output.policy_logits, axis=-1).astype(jnp.int32)
      return system.model.step(params, output.state, chosen), None

    def body(total: Any, key: Any) -> Any:
      del key
      # Float zeros are not folded: without them the loop would run once.
      shift = (0 * total[0]).astype(observation.dtype)
      root = system.model.root(params, observation + shift)
      last = jax.lax.scan(
        simulate, root, None, length=config.num_simulations
      )[0]
      return total + last.value_logits[:, 0], None

    data = jax.random.key_data(keys)
    return jax.lax.scan(body, jnp.zeros(config.num_envs), data)[0]

  update_keys = jax.random.split(
    jax.random.key(1), max(config.updates_per_iteration, 1)
  )

  @jax.jit
  def sampling(buffer: Any) -> Any:
    def body(total: Any, key: Any) -> Any:
      batch = sample(buffer, key)
      return total + sum(
        jnp.sum(x).astype(jnp.float32)
        for x in jax.tree.leaves(batch.sequence)
      ), None

    return jax.lax.scan(body, jnp.zeros(()), update_keys)[0]

  @jax.jit
  def learning(learner: Any, buffer: Any) -> Any:
    def body(carry: Any, key: Any) -> Any:
      current, priority = carry
      current, changed, _ = learn.update(
        current, buffer._replace(priority=priority), key
      )
      return (current, changed.priority), None

    return jax.lax.scan(body, (learner, buffer.priority), update_keys)[0]

  return {
    'environment': lambda: environment(actor.env_state),
    'search': lambda: searching(learner.params, observation),
    'networks of the search': lambda: networks(learner.params, observation),
    'updates': lambda: learning(learner, state.replay),
    'sampling of the updates': lambda: sampling(state.replay),
  }


def _table(result: dict[str, Any]) -> list[str]:
  whole = result['iteration_seconds']
  lines = [
    f'{result["environment"]}: {result["num_envs"]} environments x '
    f'{result["rollout_length"]} rows, {result["num_simulations"]} '
    f'simulations, {result["updates_per_iteration"]} updates of '
    f'{result["batch_size"]}',
    f'  compile {result["compile_seconds"]} s, iteration {whole:.3f} s: '
    f'{result["rows_per_second"]:.0f} rows/s, '
    f'{result["simulations_per_second"]:.0f} simulations/s, '
    f'{result["updates_per_second"]:.1f} updates/s',
  ]
  for name, seconds in result['part_seconds'].items():
    indent = '    ' if ' of the ' in name else '  '
    lines.append(f'{indent}{name}: {seconds:.3f} s, {seconds / whole:.0%}')
  return lines


if __name__ == '__main__':
  command_line.define(defaults='cartpole', workdir='runs/throughput')
  command_line.run(main)
