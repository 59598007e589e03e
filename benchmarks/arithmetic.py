"""Measure how much of the machine's arithmetic peak an iteration uses.

python -m benchmarks.arithmetic [--flagfile=...] [--field=value ...]

Counts the floating-point operations of an iteration's network calls (XLA's own
count of one call, times how often the iteration makes it), measures how many
the device does in a second at most (a large product of matrices) and in these
calls outside of any loop, and times the whole iteration. What is counted: the
networks in search and in updates. What is not: environments, the tree, targets,
the optimiser. Prints a table and adds it to benchmarks/results/arithmetic.json.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from muzero_jax.config import Config, command_line
from muzero_jax.runs import run_dir

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'arithmetic.json'
_SIZES = (1024, 2048, 4096, 8192)  # Of the square matrices.
_LONG_ENOUGH = 0.1  # Seconds after which no larger product is tried.
_REPEATS = 7


class Call(NamedTuple):
  """A call of the network, and how often an iteration makes it."""

  name: str
  run: Callable[..., Any]  # Compiled.
  arguments: tuple[Any, ...]
  flops: float  # Of one call.
  count: float


def calls(config: Config, spec: Any, system: Any, params: Any) -> list[Call]:
  """List the network calls of an iteration.

  Args:
    config: of the run.
    spec: of its environment.
    system: as `build.make_system` makes it.
    params: of its model.
  """
  import jax
  import jax.numpy as jnp

  from muzero_jax.drivers import build

  example = build.example_observation(config, spec)
  model = system.model

  def of(batch: int) -> tuple[Any, Any, Any]:
    observation = jnp.broadcast_to(example, (batch, *example.shape[1:]))
    output = jax.jit(model.root)(params, observation)
    return observation, output.state, jnp.zeros(batch, jnp.int32)

  def unroll(params: Any, observation: Any, action: Any) -> Any:
    """As an update does; a sum in place of the losses."""
    output = model.root(params, observation)
    total = jnp.zeros(())
    for _ in range(config.unroll_steps):
      total += sum(jnp.sum(x) for x in (
        output.policy_logits, output.value_logits, output.reward_logits))
      output = model.step(params, output.state, action)
    return total + output.value_logits.sum() + output.reward_logits.sum()

  played, state, action = of(config.num_envs)
  learnt, _, learnt_action = of(config.batch_size)
  rows = config.rollout_length
  return [
    _call('root of a search', model.root, (params, played), rows),
    _call('simulations', model.step, (params, state, action),
          rows * config.num_simulations),
    _call('updates', jax.grad(unroll), (params, learnt, learnt_action),
          config.updates_per_iteration),
  ]


def _call(
  name: str, function: Callable[..., Any], arguments: tuple[Any, ...],
  count: float,
) -> Call:
  """Compile a call, and let XLA count its operations."""
  import jax

  compiled = jax.jit(function).lower(*arguments).compile()
  analysis: Any = compiled.cost_analysis()
  if isinstance(analysis, list):  # Of older versions of jax.
    analysis = analysis[0]
  return Call(
    name, compiled, arguments, float((analysis or {}).get('flops', 0.0)), count)


def peak(precision: str = 'float32') -> float:
  """Measure the operations per second of the best product of matrices."""
  import jax
  import jax.numpy as jnp

  best = 0.0
  for size in _SIZES:
    x = jnp.full((size, size), 0.5, precision)
    seconds = seconds_of(jax.jit(jnp.matmul), (x, x))
    best = max(best, 2.0 * size**3 / seconds)
    if seconds > _LONG_ENOUGH:
      break
  return best


def seconds_of(run: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
  """Return the median seconds of a call."""
  from benchmarks import common

  return common.median_seconds(lambda: run(*arguments), _REPEATS)


def flops(config: Config, spec: Any, system: Any, params: Any) -> float:
  """Return the operations of the network calls of an iteration."""
  return sum(x.flops * x.count for x in calls(config, spec, system, params))


def main(arguments: command_line.Arguments) -> int:
  config = run_dir.resolve(*arguments)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from benchmarks import common
  from muzero_jax.drivers import build, by_environment

  found = common.iteration(config)
  config = by_environment.resolve(config, found.env.spec)
  system = build.make_system(config, found.env.spec)
  params = found.state.learner.params
  made = calls(config, found.env.spec, system, params)
  bare = {x.name: x.count * seconds_of(x.run, x.arguments) for x in made}
  most = peak()
  _, whole = common.time_iteration(found)
  total = sum(x.flops * x.count for x in made)
  result = dict(
    environment=found.env.spec.name,
    command='python -m benchmarks.arithmetic ' + ' '.join(common.argv()),
    iteration_seconds=whole,
    peak_flops_per_second=most,
    flops={x.name: x.flops * x.count for x in made},
    bare_seconds=bare,
    share_of_peak=total / whole / most,
    share_of_bare=sum(bare.values()) / whole,
    **common.machine())
  print('\n'.join(_table(result)))
  common.store(_RESULTS, ' '.join(common.argv()), result)
  return 0


def _table(result: dict[str, Any]) -> list[str]:
  """Return what is printed."""
  giga = '{:,.2f}'.format
  lines = [
    f'{result["environment"]}: iteration {result["iteration_seconds"]:.3f} s, '
    f'best product of matrices {giga(result["peak_flops_per_second"] / 1e9)} '
    'GFLOP/s']
  for name, count in result['flops'].items():
    bare = result['bare_seconds'][name]
    lines.append(
      f'  {name}: {giga(count / 1e9)} GFLOP, {bare:.3f} s outside of loops '
      f'({giga(count / max(bare, 1e-9) / 1e9)} GFLOP/s)')
  lines.append(
    f'  the whole iteration: {result["share_of_peak"]:.1%} of the best product '
    f'of matrices; the calls outside of loops take '
    f'{result["share_of_bare"]:.1%} of its time')
  return lines


if __name__ == '__main__':
  command_line.define(defaults='cartpole', workdir='runs/arithmetic')
  command_line.run(main)
