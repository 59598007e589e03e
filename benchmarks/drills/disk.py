"""Runs whose disk fills up, in each phase of a run.

  python -m benchmarks.drills.disk

Each run has a small tmpfs of its own, in a mount namespace of its own (`unshare
-m`, which root may call). Expected: one line and status 1, or a run that goes
on where only a reporter is refused; whatever was reported as saved is intact;
nothing unfinished stays. Then the space is given back, and the same command
must go on to the end.
"""

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import common, kill
from benchmarks.drills import lives

RESULT = kill.RESULT.with_name('drills_disk.json')
_PROGRESS = r'left \d'
_SHORT = dict(num_steps=2560, eval_episodes=4, eval_envs=2)


class Phase(NamedTuple):
  """When a disk fills up, and what is right then."""

  until: str  # What the run says before.
  statuses: tuple[int, ...]
  free: int = 0  # Bytes left.
  signum: int = 0  # Sent afterwards, for the run to save.
  options: str = 'size=32m'
  fields: dict[str, Any] = {}
  at: str = ''  # The folder of the run that is a disk of its own.
  limit: str = ''  # The shell's, in place of a full disk.


_TERM = 128 + signal.SIGTERM
PHASES = {
  'metrics': Phase(_PROGRESS, (1,)),
  'tensorboard': Phase(
    _PROGRESS, (_TERM,), signum=signal.SIGTERM, options='size=8k',
    at='tensorboard'),
  'save': Phase(_PROGRESS, (1, _TERM), free=65536, signum=signal.SIGTERM),
  'saves': Phase(
    'saved the checkpoint', (1,), free=65536,
    fields=dict(checkpoint_period=0.0)),
  'evaluation': Phase(
    'evaluating over', (1,), fields=dict(_SHORT, eval_episodes=2000)),
  'curves': Phase('no noise: ', (0, 1), fields=_SHORT),
  'inodes': Phase(
    _PROGRESS, (1,), signum=signal.SIGTERM, options='size=32m,nr_inodes=24'),
  'ulimit': Phase(
    _PROGRESS, (1,), signum=signal.SIGTERM, limit='ulimit -f 16'),
  'start': Phase('', (1, 2), options='size=4k'),
}


def fill(folder: pathlib.Path, free: int) -> Callable[[], None]:
  """Fill a disk but for some bytes; return what gives the space back."""
  path = folder / 'filler'
  with open(path, 'wb', buffering=0) as file:
    size = 1 << 20
    while size >= 512:
      try:
        file.write(b'\0' * size)
      except OSError:
        size //= 2
    file.truncate(max(file.tell() - free, 0))
  return lambda: path.unlink()


def drill(name: str, folder: pathlib.Path, cache: str) -> dict[str, Any]:
  """Return what became of a run; called in a mount namespace of its own.

  Args:
    name: one of PHASES.
    folder: for the run and its disk.
    cache: of compiled functions, on another disk.
  """
  phase = PHASES[name]
  disk = folder / 'disk'
  run = disk / 'run'
  mount = run / phase.at if phase.at else disk
  mount.mkdir(parents=True)
  subprocess.run(
    ['mount', '-t', 'tmpfs', '-o', phase.options, 'none', str(mount)],
    check=True)
  env = lives.environ(cache)
  argv = lives.command(run, **phase.fields)
  give_back: list[Callable[[], None]] = []

  def act(process: subprocess.Popen[Any]) -> None:
    if not phase.limit and 'inodes' not in phase.options and not phase.at:
      give_back.append(fill(disk, phase.free))
    if phase.signum:
      time.sleep(2.0 if phase.at else 0.0)
      process.send_signal(phase.signum)

  first = argv
  if phase.limit:
    first = ['bash', '-c', f'{phase.limit}; exec "$@"', 'bash', *argv]
  life = lives.live(first, env, act, folder=folder, until=phase.until)
  found = dict(
    phase=name, status=life.status, seconds=round(life.seconds, 1),
    trace=life.has_trace, error=_last(life.errors),
    reported=life.saved[-2:], intact=lives.intact(run),
    unfinished=lives.unfinished(run), evaluation=_is_whole(run))
  for undo in give_back:
    undo()
  if 'inodes' in phase.options:
    subprocess.run(
      ['mount', '-o', 'remount,nr_inodes=9999', str(mount)], check=True)
  if name == 'start':
    subprocess.run(['mount', '-o', 'remount,size=32m', str(mount)], check=True)
  again = lives.live(
    lives.command(run, **phase.fields), env,
    lambda process: None if phase.fields.get('eval_episodes') else (
      process.send_signal(signal.SIGTERM)),
    folder=folder, until='all of the run' if phase.fields.get('eval_episodes')
    else _PROGRESS, longest=60)
  found['resumed'] = again.status
  lost = [step for step in life.saved[-2:] if step not in found['intact']]
  found['right'] = (
    life.status in phase.statuses and not life.has_trace and not lost
    and not found['unfinished'] and found['evaluation'] is not False
    and len(life.errors.strip().splitlines()) == (1 if life.status in (
      1, 2) else 0)
    and again.status in (0, _TERM))
  if not found['right']:
    found['text'] = (life.text[-1500:], again.text[-1500:])
  return found


def _last(text: str) -> str:
  """Return the last line, without folders of this machine."""
  lines = text.strip().splitlines()
  return re.sub(r'/\S*/', '', lines[-1])[:160] if lines else ''


def _is_whole(run: pathlib.Path) -> bool | None:
  """Return whether evaluation.json is JSON; None where it is not there."""
  path = run / 'evaluation.json'
  if not path.exists():
    return None
  try:
    json.loads(path.read_text())
  except ValueError:
    return False
  return True


def in_a_namespace(name: str, folder: pathlib.Path, cache: str) -> Any:
  """Return what `drill` returns, called where mounts are nobody else's."""
  done = subprocess.run(
    ['unshare', '-m', sys.executable, '-m', 'benchmarks.drills.disk',
     f'--inside={name}', f'--folder={folder}', f'--cache={cache}'],
    cwd=kill.ROOT, env=lives.environ(cache), text=True, capture_output=True)
  if done.returncode:
    raise RuntimeError(done.stderr)
  return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--num_trials', type=int, default=3)
  parser.add_argument('--phases', default=','.join(PHASES))
  parser.add_argument('--inside', help=argparse.SUPPRESS)
  parser.add_argument('--folder', help=argparse.SUPPRESS)
  parser.add_argument('--cache', default=os.environ.get(
    'JAX_COMPILATION_CACHE_DIR', ''))
  args = parser.parse_args()
  if args.inside:
    print(json.dumps(drill(
      args.inside, pathlib.Path(args.folder), args.cache)))
    return
  trials = []
  with tempfile.TemporaryDirectory() as folder:
    cache = args.cache or f'{folder}/cache'
    for number in range(args.num_trials):
      for name in args.phases.split(','):
        place = pathlib.Path(folder) / f'{name}_{number}'
        place.mkdir()
        trials.append(in_a_namespace(name, place, cache))
        one = trials[-1]
        print(
          f'{name:12} status {one["status"]:4} after {one["seconds"]:5.1f} s  '
          f'{"right" if one["right"] else "WRONG"}  {one["error"]}', flush=True)
  right = sum(one['right'] for one in trials)
  print(f'{right} of {len(trials)} right')
  RESULT.write_text(json.dumps(dict(
    command=' '.join(['python -m benchmarks.drills.disk', *common.argv()]),
    **common.machine(), right=right, trials=trials), indent=1) + '\n')
  if right < len(trials):
    sys.exit('A full disk was not met as it should be.')


if __name__ == '__main__':
  main()
