"""Files of a run damaged on purpose: each must end in one line.

  python -m benchmarks.drills.storage

Checkpoints, datasets, configurations and metrics are mutated, with and without
their hashes put right again; every file of a checkpoint is truncated, and bits
are flipped. Allowed is a refusal of one line (`muzero_jax.errors.Error`), the
fallback to the older checkpoint, or what was saved, unchanged. Damage whose
hashes were put right may load as other values; no drill may end in a
traceback. tests/faults runs the same with small numbers.
"""

import argparse
import collections
import copy
import dataclasses
import functools
import hashlib
import json
import pathlib
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import common
from muzero_jax import config as config_lib
from muzero_jax.errors import Error
from muzero_jax.replay import dataset
from muzero_jax.runs import checkpoint, manifest, metrics, plots, run_dir
from muzero_jax.types import EnvSpec, Trajectory

RESULT = pathlib.Path(__file__).parents[1] / 'results' / 'drills_storage.json'
REFUSED, FELL_BACK, SAME, OTHER = 'one line', 'fell back', 'same', 'other'
BROKEN = 'traceback'
CONFIG = config_lib.from_preset('cartpole')
_DEEP = '[' * 100_000 + ']' * 100_000
_VALUES: tuple[Any, ...] = (
  None, True, False, -1, 0, 1, 7, 2**31, 2**63, -2**70, 10**400, 0.5, -0.0,
  1e308, float('nan'), float('inf'), '', 'x', '../../x', '/etc/passwd', '\0',
  '\ud800', '$\\frac{', 'e' * 5000, [], {}, [[]], [-1], [2**40, 2**40],
  {'x': None}, 'float32', '<f8', 'object')
_SPEC = EnvSpec(
  'test/drill', (4,), np.float32, 3, max_episode_steps=9,
  action_names=('a', 'b', 'c'))


class Drill(NamedTuple):
  """One kind of damage."""

  name: str
  make: Callable[[pathlib.Path], None]  # Fills a directory.
  harm: Callable[[pathlib.Path, random.Random], None]
  use: Callable[[pathlib.Path], str]  # Its outcome.
  allowed: frozenset[str]


def run(
  drill: Drill, folder: pathlib.Path, count: int, seed: int = 0
) -> dict[str, Any]:
  """Return how often a drill ended in which way, and what was not allowed.

  Args:
    drill: which.
    folder: an empty directory.
    count: how often.
    seed: of the damage.
  """
  whole, harmed = folder / 'whole', folder / 'harmed'
  drill.make(whole)
  outcomes: collections.Counter[str] = collections.Counter()
  faults, slowest = [], 0.0
  for number in range(count):
    shutil.rmtree(harmed, ignore_errors=True)
    shutil.copytree(whole, harmed)
    rng = random.Random(f'{drill.name} {seed} {number}')
    drill.harm(harmed, rng)
    start = time.monotonic()
    try:
      outcome, text = drill.use(harmed), ''
    except Error as error:
      text = str(error)
      outcome = REFUSED if len(text.splitlines()) == 1 else BROKEN
    except Exception as error:  # noqa: B902 - that is what is looked for.
      outcome, text = BROKEN, f'{type(error).__name__}: {error}'
    slowest = max(slowest, time.monotonic() - start)
    outcomes[outcome] += 1
    if outcome not in drill.allowed:
      faults.append(f'{number}: {outcome} {text}'[:300])
  return dict(
    drill=drill.name, count=count, outcomes=dict(sorted(outcomes.items())),
    faults=faults, slowest_seconds=round(slowest, 2))


# --- Damage -----------------------------------------------------------------


def harm_bytes(data: bytes, rng: random.Random) -> bytes:
  """Return bytes with one of several kinds of damage."""
  changed = bytearray(data)
  at = rng.randrange(len(data) or 1)
  end = at + rng.randrange(1, 64)
  kind = rng.randrange(7)
  if kind == 0 and data:
    changed[at] ^= 1 << rng.randrange(8)
  elif kind == 1:
    del changed[at:]
  elif kind == 2:
    del changed[at:end]
  elif kind == 3:
    changed[at:at] = rng.randbytes(rng.randrange(1, 64))
  elif kind == 4:
    changed[at:end] = bytes(len(changed[at:end]))
  elif kind == 5:
    changed[at:at] = changed[at:end]
  else:
    changed[at:end] = rng.randbytes(len(changed[at:end]))
  return bytes(changed)


