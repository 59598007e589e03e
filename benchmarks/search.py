"""Search against mctx's and against its networks alone.

python -m benchmarks.search [--quick] [--only=gumbel_mlp] [--scaling]

Each row times three compiled programs in turns, so that a busy moment strikes
all alike: our policy, mctx's, and as many bare calls of the model as the
search makes. Prints medians with their spread (half the distance between the
quartiles) and adds them to benchmarks/results/search.json, keyed by device.
--scaling times ours against simulations, batch and actions instead.
"""

import argparse
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from benchmarks import common
from muzero_jax import config as config_lib
from muzero_jax import search
from muzero_jax.config import presets
from muzero_jax.drivers import build
from muzero_jax.types import EnvSpec

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'search.json'


class Case(NamedTuple):
  """One row of the table."""

  policy: str  # 'gumbel' or 'puct'.
  network: str  # 'mlp', 'atari' or 'go'.
  batch: int
  actions: int
  simulations: int
  width: int = 0  # Of an MLP.
  only_gpu: bool = False

  @property
  def name(self) -> str:
    """Returns a name for tables and for --only."""
    size = f'_d{self.width}' if self.width else ''
    return (
      f'{self.policy}_{self.network}_b{self.batch}_a{self.actions}'
      f'_s{self.simulations}{size}'
    )


CASES = (
  Case('gumbel', 'mlp', 256, 7, 32, 128),
  Case('puct', 'mlp', 256, 7, 32, 128),
  Case('gumbel', 'mlp', 256, 82, 32, 256),
  Case('puct', 'mlp', 128, 82, 200, 256),
  Case('gumbel', 'atari', 64, 18, 16),
  Case('puct', 'atari', 64, 18, 50),
  Case('gumbel', 'go', 64, 82, 32),
  Case('puct', 'go', 64, 82, 200),
  Case('puct', 'atari', 1536, 18, 50, only_gpu=True),
  Case('puct', 'atari', 4096, 18, 50, only_gpu=True),
  Case('gumbel', 'muzero', 64, 18, 50, only_gpu=True),
  Case('puct', 'go_19x19', 64, 362, 800, only_gpu=True),
)
QUICK = 2  # The first so many cases, with fewer repeats.

_NETWORKS = {
  'atari': dict(
    fields=dict(presets.PRESETS['atari_100k'], prefix_steps=0, grayscale=True,
                stacked_frames=4),
    shape=(96, 96, 1), dtype='uint8', stack=4,
  ),
  'muzero': dict(
    fields=dict(presets.PRESETS['atari_muzero'], stack_actions=False,
                stacked_frames=4, replay_capacity=100_000_000),
    shape=(96, 96, 3), dtype='uint8', stack=4,
  ),
  'go': dict(
    fields=dict(family='board', env_id='go_9x9', network='board_resnet',
                num_blocks=4, num_channels=32),
    shape=(9, 9, 17), dtype='float32', stack=1,
  ),
  'go_19x19': dict(
    fields=dict(family='board', env_id='go_19x19', network='board_resnet',
                num_blocks=10, num_channels=128),
    shape=(19, 19, 17), dtype='float32', stack=1,
  ),
}


def _mlp(case: Case) -> tuple[Any, mctx.RootFnOutput, Callable[..., Any]]:
  """Returns parameters, roots and a three-layer model."""
  keys = jax.random.split(jax.random.key(0), 8)
  width, actions = case.width, case.actions
  normal = lambda key, *shape: (
    jax.random.normal(key, shape) / jnp.sqrt(jnp.float32(shape[0]))
  )
  params = dict(
    first=normal(keys[0], width + actions, width),
    second=normal(keys[1], width, width),
    third=normal(keys[2], width, width),
    heads=normal(keys[3], width, actions + 2),
  )

  def predict(params: Any, state: Any) -> Any:
    heads = state @ params['heads']
    return heads[:, :actions], heads[:, actions], heads[:, actions + 1]

  def step(params: Any, rng_key: Any, action: Any, state: Any) -> Any:
    del rng_key
    x = jnp.concatenate([state, jax.nn.one_hot(action, actions)], axis=-1)
    x = jax.nn.relu(x @ params['first'])
    x = jax.nn.relu(x @ params['second'])
    state = jnp.tanh(x @ params['third'])
    logits, value, reward = predict(params, state)
    return mctx.RecurrentFnOutput(
      reward=reward, discount=jnp.full_like(reward, 0.99),
      prior_logits=logits, value=value,
    ), state

  state = jax.random.normal(keys[4], (case.batch, width))
  logits, value, _ = predict(params, state)
  root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=state)
  return params, root, step


