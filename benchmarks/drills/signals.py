"""SIGTERM, SIGINT and SIGHUP in each phase of a run, and kill -9.

  python -m benchmarks.drills.signals

Each process gets one signal at a random moment of one phase. Expected: status
128 + the signal, no traceback, the end within 10 seconds after the current
compiled call (within 30 where something compiles), and every step that was
reported as saved intact. Before Python has loaded the command, in its first
third of a second, the signal ends the process by itself. Then one process
compiles again and again and gets a signal each time, and `benchmarks.kill`
kills with signal 9.
"""

import argparse
import collections
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

from benchmarks import common, kill
from benchmarks.drills import lives

RESULT = kill.RESULT.with_name('drills_signals.json')
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SHORT = dict(num_steps=2560, eval_envs=2)


class Phase(NamedTuple):
  """When the signal comes."""

  until: str  # What the run says before.
  delays: tuple[float, float]  # Seconds from then to the signal, at random.
  longest: float = 10.0  # Seconds to the end.
  fields: dict[str, Any] = {}
  is_cold: bool = False  # Nothing is compiled yet.


PHASES = {
  'start': Phase('', (0.0, 3.0)),
  # The first parameters are compiled within.
  'build': Phase('', (3.0, 6.0), longest=30.0),
  'compile': Phase(
    'compiling the training step', (0.0, 4.0), longest=30.0, is_cold=True),
  'train': Phase(r'left \d', (0.0, 2.0)),
  'save': Phase(
    'saved the checkpoint', (0.0, 1.0), fields=dict(checkpoint_period=0.0)),
  # Its first chunk is compiled within.
  'evaluate': Phase(
    'evaluating over', (0.0, 6.0), longest=30.0,
    fields=dict(_SHORT, eval_episodes=20_000)),
  'curves': Phase(
    'no noise: ', (0.0, 1.0), fields=dict(_SHORT, eval_episodes=2)),
}
# In a process of its own: a signal to itself in the middle of each compilation.
_COMPILE = '''
import os, random, signal, sys, threading, time
import jax, jax.numpy as jnp
from muzero_jax.runs import signals
jax.config.update('jax_enable_compilation_cache', False)
def slow(n, x):
  for i in range(60):
    x = jnp.tanh(x @ x + n + i) + jnp.sort(x, axis=0)
  return x
at = random.Random(int(sys.argv[2]))
for number in range(int(sys.argv[1])):
  signum = signals.SIGNALS[number % 3]
  lowered = jax.jit(lambda x: slow(number, x)).lower(jnp.ones((8, 8)))
  with signals.stop_on_signals() as stop:
    start = time.monotonic()
    timer = threading.Timer(
      at.uniform(0, 0.6), lambda: os.kill(os.getpid(), signum))
    timer.start()
    lowered.compile()
    took = time.monotonic() - start
    during = stop.is_requested()
    timer.join()
    time.sleep(0.05)
    print(int(during), int(stop.signum == signum), f'{took:.2f}', flush=True)
'''


def trial(
  name: str, signum: int, folder: pathlib.Path, generator: random.Random
) -> dict[str, Any]:
  """Return what became of one process that got a signal."""
  phase = PHASES[name]
  run = folder / f'run_{name}'
  cache = folder / 'cache'
  if phase.is_cold:
    cache = folder / f'cold_{generator.random()}'
  life = lives.live(
    lives.command(run, **phase.fields), lives.environ(cache),
    lambda process: process.send_signal(signum), folder=folder,
    until=phase.until, delay=generator.uniform(*phase.delays))
  intact = lives.intact(run)
  lost = [step for step in life.saved[-2:] if step not in intact]
  # By itself before the command's first line, or after all is done.
  expected = [128 + signum]
  if name == 'start':
    expected.append(-signum)
  if 'all of the run is in' in life.text:
    expected.append(0)
  right = (
    life.status in expected and not life.has_trace and not lost
    and life.seconds <= phase.longest and not lives.unfinished(run)
    and (name != 'train' or bool(life.saved)))
  found = dict(
    phase=name, signal=signal.Signals(signum).name, status=life.status,
    seconds=round(life.seconds, 1), saved=life.saved[-2:], lost=lost,
    trace=life.has_trace, right=right)
  if not right:
    found['text'] = life.text[-1500:]
  return found


def while_compiling(count: int, seed: int, cache: pathlib.Path) -> Any:
  """Return what signals did to a process that compiles."""
  done = subprocess.run(
    [sys.executable, '-c', _COMPILE, str(count), str(seed)], cwd=kill.ROOT,
    env=lives.environ(cache), text=True, capture_output=True,
    preexec_fn=lives.default_signals)
  rows = [line.split() for line in done.stdout.splitlines()]
  return dict(
    signals=count, status=done.returncode,
    within_a_compilation=sum(row[0] == '1' for row in rows),
    noted=sum(row[1] == '1' for row in rows),
    trace=done.stderr[-1500:])


def _table(trials: list[dict[str, Any]]) -> list[str]:
  """Return a line for each phase."""
  phases: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
  for one in trials:
    phases[one['phase']].append(one)
  return [
    f'{name:10}{sum(x["right"] for x in ones):4} of {len(ones):3} right, end '
    f'after {sorted(x["seconds"] for x in ones)[len(ones) // 2]:.1f} s '
    f'(median), {max(x["seconds"] for x in ones):.1f} s (most)'
    for name, ones in phases.items()]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--num_signals', type=int, default=70)
  parser.add_argument('--num_compilations', type=int, default=50)
  parser.add_argument('--num_kills', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  generator, start = random.Random(args.seed), time.monotonic()
  trials, kills = [], None
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for number in range(args.num_signals):
      phase = list(PHASES)[number % len(PHASES)]
      signum = _SIGNALS[number // len(PHASES) % len(_SIGNALS)]
      trials.append(trial(phase, signum, folder, generator))
      print({k: v for k, v in trials[-1].items() if k != 'text'}, flush=True)
    compiling = while_compiling(
      args.num_compilations, args.seed, folder / 'cache')
    print('compiling:', compiling, flush=True)
    if args.num_kills:
      kills = kill.measure(
        folder, num_kills=args.num_kills, num_iterations=20 * args.num_kills,
        seed=args.seed)
  print('\n'.join(_table(trials)))
  is_right = (
    all(one['right'] for one in trials) and compiling['status'] == 0
    and compiling['noted'] == args.num_compilations)
  if kills is not None:
    is_right &= kills['identical'] and not any(
      one['lost'] or one['damaged'] for one in kills['kills'])
  RESULT.write_text(json.dumps(dict(
    command=' '.join(['python -m benchmarks.drills.signals', *common.argv()]),
    **common.machine(), seconds=round(time.monotonic() - start),
    trials=trials, compiling=compiling, kills=kills), indent=1) + '\n')
  if not is_right:
    sys.exit('A signal was not obeyed as it should be.')


if __name__ == '__main__':
  main()
