"""How long training waits for a save of a large state.

  python -m benchmarks.drills.blocking

A state of frames is saved at once, as where memory is short, and in the
background, and each part of a save is timed: the copy, Orbax, hashes, reading
back. Times are of this machine's load at that moment, which is printed too.
"""

import argparse
import json
import math
import os
import pathlib
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from muzero_jax.runs import array_files, leaves, manifest, saver

RESULT = pathlib.Path(__file__).parents[1] / 'results' / 'drills_blocking.json'


def make_state(gigabytes: float) -> Any:
  """Return a state of so many frames, and a hundred small arrays."""
  shape = (round(gigabytes * 1e9 / (96 * 96 * 32)), 32, 96, 96)
  return dict(
    # Made by the host: jax would take several times the memory.
    replay=dict(frame=jnp.asarray(np.frombuffer(
      np.random.default_rng(0).bytes(math.prod(shape)), np.uint8
    ).reshape(shape))),
    learner={f'w{i}': jnp.full((64, 64), i, jnp.float32) for i in range(100)},
    rng_key=jax.random.key(1))


def time_parts(state: Any, folder: pathlib.Path) -> dict[str, float]:
  """Return the seconds of each part of a save."""
  found, start = {}, time.monotonic()

  def lap(name: str) -> None:
    nonlocal start
    found[name] = round(time.monotonic() - start, 2)
    start = time.monotonic()

  host = leaves.to_host(state, own=True)
  lap('copy')
  array_files.write(folder / 'state', host.arrays)
  lap('orbax')
  manifest.seal(folder, dict(step=0, leaves=host.descriptions))
  lap('flush_and_hash')
  array_files.check_written(folder / 'state', host.arrays)
  lap('read_back')
  return found


def time_saver(
  state: Any, folder: pathlib.Path, *, background: bool
) -> dict[str, float]:
  """Return how long a save took, and how long its caller waited."""
  free = (lambda: 1 << 50) if background else (lambda: 0)
  start = time.monotonic()
  with saver.Saver(folder, free_bytes=free, note=lambda line: None) as saves:
    saves.save(0, state)
    blocked = time.monotonic() - start
  return dict(
    blocked=round(blocked, 2), total=round(time.monotonic() - start, 2))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--gigabytes', type=float, default=1.0)
  parser.add_argument('--folder', default=None)
  args = parser.parse_args()
  state = jax.block_until_ready(make_state(args.gigabytes))
  with tempfile.TemporaryDirectory(dir=args.folder) as folder:
    root = pathlib.Path(folder)
    result = dict(
      command=' '.join(['python -m benchmarks.drills.blocking',
                        *common.argv()]),
      **common.machine(),
      load=os.getloadavg(),
      parts=time_parts(state, root / 'parts'),
      at_once=time_saver(state, root / 'at_once', background=False),
      in_background=time_saver(state, root / 'background', background=True))
  RESULT.write_text(json.dumps(result, indent=1) + '\n')
  print(json.dumps(result, indent=1))


if __name__ == '__main__':
  main()