def harm_json(value: Any, rng: random.Random) -> Any:
  """Return a value in which one node is another, gone, or one too many."""
  value = copy.deepcopy(value)
  places = list(_places(value))
  if not places:
    return rng.choice(_VALUES)
  holder, key = rng.choice(places)
  kind = rng.randrange(4)
  if kind == 0:
    del holder[key]
  elif kind == 1 and isinstance(holder, dict):
    holder[f'{key}x'] = holder[key]
  else:
    holder[key] = rng.choice(_VALUES)
  return value


def _places(value: Any) -> Any:
  """Yield each (container, key) within a value."""
  pairs = []
  if isinstance(value, dict):
    pairs = list(value.items())
  elif isinstance(value, list):
    pairs = list(enumerate(value))
  for key, child in pairs:
    yield value, key
    yield from _places(child)


def harm_text(data: bytes, rng: random.Random) -> bytes:
  """Return JSON damaged as a value, as bytes, or nested without end."""
  kind = rng.randrange(8)
  if kind == 0:
    return _DEEP.encode()
  if kind == 1:
    return b'{"step": ' + _DEEP.encode() + b'}'
  if kind < 4:
    return harm_bytes(data, rng)
  return json.dumps(harm_json(json.loads(data), rng), indent=1).encode()


# --- Checkpoints ------------------------------------------------------------


def _state(step: int) -> dict[str, Any]:
  return dict(
    params={'w': np.full((3, 4), step, np.float32), 'b': np.zeros(4)},
    replay={'frame': np.full((50, 2), step, np.uint8)},
    rng_key=jax.random.key(step), num_steps=np.uint32(step))


def _make_checkpoints(folder: pathlib.Path) -> None:
  run_dir.store(folder, CONFIG)
  for step in (1, 2):
    checkpoint.save(folder, step, _state(step), facts=run_dir.facts(CONFIG))


def _newest(folder: pathlib.Path) -> pathlib.Path:
  return folder / 'checkpoints' / '000000000002'


def _restore(folder: pathlib.Path) -> str:
  found = checkpoint.restore(
    folder, _state(0), report=_one_line, checks=checkpoint.Checks(
      run_dir.check_trained_with(folder, run_dir.read_config(folder))))
  assert found is not None
  step, state = found
  if not _equal(state, _state(step)):
    return OTHER
  return SAME if step == 2 else FELL_BACK


def _one_line(text: str) -> None:
  if len(text.splitlines()) != 1:
    raise AssertionError(f'a report of several lines: {text}')


