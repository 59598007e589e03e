"""A run whose jobs are Ray's: jobs killed, slowed and hung; the learner killed.

  python -m benchmarks.drills.cluster [--seconds=60]

Four players and one reanalyser train CartPole without end. Phases, each timed
by the rows of metrics.jsonl:

  alone     nothing is done
  kills     a random player is killed with signal 9 every 5 seconds
  after     nothing, from 30 seconds after the last kill on
  slow      one player may run for a tenth of the time alone (SIGSTOP, SIGCONT)
  reanalyse the reanalyser is killed once

Expected: at least half of the steps/s of `alone` during the kills, 95 % after
them, 95 % with the slow player; no stretch counted twice; training goes on
without the reanalyser. At the end the learner itself is killed, and the same
command goes on from the last checkpoint.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks import common, kill
from benchmarks.drills import lives
from muzero_jax.runs import metrics

RESULT = kill.RESULT.with_name('drills_cluster.json')
_FLAGS = (
  '--preset=cartpole', '--num_actors=4', '--num_reanalyse_actors=1',
  '--reanalyse_form=stream', '--reanalyse_fraction=0.25',
  '--num_steps=1000000000', '--log_period=1', '--checkpoint_period=5',
  '--eval_episodes=0', '--log_to=')
_START = 300.0  # Seconds to the first update.
_BETWEEN_KILLS = 5.0
_RECOVERY = 30.0


def processes(kind: str) -> list[int]:
  """Return the processes of a kind of job, `Player` or `Reanalyser`."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
    try:
      words = path.read_bytes()
    except OSError:
      continue  # It has ended meanwhile.
    if words.startswith(f'ray::{kind}'.encode()):
      found.append(int(path.parent.name))
  return found


class Run:
  """The learner's process, and what it has written."""

  def __init__(self, workdir: pathlib.Path, folder: pathlib.Path) -> None:
    """Start it."""
    self.workdir, self._log = workdir, folder / 'log.txt'
    with open(self._log, 'ab') as log:
      self.process = subprocess.Popen(
        [sys.executable, '-m', 'experiments.cluster', f'--workdir={workdir}',
         *_FLAGS],
        env=lives.environ(folder / 'cache', JAX_PLATFORMS='cpu'),
        cwd=kill.ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        preexec_fn=lives.default_signals)

  def text(self) -> str:
    """Return what it has said so far."""
    return self._log.read_text(encoding='utf-8', errors='replace')

  def rows(self) -> list[dict[str, Any]]:
    """Return its metrics so far."""
    return [x for x in metrics.read_metrics(self.workdir) if 'updates' in x]

  def wait_until(self, condition: Callable[[], bool]) -> None:
    """Wait for something.

    Raises:
      RuntimeError: it does not come in time, or the run has ended.
    """
    deadline = time.monotonic() + _START
    while not condition():
      if self.process.poll() is not None or time.monotonic() > deadline:
        raise RuntimeError(self.text()[-2000:])
      time.sleep(0.1)

  def timed(
    self, seconds: float, act: Callable[[float], None] = lambda left: None
  ) -> dict[str, Any]:
    """Return the rates of a phase in which something is done again and again.

    Args:
      seconds: of the phase, at least.
      act: called with the seconds that are left; returns at once or later.
    """
    before = self.rows()[-1]
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
      act(left)
      time.sleep(0.05)
    self.wait_until(lambda: self.rows()[-1]['step'] > before['step'])
    after = self.rows()[-1]
    spent = after['seconds'] - before['seconds']
    rows = [x for x in self.rows() if x['step'] > before['step']]
    mean = lambda name: sum(x[name] for x in rows) / len(rows)
    return dict(
      seconds=round(spent, 1),
      steps_per_second=round((after['step'] - before['step']) / spent, 1),
      learner_idle=round(mean('learner_idle'), 3),
      policy_lag=round(mean('policy_lag')),
      longest_gap=round(max(
        y['seconds'] - x['seconds']
        for x, y in zip([before, *rows], rows)), 1),
      lost_stretches=after['lost_stretches'] - before['lost_stretches'],
      repeated_stretches=after['repeated_stretches'])


def _kill_one(generator: random.Random) -> Callable[[float], None]:
  """Return what kills a player every 5 seconds."""
  state = dict(next=0.0)

  def act(left: float) -> None:
    now = time.monotonic()
    found = processes('Player')
    if now >= state['next'] and found:
      state['next'] = now + _BETWEEN_KILLS
      _send(generator.choice(found), signal.SIGKILL)

  return act


def _slow(player: int) -> Callable[[float], None]:
  """Return what lets a process run for a tenth of the time."""

  def act(left: float) -> None:
    _send(player, signal.SIGSTOP)
    time.sleep(0.45)
    _send(player, signal.SIGCONT)

  return act


def _send(process: int, signum: int) -> None:
  with contextlib.suppress(ProcessLookupError):  # It may have ended meanwhile.
    os.kill(process, signum)


def phases(run: Run, seconds: float, seed: int) -> dict[str, Any]:
  """Return the rates of each phase."""
  run.wait_until(lambda: bool(run.rows()) and run.rows()[-1]['updates'] > 0)
  time.sleep(10)
  found = dict(alone=run.timed(seconds))
  found['kills'] = run.timed(seconds, _kill_one(random.Random(seed)))
  time.sleep(_RECOVERY)
  found['after'] = run.timed(seconds)
  slow = processes('Player')[0]
  found['slow'] = run.timed(seconds, _slow(slow))
  lost = processes('Reanalyser')[0]
  _send(lost, signal.SIGKILL)
  found['reanalyse'] = run.timed(seconds)
  found['reanalyse']['is_new'] = lost not in processes('Reanalyser')
  return found


def is_right(found: dict[str, Any]) -> bool:
  """Return whether the phases went as they should."""
  base = found['alone']['steps_per_second']
  share = {
    name: one['steps_per_second'] / base for name, one in found.items()}
  return (
    share['kills'] >= 0.5 and share['after'] >= 0.95
    and share['slow'] >= 0.95 and share['reanalyse'] > 0.5
    and not any(one['repeated_stretches'] for one in found.values()))


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--seconds', type=float, default=60.0)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  start = time.monotonic()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    workdir = folder / 'run'
    run = Run(workdir, folder)
    try:
      found = phases(run, args.seconds, args.seed)
      run.process.kill()
      run.process.wait()
      saved = lives.Life(0, 0, run.text(), '').saved[-1]
      again = Run(workdir, folder)
      again.wait_until(lambda: f'checkpoint at step {saved:,}' in again.text())
      again.wait_until(lambda: again.rows()[-1]['step'] > saved)
      again.process.send_signal(signal.SIGTERM)
      status = again.process.wait(60)
    finally:
      run.process.kill()
  right = is_right(found) and status == 128 + signal.SIGTERM
  RESULT.write_text(json.dumps(dict(
    command=' '.join(['python -m benchmarks.drills.cluster', *common.argv()]),
    flags=_FLAGS, **common.machine(),
    seconds=round(time.monotonic() - start), phases=found,
    resumed_from=saved, status=status, right=right), indent=1) + '\n')
  print(json.dumps(found, indent=1))
  if not right:
    sys.exit('Jobs of a run did not go on as they should.')


if __name__ == '__main__':
  main()
