"""A long run, whose memory must not grow.

  python -m benchmarks.drills.soak

A run saves and logs more often than a user's would, for two hours. Its
own memory is read every few seconds; the median of the last tenth of the
readings must be less than 5 % above that of the second tenth, where replay is
full and all is compiled. Then it gets SIGTERM, and what it reported as saved
must be intact.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import common, kill
from benchmarks.drills import lives

RESULT = kill.RESULT.with_name('drills_soak.json')
_BOUND = 0.05  # Of growth.
_FIELDS = dict(num_steps=10**10, checkpoint_period=20.0, log_period=1.0)


def watch(
  process: subprocess.Popen[Any], seconds: float, period: float
) -> list[int]:
  """Return a process's kilobytes at each period, then stop it."""
  readings, end = [], time.monotonic() + seconds
  while time.monotonic() < end and process.poll() is None:
    readings.append(_memory(process.pid))
    time.sleep(period)
  process.terminate()
  return readings


def _memory(pid: int) -> int:
  """Return a process's own memory, in kilobytes, swapped out or not.

  Pages of files, as of libraries, come and go as the system likes.
  """
  lines = pathlib.Path(f'/proc/{pid}/status').read_text().splitlines()
  return sum(
    int(line.split()[1]) for line in lines
    if line.startswith(('RssAnon', 'VmSwap')))


def growth(readings: list[int]) -> float:
  """Return how much greater the last tenth is than the second tenth."""
  tenth = len(readings) // 10
  if not tenth:
    raise ValueError(f'{len(readings)} readings; at least 10 are needed')
  early = statistics.median(readings[tenth:2 * tenth])
  return statistics.median(readings[-tenth:]) / early - 1


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--minutes', type=float, default=120.0)
  parser.add_argument('--period', type=float, default=5.0, help='in seconds')
  args = parser.parse_args()
  readings: list[int] = []
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    run = folder / 'run'
    life = lives.live(
      lives.command(run, **_FIELDS), lives.environ(folder / 'cache'),
      lambda process: readings.extend(
        watch(process, 60 * args.minutes, args.period)),
      folder=folder, until=r'left \d', longest=60.0)
    intact = lives.intact(run)
  lost = [step for step in life.saved[-2:] if step not in intact]
  grown = growth(readings)
  result = dict(
    command=' '.join(['python -m benchmarks.drills.soak', *common.argv()]),
    **common.machine(), minutes=args.minutes, status=life.status,
    saves=len(life.saved), lost=lost, trace=life.has_trace,
    growth=round(grown, 4), most_megabytes=round(max(readings) / 1024),
    # About a hundred of them, over the whole time.
    megabytes=[
      round(x / 1024) for x in readings[::max(1, len(readings) // 100)]])
  RESULT.write_text(json.dumps(result, indent=1) + '\n')
  print(json.dumps(result, indent=1))
  if grown >= _BOUND or life.has_trace or lost or life.status != 143:
    sys.exit('The run grew, broke or lost something.')


if __name__ == '__main__':
  main()