def _equal(a: Any, b: Any) -> bool:
  bits = lambda x: np.asarray(
    jax.random.key_data(x)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x).tobytes()
  return all(
    bits(x) == bits(y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def _harm_manifest(folder: pathlib.Path, rng: random.Random) -> None:
  path = _newest(folder) / 'manifest.json'
  contents = json.loads(path.read_bytes())['contents']
  # The fields that are checked one by one are few among all nodes.
  rare = contents if not rng.randrange(3) else {
    name: value for name, value in contents.items()
    if name not in ('config', 'files')}
  harmed = harm_json(rare, rng)
  contents = {
    name: value for name, value in contents.items() if name not in rare}
  contents |= harmed
  path.write_bytes(manifest._manifest_bytes(contents))


def _harm_manifest_text(folder: pathlib.Path, rng: random.Random) -> None:
  path = _newest(folder) / 'manifest.json'
  path.write_bytes(harm_text(path.read_bytes(), rng))


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(p for p in folder.rglob('*') if p.is_file())


def _harm_orbax(folder: pathlib.Path, rng: random.Random) -> None:
  """Damage a file of Orbax, and put its hash right."""
  paths = [p for p in _files(_newest(folder)) if p.name != 'manifest.json']
  # JSON has the more kinds of damage.
  plain = [p for p in paths if p.read_bytes()[:1] == b'{']
  path = rng.choice(plain if rng.randrange(2) else paths)
  data = path.read_bytes()
  path.write_bytes(
    harm_text(data, rng) if path in plain else harm_bytes(data, rng))
  _rehash(path, _newest(folder))


def _rehash(path: pathlib.Path, directory: pathlib.Path) -> None:
  file = directory / 'manifest.json'
  contents = json.loads(file.read_bytes())['contents']
  data = path.read_bytes()
  contents['files'][path.relative_to(directory).as_posix()] = dict(
    sha256=hashlib.sha256(data).hexdigest(), size=len(data))
  file.write_bytes(manifest._manifest_bytes(contents))


def _truncate(
  number: list[int], folder: pathlib.Path, rng: random.Random
) -> None:
  """Cut the next file; each in turn."""
  paths = _files(_newest(folder))
  path = paths[number[0] % len(paths)]
  number[0] += 1
  path.write_bytes(path.read_bytes()[:rng.randrange(
    max(path.stat().st_size, 1))])


def _flip(folder: pathlib.Path, rng: random.Random) -> None:
  path = rng.choice([p for p in _files(_newest(folder)) if p.stat().st_size])
  data = bytearray(path.read_bytes())
  data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  path.write_bytes(data)


# --- Configurations and metrics ---------------------------------------------


def _harm_config(folder: pathlib.Path, rng: random.Random) -> None:
  path = folder / run_dir.CONFIG_FILE
  data = path.read_bytes()
  if rng.randrange(2):
    path.write_bytes(harm_text(data, rng))
  else:
    flipped = bytearray(data)
    flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(flipped)


def _use_config(folder: pathlib.Path) -> str:
  config = run_dir.read_config(folder)
  run_dir.check_trained_with(folder, config)(manifest.verify(_newest(folder)))
  fields = dataclasses.asdict(config)
  changed = {
    name for name, value in dataclasses.asdict(CONFIG).items()
    if fields[name] != value} - config_lib.RESUMABLE_FIELDS
  return OTHER if changed else SAME


def _make_metrics(folder: pathlib.Path) -> None:
  folder.mkdir()
  rows = [dict(step=i, seconds=i / 2, loss=1 / (i + 1)) for i in range(40)]
  (folder / metrics.METRICS_FILE).write_text(
    ''.join(json.dumps(row) + '\n' for row in rows))


def _harm_metrics(folder: pathlib.Path, rng: random.Random) -> None:
  path = folder / metrics.METRICS_FILE
  lines = path.read_bytes().splitlines(keepends=True)
  at = rng.randrange(len(lines))
  lines[at] = harm_text(lines[at], rng).replace(b'\n', b' ') + b'\n'
  path.write_bytes(b''.join(lines))


def _use_metrics(folder: pathlib.Path) -> str:
  before = (folder / metrics.METRICS_FILE).read_bytes()
  rows = metrics.drop_rows_after(folder / metrics.METRICS_FILE, 100)
  assert rows == metrics.read_metrics(folder)
  json.dumps(rows, allow_nan=False)
  if len(rows) >= 39 and len(before) % 16 == 0:  # It takes half a second.
    plots.plot_curves(folder)
  return SAME if len(rows) == 40 else FELL_BACK


# --- Datasets ---------------------------------------------------------------


def _make_dataset(folder: pathlib.Path) -> None:
  rng = np.random.default_rng(0)
  shape, last = (12, 2), np.zeros((12, 2), bool)
  last[5], last[-1] = True, True
  first = np.concatenate([np.ones((1, 2), bool), last[:-1]])
  dataset.save(folder, _SPEC, Trajectory(
    frame=rng.random((*shape, 4)).astype(np.float32),
    reward=np.ones(shape, np.float32) * ~first,
    discount=np.ones(shape, np.float32),
    is_first=first,
    is_last=last,
    legal_actions=np.ones((*shape, 3), bool),
    to_play=np.zeros(shape, np.int32),
    action=np.zeros(shape, np.int32),
    policy=np.full((*shape, 3), 1 / 3, np.float32),
    value=np.ones(shape, np.float32),
  ), source=dict(step=3))


def _harm_facts(folder: pathlib.Path, rng: random.Random) -> None:
  path = folder / dataset.FACTS_FILE
  path.write_bytes(harm_text(path.read_bytes(), rng))


def _harm_column(folder: pathlib.Path, rng: random.Random) -> None:
  """Damage a column, mostly its header, and put its hash right."""
  path = rng.choice(sorted(folder.glob('*.npy')))
  data = path.read_bytes()
  if rng.randrange(4):
    head = data[:128].replace(b'(12, 2', rng.choice([
      b'(-1, 2', b'(12,-2', b'(1e9, 2', b'(2**99, 2', b'(True, 2', b'("x", 2',
      b'(99999999999, 2', b'(12, 0', b'(12, 2, 9', b'((), 2', b'([12], 2']))
    head = head if rng.randrange(2) else data[:128].replace(
      rng.choice([b"'<f4'", b"'|b1'", b"'<i4'"]), rng.choice([
        b"'|O'", b"'<f8'", b"'|V9'", b"'x'", b'None', b"[('a', '<f4')]",
        b"'<U99999999'"]))
    data = head + data[128:]
  if not rng.randrange(3):
    data = harm_bytes(data[:128], rng) + data[128:]
  path.write_bytes(data)
  facts = json.loads((folder / dataset.FACTS_FILE).read_bytes())
  facts['columns'][path.stem]['sha256'] = hashlib.sha256(data).hexdigest()
  (folder / dataset.FACTS_FILE).write_text(json.dumps(facts))


def _flip_column(folder: pathlib.Path, rng: random.Random) -> None:
  path = rng.choice(sorted(folder.glob('*.npy')))
  data = bytearray(path.read_bytes())
  data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  path.write_bytes(data)


def _use_dataset(folder: pathlib.Path) -> str:
  data = dataset.load(folder)
  _one_line(dataset.describe(data))
  dataset.write_facts(folder, data.facts)
  return OTHER  # What has the right hashes may be another dataset.


def drills() -> tuple[Drill, ...]:
  """Return all drills, each with its own counters."""
  intact = frozenset({REFUSED, FELL_BACK, SAME})
  any_value = intact | {OTHER}
  make, use = _make_checkpoints, _restore
  return (
    Drill('checkpoint: manifest edited, re-hashed', make, _harm_manifest, use,
          intact),
    Drill('checkpoint: manifest as text', make, _harm_manifest_text, use,
          intact),
    Drill("checkpoint: Orbax's files, re-hashed", make, _harm_orbax, use,
          any_value),
    Drill('checkpoint: every file truncated', make,
          functools.partial(_truncate, [0]), use, frozenset({FELL_BACK})),
    Drill('checkpoint: one bit flipped', make, _flip, use,
          frozenset({FELL_BACK})),
    Drill('configuration', make, _harm_config, _use_config, intact),
    Drill('metrics.jsonl', _make_metrics, _harm_metrics, _use_metrics, intact),
    Drill('dataset: dataset.json', _make_dataset, _harm_facts, _use_dataset,
          any_value),
    Drill('dataset: a column, re-hashed', _make_dataset, _harm_column,
          _use_dataset, any_value),
    Drill('dataset: one bit flipped', _make_dataset, _flip_column,
          _use_dataset, frozenset({REFUSED})),
  )


def counts(num_mutated: int, num_flips: int) -> dict[str, int]:
  """Return how often each drill is run."""
  found = {}
  for drill in drills():
    is_flip = 'flipped' in drill.name or 'truncated' in drill.name
    found[drill.name] = num_flips if is_flip else num_mutated
  return found


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--num_mutated', type=int, default=1000)
  parser.add_argument('--num_flips', type=int, default=500)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  start, results = time.monotonic(), []
  number = counts(args.num_mutated, args.num_flips)
  for drill in drills():
    with tempfile.TemporaryDirectory() as folder:
      found = run(drill, pathlib.Path(folder), number[drill.name], args.seed)
    results.append(found)
    print(f'{drill.name:40}{found["count"]:6}  faults {len(found["faults"]):3}'
          f'  {found["outcomes"]}  slowest {found["slowest_seconds"]} s',
          flush=True)
    for line in found['faults'][:5]:
      print('   ', line)
  RESULT.write_text(json.dumps(dict(
    command=' '.join(['python -m benchmarks.drills.storage', *common.argv()]),
    **common.machine(), drills=results,
    seconds=round(time.monotonic() - start, 1)), indent=1) + '\n')
  if any(found['faults'] for found in results):
    raise SystemExit('There were faults.')


if __name__ == '__main__':
  main()
