"""A run of two processes: kills of one of them, and SIGTERM to either.

  python -m benchmarks.drills.processes

Two processes of two devices each train in one run directory. At a random moment
after the first checkpoint one of them, at random, is killed with signal 9.
Expected: the other ends within 30 seconds with a status that is not 0 and says
which process is gone; every step that was reported as saved is intact; the next
life resumes. Where process 0 is killed, jax's own runtime may end process 1
first, with its own words. Then SIGTERM goes to one of the two, each in turn:
both end with 143, and the step that was reported last is saved. At the end the
run goes on to its last step.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import common, kill
from benchmarks.drills import lives

RESULT = kill.RESULT.with_name('drills_processes.json')
_FIELDS: dict[str, Any] = dict(
  lives.FIELDS, checkpoint_period=1.0, log_period=0.5)
del _FIELDS['num_devices']
_LONGEST = 30.0  # Seconds from a kill to the end of the other.
_START = 180.0  # Seconds to the first line of progress.


class Pair:
  """Two processes of one run."""

  def __init__(
    self, workdir: pathlib.Path, folder: pathlib.Path, **fields: Any
  ) -> None:
    """Start both."""
    with socket.socket() as one:
      one.bind(('127.0.0.1', 0))
      port = one.getsockname()[1]
    env = lives.environ(
      folder / 'cache', JAX_NUM_CPU_DEVICES='2', JAX_PLATFORMS='cpu')
    self._logs = [folder / f'{index}.txt' for index in range(2)]
    self.processes = []
    for index, path in enumerate(self._logs):
      argv = [
        sys.executable, '-m', 'experiments.classic', f'--workdir={workdir}',
        '--num_processes=2', f'--process_id={index}',
        f'--coordinator_address=127.0.0.1:{port}',
        *(f'--{name}={x}' for name, x in {**_FIELDS, **fields}.items())]
      with open(path, 'wb') as log:
        self.processes.append(subprocess.Popen(
          argv, env=env, cwd=kill.ROOT, stdout=log, stderr=log,
          stdin=subprocess.DEVNULL, start_new_session=True,
          preexec_fn=lives.default_signals))

  def text(self, index: int) -> str:
    """Return what a process has said so far."""
    return self._logs[index].read_text(encoding='utf-8', errors='replace')

  def wait_for(self, text: str) -> None:
    """Wait until process 0 has said something.

    Raises:
      RuntimeError: it does not.
    """
    deadline = time.monotonic() + _START
    while text not in self.text(0):
      if time.monotonic() > deadline or any(
          one.poll() is not None for one in self.processes):
        raise RuntimeError(self.text(0)[-2000:] + self.text(1)[-2000:])
      time.sleep(0.05)

  def act(self, index: int, signum: int) -> tuple[list[int], float]:
    """Send a signal; return both statuses, and seconds to the last end."""
    self.processes[index].send_signal(signum)
    start = time.monotonic()
    return self.wait(2 * _LONGEST), time.monotonic() - start

  def wait(self, longest: float) -> list[int]:
    """Return both statuses; what takes longer is killed."""
    deadline = time.monotonic() + longest
    statuses = []
    for one in self.processes:
      try:
        statuses.append(one.wait(max(deadline - time.monotonic(), 0.1)))
      except subprocess.TimeoutExpired:
        os.killpg(one.pid, signal.SIGKILL)
        statuses.append(one.wait())
    return statuses


def trial(
  workdir: pathlib.Path, folder: pathlib.Path, index: int, signum: int,
  delay: float,
) -> dict[str, Any]:
  """Return what became of a life that got a signal."""
  pair = Pair(workdir, folder)
  pair.wait_for('saved the checkpoint')
  time.sleep(delay)
  statuses, seconds = pair.act(index, signum)
  intact = lives.intact(workdir)
  saved = lives.Life(0, 0, pair.text(0), '').saved
  # Two are kept: of older ones nothing is promised.
  lost = [step for step in saved[-2:] if step not in intact]
  if signum == signal.SIGTERM:
    ended = statuses == [143, 143]
  else:
    ended = statuses[1 - index] not in (0, -signal.SIGKILL)
  last = pair.text(1 - index).strip().splitlines()[-1]
  return dict(
    signal=signal.Signals(signum).name, process=index, statuses=statuses,
    seconds=round(seconds, 1), saved=saved[-2:], lost=lost,
    last_line=last[:200], named=f'process {index}' in last,
    right=ended and not lost and seconds <= _LONGEST)


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--num_kills', type=int, default=20)
  parser.add_argument('--num_stops', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  generator, start = random.Random(args.seed), time.monotonic()
  trials = []
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    workdir = folder / 'run'
    for number in range(args.num_kills + args.num_stops):
      is_kill = number < args.num_kills
      trials.append(trial(
        workdir, folder,
        generator.randrange(2) if is_kill else number % 2,
        signal.SIGKILL if is_kill else signal.SIGTERM,
        generator.uniform(0, 4)))
      print(trials[-1], flush=True)
    steps = lives.intact(workdir)[-1] + 640
    last = Pair(workdir, folder, num_steps=steps)
    ended = last.wait(_START)
  is_right = all(one['right'] for one in trials) and ended == [0, 0]
  RESULT.write_text(json.dumps(dict(
    command=' '.join(['python -m benchmarks.drills.processes', *common.argv()]),
    **common.machine(), seconds=round(time.monotonic() - start),
    trials=trials, resumed_to_the_end=ended == [0, 0]), indent=1) + '\n')
  if not is_right:
    sys.exit('Processes of a run did not end as they should.')


if __name__ == '__main__':
  main()