def _resnet(case: Case) -> tuple[Any, mctx.RootFnOutput, Callable[..., Any]]:
  """Returns parameters, roots and one of the project's models."""
  chosen: dict[str, Any] = _NETWORKS[case.network]
  config = config_lib.from_fields(chosen['fields'])
  spec = EnvSpec(case.network, chosen['shape'], chosen['dtype'], case.actions)
  system = build.make_system(config, spec)
  *lead, planes = chosen['shape']
  shape = (case.batch, *lead, planes * chosen['stack'])
  observation = jax.random.uniform(jax.random.key(1), shape)
  if chosen['dtype'] == 'uint8':
    observation = (255 * observation).astype(jnp.uint8)
  params = jax.jit(system.model.init)(jax.random.key(0), observation[:1])
  # Heads start at 0, which would make all actions equal.
  params = jax.tree.map(
    lambda x: x + 0.05 * jax.random.normal(jax.random.key(2), x.shape), params
  )
  output = jax.jit(system.model.root)(params, observation)
  root = mctx.RootFnOutput(
    prior_logits=output.policy_logits,
    value=system.value_transform.invert(output.value_logits),
    embedding=output.state,
  )

  def step(params: Any, rng_key: Any, action: Any, state: Any) -> Any:
    del rng_key
    output = system.model.step(params, state, action)
    value = system.value_transform.invert(output.value_logits)
    return mctx.RecurrentFnOutput(
      reward=system.reward_transform.invert(output.reward_logits),
      discount=jnp.full_like(value, 0.99), prior_logits=output.policy_logits,
      value=value,
    ), output.state

  return params, root, step


def _networks_alone(
  params: Any, rng_key: Any, root: Any, step: Any, simulations: int
) -> Any:
  """S calls of the model, each on the last one's state; no tree."""

  def body(_: Any, carry: Any) -> Any:
    state, total = carry
    # An action that depends on the output: no call can be left out.
    output, state = step(
      params, rng_key, total.argmax(axis=-1).astype(jnp.int32), state
    )
    return state, output.prior_logits + (output.value + output.reward)[:, None]

  return jax.lax.fori_loop(
    0, simulations, body, (root.embedding, root.prior_logits)
  )[1]


def programs(case: Case) -> tuple[dict[str, Any], Any]:
  """Returns functions of (params, rng_key, root) by name, and arguments."""
  make = _mlp if case.network == 'mlp' else _resnet
  params, root, step = make(case)
  name = {'gumbel': 'gumbel_muzero_policy', 'puct': 'muzero_policy'}
  policy = name[case.policy]

  def play(library: Any) -> Callable[..., Any]:
    def run(params: Any, rng_key: Any, root: Any) -> Any:
      out = getattr(library, policy)(
        params, rng_key, root, step, case.simulations
      )
      # As every user: action and policy; and the tree, as a training step or a
      # benchmark that let XLA drop it would flatter both.
      return out.action, out.action_weights, out.search_tree.node_values

    return run

  bare = lambda params, rng_key, root: _networks_alone(
    params, rng_key, root, step, case.simulations
  )
  return dict(ours=play(search), mctx=play(mctx), networks=bare), (
    params, jax.random.key(0), root
  )


