"""Opening a run directory: the lock, what is stored, who tells and who saves.

Of several processes the first does what only one may do.
"""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from muzero_jax import files
from muzero_jax.config import Config, to_json
from muzero_jax.replay import dataset
from muzero_jax.replay.dataset import Dataset
from muzero_jax.runs import lock, record, run_dir, shared_checkpoint
from muzero_jax.runs.peers import Peers
from muzero_jax.runs.progress import Counts, Progress
from muzero_jax.runs.saver import Saver
from muzero_jax.runs.shared_checkpoint import SharedSaver
from muzero_jax.runs.signals import Stop
from muzero_jax.runs.silence import Silence
from muzero_jax.runs.writers import Writer
from muzero_jax.types import EnvSpec

_PACKAGES = (
  'muzero_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'orbax-checkpoint')


def check_alike(
  workdir: str | os.PathLike, config: Config, peers: Peers
) -> None:
  """Check that all processes are about to do the same.

  Raises:
    UserError: configurations or versions differ, or the directory's name.
  """
  shared_checkpoint.check_workdir(workdir)
  peers.check_same('versions', _versions())
  peers.check_same('configuration', to_json(config))


@contextlib.contextmanager
def holding(
  workdir: str | os.PathLike, peers: Peers
) -> Iterator[Callable[[], None]]:
  """Hold the run directory; the first of several processes does it for all."""
  if not peers.is_first:
    yield lambda: None
    return
  with lock.hold(workdir) as check_place:
    yield check_place


def store(
  workdir: str | os.PathLike, config: Config, data: Dataset | None, stop: Stop
) -> None:
  """Write down what the run is, before its first checkpoint."""
  with stop.keeping(), files.writing(str(workdir)):
    run_dir.store(workdir, config)
    # From now on, that there is none in it tells that none was saved yet.
    record.open_checkpoints(workdir)
    if data is not None:
      dataset.write_facts(workdir, data.facts)


def progress(
  config: Config,
  workdir: str | os.PathLike,
  spec: EnvSpec,
  peers: Peers,
  writers: Sequence[Writer | str] | None,
  *,
  start: Counts,
) -> Progress | Silence:
  """Make what tells of the run: of several processes the first does.

  Args:
    config: of the run.
    workdir: its directory.
    spec: of its environment.
    peers: its processes.
    writers: as `Progress` takes them.
    start: what was done before.
  """
  if not peers.is_first:
    return Silence()
  return Progress(
    workdir,
    total_steps=config.total_steps,
    unit='updates' if config.dataset else 'steps',
    is_self_play=not config.dataset and spec.num_players > 1,
    start=start,
    log_period=config.log_period,
    writers=writers,
  )


def saver(
  config: Config, workdir: str | os.PathLike, peers: Peers, **options: Any
) -> Saver | SharedSaver:
  """Make what saves: in the background, or all processes together."""
  keep = config.max_checkpoints
  if peers.count > 1:
    return SharedSaver(workdir, peers, max_to_keep=keep, **options)
  return Saver(workdir, max_to_keep=keep, **options)


def _versions() -> str:
  """Return a line for Python and each package that arrays go through."""
  lines = [f'python {platform.python_version()}']
  for name in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      lines.append(f'{name} {importlib.metadata.version(name)}')
  return '\n'.join(lines)
