"""Lives of training processes, and what is left when they have ended."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import kill
from benchmarks.drills import faulty_env
from muzero_jax.runs import checkpoint, manifest

FIELDS: dict[str, Any] = dict(
  kill.FIELDS, num_simulations=2, num_steps=10**7, log_period=0.5,
  checkpoint_period=1e6)
# Of environments on the host.
HOST_FIELDS: dict[str, Any] = dict(
  FIELDS, env_id=faulty_env.ENV_ID, actor_threads=1, num_envs=4,
  replay_capacity=512)
_SAVED = re.compile(r'saved the checkpoint of step ([\d,]+) ')
_TRACES = ('Traceback', 'Exception ignored', 'Segmentation', 'Fatal Python')


class Life(NamedTuple):
  """What a process did."""

  status: int  # As Popen has it: negative for a signal.
  seconds: float  # From the act to the end.
  text: str  # Both streams.
  errors: str  # Standard error alone.

  @property
  def saved(self) -> list[int]:
    """Return the steps reported as saved."""
    return [int(x.replace(',', '')) for x in _SAVED.findall(self.text)]

  @property
  def has_trace(self) -> bool:
    """Return whether there is more than lines for a user."""
    return any(trace in self.text for trace in _TRACES)


def command(
  workdir: str | os.PathLike, script: str = 'classic', **fields: Any
) -> list[str]:
  """Return the command line of a small run."""
  base = HOST_FIELDS if script == 'gymnasium' else FIELDS
  return [
    sys.executable, '-m', f'experiments.{script}', f'--workdir={workdir}',
    *(f'--{name}={value}' for name, value in {**base, **fields}.items()),
  ]


def environ(cache: str | os.PathLike, **changes: str) -> dict[str, str]:
  """Return the environment of a process that keeps what it compiles."""
  path = [str(kill.ROOT / 'src'), str(kill.ROOT)]
  # One device, as most machines have; how much is optimised may stay.
  xla = [
    flag for flag in os.environ.get('XLA_FLAGS', '').split()
    if 'device_count' not in flag]
  return {
    **os.environ, 'PYTHONPATH': os.pathsep.join(path),
    'JAX_COMPILATION_CACHE_DIR': str(cache), 'XLA_FLAGS': ' '.join(xla),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '0', **changes}


def live(
  argv: list[str],
  env: dict[str, str],
  act: Callable[[subprocess.Popen[Any]], Any],
  *,
  folder: pathlib.Path,
  until: str = '',
  delay: float = 0.0,
  longest: float = 120.0,
) -> Life:
  """Return what a process does that something is done to.

  Args:
    argv: of the process, which leads a group of its own.
    env: its environment.
    act: what is done.
    folder: for what it says.
    until: a pattern of its text that is waited for, if it is given.
    delay: seconds from then to the act.
    longest: seconds from the act to the end; then it is killed.
  """
  out, err = folder / 'stdout.txt', folder / 'stderr.txt'
  read = lambda: ''.join(
    path.read_text(encoding='utf-8', errors='replace') for path in (out, err))
  with open(out, 'wb') as stdout, open(err, 'wb') as stderr:
    process = subprocess.Popen(
      argv, env=env, cwd=kill.ROOT, stdout=stdout, stderr=stderr,
      stdin=subprocess.DEVNULL, start_new_session=True,
      preexec_fn=default_signals)
    while until and not re.search(until, read()) and process.poll() is None:
      time.sleep(0.01)
    time.sleep(delay)
    start = time.monotonic()
    if process.poll() is None:
      act(process)
    try:
      status = process.wait(longest)
    except subprocess.TimeoutExpired:
      os.killpg(process.pid, signal.SIGKILL)
      status = process.wait()
  return Life(status, time.monotonic() - start, read(), err.read_text())


def default_signals() -> None:
  """Undo what a shell's background jobs ignore."""
  for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(signum, signal.SIG_DFL)


def intact(workdir: str | os.PathLike) -> list[int]:
  """Return the steps of checkpoints whose files have all the right hashes."""
  found = []
  for step in checkpoint.steps(workdir):
    folder = pathlib.Path(workdir) / checkpoint.CHECKPOINTS / f'{step:012d}'
    try:
      manifest.verify(folder)
    except manifest.DamageError:
      continue
    found.append(step)
  return found


def unfinished(workdir: str | os.PathLike) -> list[str]:
  """Return the names of temporary files and directories that stayed."""
  return sorted(
    path.name for path in pathlib.Path(workdir).rglob('.*')
    if path.name not in ('.lock', '.saved.json'))