def measure(case: Case, repeats: int, names: tuple[str, ...]) -> dict[str, Any]:
  """Returns the times of one row."""
  functions, arguments = programs(case)
  compiled, result = {}, dict(case=case.name, **case._asdict())
  for name in names:
    start = time.perf_counter()
    compiled[name] = jax.jit(functions[name]).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = compiled[name].memory_analysis()
    result[f'{name}_compile_s'] = round(seconds, 2)
    result[f'{name}_memory_mb'] = round(
      (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6, 1
    )
    jax.block_until_ready(compiled[name](*arguments))
  times: dict[str, list[float]] = {name: [] for name in names}
  for _ in range(repeats):
    for name in names:
      start = time.perf_counter()
      jax.block_until_ready(compiled[name](*arguments))
      times[name].append(1e3 * (time.perf_counter() - start))
  for name in names:
    low, middle, high = statistics.quantiles(times[name], n=4)
    result[f'{name}_ms'] = round(middle, 3)
    result[f'{name}_spread_ms'] = round((high - low) / 2, 3)
  if 'mctx' in names:
    result['speedup'] = round(result['mctx_ms'] / result['ours_ms'], 2)
    result['mctx_over_networks'] = round(
      result['mctx_ms'] / result['networks_ms'], 2
    )
  result['over_networks'] = round(result['ours_ms'] / result['networks_ms'], 2)
  result['simulations_per_second'] = round(
    1e3 * case.batch * case.simulations / result['ours_ms']
  )
  return result


def _line(row: dict[str, Any]) -> str:
  times = ' '.join(
    f'{row[f"{name}_ms"]:9.2f} +-{row[f"{name}_spread_ms"]:5.2f}'
    for name in ('ours', 'mctx', 'networks')
  )
  return (
    f'{row["case"]:34} {times} {row["speedup"]:9.2f} '
    f'{row["over_networks"]:9.2f}'
  )


def _sweep() -> dict[str, list[Case]]:
  """Returns the cases of each curve: simulations, batch, actions."""
  base = Case('gumbel', 'mlp', 64, 18, 32, 128)
  curves = {}
  for policy in ('gumbel', 'puct'):
    one = base._replace(policy=policy)
    curves[f'{policy} simulations'] = [
      one._replace(simulations=n) for n in (8, 32, 100, 200, 400, 800)
    ]
    curves[f'{policy} batch'] = [
      one._replace(batch=n) for n in (1, 8, 64, 512, 4096)
    ]
    curves[f'{policy} actions'] = [
      one._replace(actions=n) for n in (4, 18, 82, 362)
    ]
  return curves


def _depths(case: Case) -> dict[str, float]:
  """Returns the edges that a simulation goes down: in the mean over trees,
  and to the deepest of a batch, for which all others wait."""
  make = _mlp if case.network == 'mlp' else _resnet
  params, root, step = make(case)
  policy = {
    'gumbel': search.gumbel_muzero_policy, 'puct': search.muzero_policy
  }[case.policy]
  parents = np.asarray(jax.jit(lambda root: policy(
    params, jax.random.key(0), root, step, case.simulations
  ).search_tree.parents)(root))
  depth = np.zeros(parents.shape, int)
  for node in range(1, parents.shape[1]):
    depth[:, node] = 1 + depth[np.arange(len(parents)), parents[:, node]]
  return dict(
    mean_depth=round(float(depth[:, 1:].mean()), 2),
    deepest_of_batch=round(float(depth[:, 1:].max(axis=0).mean()), 2),
  )


def _scaling(repeats: int) -> None:
  results: dict[str, Any] = {}
  for curve, cases in _sweep().items():
    results[curve] = []
    for case in cases:
      row = measure(case, repeats, ('ours', 'networks')) | _depths(case)
      results[curve].append(row)
      print(
        f'{curve}: {row["case"]:40} {row["ours_ms"]:10.2f} ms '
        f'{row["over_networks"]:6.2f} x networks, depth '
        f'{row["mean_depth"]} / {row["deepest_of_batch"]}', flush=True
      )
  _store('scaling', results)


def _store(name: str, results: Any) -> None:
  key = f'{name}, {jax.devices()[0].device_kind}'
  common.store(_RESULTS, key, dict(
    command='python -m benchmarks.search ' + ' '.join(common.argv()),
    results=results, **common.machine(),
  ))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--quick', action='store_true')
  parser.add_argument('--scaling', action='store_true')
  parser.add_argument('--only', default='')
  parser.add_argument('--repeats', type=int, default=11)
  args = parser.parse_args()
  repeats = 5 if args.quick else args.repeats
  if args.scaling:
    _scaling(repeats)
    return
  on_gpu = jax.default_backend() == 'gpu'
  cases = [case for case in CASES if on_gpu or not case.only_gpu]
  if args.quick:
    cases = cases[:QUICK]
  cases = [case for case in cases if args.only in case.name]
  print(
    f'{"case":34} {"ours":>16} {"mctx":>16} {"networks":>16} '
    f'{"mctx/ours":>9} {"ours/nets":>9}'
  )
  results = []
  for case in cases:
    row = measure(case, repeats, ('ours', 'mctx', 'networks'))
    results.append(row)
    print(_line(row), flush=True)
  if not args.only and not args.quick:
    _store('table', results)


if __name__ == '__main__':
  main()
