"""A training run killed at random moments against one left alone.

  python -m benchmarks.kill

Starts `python -m experiments.classic` with a checkpoint after every iteration,
kills it with signal 9, starts the same command again, and so on. After each
kill every checkpoint kept must restore, and every step reported as saved must
be among them or be older than as many as are kept. At the end the run goes on
to its last step, and all that its checkpoint holds (parameters, target,
optimiser, replay, environments, keys, counters) must be bit for bit that of
the run that was left alone. Every fourth kill falls into the start-up, the
others into training and saving, after the first checkpoint of that life.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from muzero_jax import config as config_lib
from muzero_jax import envs
from muzero_jax.drivers import anakin, train_state
from muzero_jax.errors import RunError
from muzero_jax.runs import checkpoint

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULT = pathlib.Path(__file__).parent / 'results' / 'kill.json'
# Small, but with all that a state can hold: priorities and stale targets.
FIELDS: dict[str, Any] = dict(
  num_channels=16, num_blocks=0, head_hidden=8, support_bins=11,
  support_max=10.0, num_simulations=4, max_considered_actions=2, num_envs=8,
  rollout_length=8, replay_capacity=1024, min_replay=100, batch_size=16,
  updates_per_iteration=2, unroll_steps=2, td_steps=3, target_period=7,
  num_devices=1, eval_episodes=0, log_period=5.0, checkpoint_period=0.0,
)
_SAVED = re.compile(r'saved the checkpoint of step ([\d,]+) ')
_STARTUP = 5.0  # Seconds in which an early kill falls.


def measure(
  folder: pathlib.Path,
  *,
  num_kills: int,
  num_iterations: int,
  seed: int,
  most_seconds: float = 3.0,
  report: Callable[[str], Any] = print,
) -> dict[str, Any]:
  """Returns what became of a run that was killed.

  Args:
    folder: for both run directories.
    num_kills: how often.
    num_iterations: of the whole run; enough that no life reaches its end.
    seed: of the moments and of the run.
    most_seconds: the latest kill, counted from the first checkpoint.
    report: called with one line per kill.

  Raises:
    RuntimeError: a process ended by itself.
  """
  steps = FIELDS['num_envs'] * FIELDS['rollout_length'] * num_iterations
  fields = dict(FIELDS, num_steps=steps, seed=seed)
  killed, whole = folder / 'killed', folder / 'whole'
  abstract = _abstract(config_lib.from_preset('cartpole', **fields))
  generator = random.Random(seed)
  saved: set[int] = set()
  kills = []
  for number in range(num_kills):
    early = number % 4 == 3
    seconds = generator.uniform(0, _STARTUP if early else most_seconds)
    text = _live_and_die(folder, killed, fields, early, seconds)
    told = {int(s.replace(',', '')) for s in _SAVED.findall(text)}
    saved |= told
    found, damaged = _restore_all(folder, killed, abstract)
    lost = [
      step for step in sorted(saved) if step not in found
      and sum(newer > step for newer in found) < _kept()
    ]
    kills.append(dict(
      moment='start-up' if early else 'training', seconds=round(seconds, 3),
      reported=len(told), restored=found, lost=lost, damaged=damaged,
    ))
    report(
      f'{number + 1:3}  {kills[-1]["moment"]:9}{seconds:7.3f} s'
      f'{len(told):7} saved  restored {found}  lost {lost}  damaged {damaged}'
    )
  _finish(folder, killed, fields)
  _finish(folder, whole, fields)
  ends = [checkpoint.restore(path, abstract) for path in (killed, whole)]
  assert ends[0] is not None and ends[1] is not None
  (step_a, a), (step_b, b) = ends
  return dict(
    kills=kills,
    steps_reported=len(saved),
    last_step=step_b,
    num_arrays=len(jax.tree.leaves(a)),
    num_parameters=sum(x.size for x in jax.tree.leaves(a.learner.params)),
    num_updates=int(b.learner.num_updates),
    identical=step_a == step_b and _identical(a, b),
  )


def _kept() -> int:
  return config_lib.Config().max_checkpoints


def _command(workdir: pathlib.Path, fields: dict[str, Any]) -> list[str]:
  return [
    sys.executable, '-m', 'experiments.classic', f'--workdir={workdir}',
    *(f'--{name}={value}' for name, value in fields.items()),
  ]


def _environ(folder: pathlib.Path) -> dict[str, str]:
  """Returns an environment in which a restart compiles nothing again."""
  path = [str(ROOT / 'src'), str(ROOT), os.environ.get('PYTHONPATH', '')]
  environ = dict(
    os.environ, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0',
    PYTHONPATH=os.pathsep.join(filter(None, path)))
  environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(folder / 'cache'))
  return environ


def _live_and_die(
  folder: pathlib.Path,
  workdir: pathlib.Path,
  fields: dict[str, Any],
  early: bool,
  seconds: float,
) -> str:
  """Returns what a process said until it was killed."""
  log = folder / 'log.txt'
  with open(log, 'w', encoding='utf-8') as file:
    process = subprocess.Popen(
      _command(workdir, fields), env=_environ(folder), stdout=file,
      stderr=subprocess.STDOUT)
    while not early and not _SAVED.search(log.read_text(encoding='utf-8')):
      if process.poll() is not None:
        break
      time.sleep(0.01)
    time.sleep(seconds)
    ended = process.poll() is not None
    process.kill()
    process.wait()
  text = log.read_text(encoding='utf-8')
  if ended:
    raise RunError(f'the run ended before it was killed:\n{text}')
  return text


def _finish(
  folder: pathlib.Path, workdir: pathlib.Path, fields: dict[str, Any]
) -> None:
  """Lets a run go on to its end; it saves there only."""
  subprocess.run(
    _command(workdir, dict(fields, checkpoint_period=1e6)),
    env=_environ(folder), check=True, stdout=subprocess.DEVNULL)


def _abstract(config: config_lib.Config) -> train_state.TrainState:
  driver = anakin.make_anakin(
    config, envs.make(config), rows_per_env=config.capacity_rows_per_env)
  return driver.abstract()


def _restore_all(
  folder: pathlib.Path, workdir: pathlib.Path, abstract: train_state.TrainState
) -> tuple[list[int], int]:
  """Returns the steps that restore, and how many are damaged.

  It works on a copy, as the killed process left it: restoring tidies.
  """
  copy, damaged, found = folder / 'copy', [], []
  if not (workdir / 'checkpoints').exists():
    return [], 0
  shutil.copytree(workdir / 'checkpoints', copy / 'checkpoints')
  while checkpoint.steps(copy):
    try:
      result = checkpoint.restore(copy, abstract, report=damaged.append)
    except ValueError:
      break
    assert result is not None
    step, state = result
    if int(state.num_steps) != step:
      damaged.append(f'step {step} holds step {int(state.num_steps)}')
    found.append(step)
    shutil.rmtree(copy / 'checkpoints' / f'{step:012d}')
  shutil.rmtree(copy)
  return found, len(damaged)


def _identical(a: Any, b: Any) -> bool:
  """Returns True where two trees hold the same bits."""

  def bits(leaf: Any) -> tuple[Any, bytes]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    return leaf.shape, np.asarray(leaf).tobytes()

  same = jax.tree.map(lambda x, y: bits(x) == bits(y), a, b)
  return all(jax.tree.leaves(same))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--num_kills', type=int, default=12)
  parser.add_argument('--num_iterations', type=int, default=500)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  start = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    result = measure(pathlib.Path(folder), **vars(args))
  result['seconds'] = round(time.monotonic() - start, 1)
  print(
    f'{result["steps_reported"]} steps reported as saved; at step '
    f'{result["last_step"]}, after {result["num_updates"]} updates, '
    f'{result["num_arrays"]} arrays are '
    f'{"identical" if result["identical"] else "NOT IDENTICAL"}'
  )
  RESULT.parent.mkdir(parents=True, exist_ok=True)
  RESULT.write_text(json.dumps(dict(
    command=' '.join(['python -m benchmarks.kill', *common.argv()]),
    **common.machine(), **result), indent=1) + '\n')
  broken = any(k['lost'] or k['damaged'] for k in result['kills'])
  if broken or not result['identical']:
    sys.exit('A checkpoint was lost or damaged, or the runs differ.')


if __name__ == '__main__':
  main()
