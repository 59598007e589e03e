"""Measure search, scaling and Atari training on a GPU: `make gpu`.

  python -m benchmarks.gpu --minutes=9

Runs, one after the other and each within its share of the time:

  search      the search against mctx's, on networks up to MuZero's for Atari
  scaling     the whole step at growing batches, up to the device's memory, with
              its share of the best product of matrices
  throughput  simulations/s and updates/s of atari_100k_v2, and the hours that a
              whole run of 100k steps would take
  training    Pong for the rest of the time, and its score without noise

Each part writes its own results as it goes; what became of the parts is in
benchmarks/results/gpu.json after each of them. A part that takes too long is
stopped and keeps what it has. `--small` does all of it in small, to be tried on
a CPU; the rows that it adds to the parts' own files are not worth keeping.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
_RESULTS = ROOT / 'benchmarks/results'
RESULT = _RESULTS / 'gpu.json'
_SAVING = 30.0  # Seconds that a run gets to save after its time is over.
_EVALUATION = 0.15  # Share of the training's time.
_TAIL = 2000  # Characters kept of what a part has printed.


class Part(NamedTuple):
  """One command."""

  name: str
  argv: tuple[str, ...]
  share: float  # Of the time; what is left over goes to the training.


_PARTS = (
  Part('search', ('benchmarks.search',), 0.2),
  Part('scaling', (
    'benchmarks.scaling', '--preset=minatar', '--env_id=breakout',
    '--largest=65536'), 0.2),
  Part('throughput', (
    'benchmarks.throughput', '--preset=atari_100k_v2', '--env_id=pong',
    '--replay_capacity=20000', '--min_replay=400', '--num_devices=1'), 0.15),
)
_TRAINING = ('--preset=atari_tiny', '--env_id=pong', '--num_devices=1')
_SMALL_PARTS = (
  Part('search', (
    'benchmarks.search', '--quick', '--only=gumbel_mlp_b256_a7_s32_d128'), 0.2),
  Part('scaling', (
    'benchmarks.scaling', '--preset=cartpole', '--num_envs=16',
    '--batch_size=16', '--largest=64', '--num_devices=1'), 0.2),
  Part('throughput', (
    'benchmarks.throughput', '--preset=atari_100k_v2', '--env_id=pong',
    '--replay_capacity=400', '--min_replay=40', '--num_channels=8',
    '--projection_size=16', '--prefix_units=16', '--batch_size=4',
    '--updates_per_iteration=2', '--num_envs=2', '--mixed_value_start=100',
    '--mixed_value_age=10', '--num_devices=1'), 0.2),
)
_SMALL_TRAINING = (*_TRAINING, '--num_channels=8', '--max_episode_frames=400')


def device() -> str:
  """Return the platform of jax's first device, asked in a process of its own.

  This process must not hold memory of it.
  """
  found = subprocess.run(
    [sys.executable, '-c',
     'import jax; x = jax.devices()[0]; print(x.platform, x.device_kind)'],
    capture_output=True, text=True, check=False)
  return found.stdout.strip() or f'none: {found.stderr.strip()[-300:]}'


def run(
  argv: tuple[str, ...], seconds: float, echo: bool = True
) -> dict[str, Any]:
  """Run a module's command, and stop it when its time is over.

  Args:
    argv: module and arguments.
    seconds: until it gets SIGTERM; half a minute later it is killed.
    echo: whether what it prints is shown.

  Returns:
    What became of it: `command`, `seconds`, `status`, `is_cut`, `output`.
  """
  start, is_cut = time.monotonic(), False
  with tempfile.TemporaryFile('w+', errors='replace') as output:
    process = subprocess.Popen(
      [sys.executable, '-m', *argv], cwd=ROOT, stdout=output,
      stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
      start_new_session=True)
    try:
      process.wait(max(seconds, 1.0))
    except subprocess.TimeoutExpired:
      is_cut = True
      process.send_signal(signal.SIGTERM)
      try:
        process.wait(_SAVING)
      except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    output.seek(0)
    text = output.read()
  if echo:
    print(text, flush=True)
  return dict(
    command=f'python -m {" ".join(argv)}',
    seconds=round(time.monotonic() - start, 1), status=process.returncode,
    is_cut=is_cut, output=text[-_TAIL:])


def projected_hours(argv: tuple[str, ...]) -> dict[str, float] | None:
  """Return rates of a part of throughput, and hours of 100k steps at them."""
  path = _RESULTS / 'throughput.json'
  stored = json.loads(path.read_text()) if path.exists() else {}
  row = stored.get(' '.join(argv[1:]))
  if row is None:
    return None
  return dict(
    simulations_per_second=row['simulations_per_second'],
    updates_per_second=row['updates_per_second'],
    rows_per_second=row['rows_per_second'],
    hours_of_100k_steps=100_000 / row['rows_per_second'] / 3600)


def train(
  flags: tuple[str, ...], seconds: float, workdir: pathlib.Path
) -> dict[str, Any]:
  """Train for some seconds, and evaluate; return what became of it."""
  # Far more steps than there is time for: the time ends it. The schedules are
  # those of a run of this length.
  played = run(
    ('experiments.atari', *flags, f'--workdir={workdir}', '--num_steps=400000',
     '--eval_episodes=0', '--log_to='), seconds * (1 - _EVALUATION))
  scored = run(
    ('experiments.evaluate', f'--workdir={workdir}', '--num_episodes=16',
     '--json'), seconds * _EVALUATION + _SAVING)
  found = dict(played, evaluation=dict(scored))
  if scored['status'] == 0:
    lines = [
      x for x in scored['output'].splitlines() if x.startswith('{')]
    result = json.loads(lines[-1]) if lines else {}
    found['score'] = {
      name: result.get(name)
      for name in ('mean', 'standard_error', 'step', 'human_normalised')}
  return found


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--minutes', type=float, default=9.0)
  parser.add_argument('--small', action='store_true')
  args = parser.parse_args()
  if not 0.5 <= args.minutes <= 24 * 60:
    sys.exit(f'minutes = {args.minutes:g}: must be from 0.5 to 1440')
  end = time.monotonic() + 60 * args.minutes
  where = device()
  print(f'device: {where}', flush=True)
  if not args.small and where.split()[0] not in ('gpu', 'cuda', 'rocm', 'tpu'):
    sys.exit(
      f"there is no GPU here, but {where!r}: install the extra 'cuda12' or "
      "'cuda13', or try it in small with --small")
  parts = _SMALL_PARTS if args.small else _PARTS
  kept: dict[str, Any] = dict(
    device=where, command=' '.join(
      ['python -m benchmarks.gpu', *sys.argv[1:]]), parts={})
  path = RESULT.with_name('gpu_small.json') if args.small else RESULT
  for part in parts:
    kept['parts'][part.name] = run(part.argv, 60 * args.minutes * part.share)
    if part.name == 'throughput':
      kept['projection'] = projected_hours(part.argv)
    _write(path, kept)
  with tempfile.TemporaryDirectory() as folder:
    kept['parts']['training'] = train(
      _SMALL_TRAINING if args.small else _TRAINING,
      max(end - time.monotonic(), 20.0), pathlib.Path(folder) / 'run')
  _write(path, kept)
  # What was cut by its time is as it should be; the training always is.
  failed = [
    name for name, one in kept['parts'].items()
    if one['status'] and not one['is_cut']]
  print(f'results: {path.relative_to(ROOT)}')
  if failed:
    sys.exit(f'failed: {", ".join(failed)}')


def _write(path: pathlib.Path, kept: dict[str, Any]) -> None:
  path.write_text(json.dumps(kept, indent=1) + '\n')


if __name__ == '__main__':
  main()
