"""Files that would run code: pickles, modules named in files, links, depth.

  python -m benchmarks.drills.code

Run directories and datasets come from anywhere. Each trial puts something
malicious into a copy of one, gives it to every command and function that reads
it, and looks whether a marker file has appeared, which whatever runs writes.
Expected: no marker, and one line (an error of the library), never another
exception.
"""

import argparse
import contextlib
import importlib
import io
import json
import logging
import os
import pathlib
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import common, kill
from muzero_jax import agent, envs, errors
from muzero_jax import config as config_lib
from muzero_jax.commands import main as commands
from muzero_jax.drivers import anakin, iteration
from muzero_jax.evaluation import gtp, opponents
from muzero_jax.replay import dataset
from muzero_jax.runs import checkpoint, dataset_export, manifest, run_dir

RESULT = kill.RESULT.with_name('drills_code.json')
_MARKER = pathlib.Path('marker')
_MODULE = "import pathlib\npathlib.Path('marker').write_text('ran')\n"
# What a stored configuration may try; `gift` is the run directory itself.
ENV_IDS = (
  'gift.evil:Foo-v0', 'gift.evil:CartPole-v1', 'evil:Foo-v0',
  'evil:CartPole-v1', 'gift.evil:', 'gift.evil:ns/Foo-v0', ' evil:Foo-v0',
  'evil :Foo-v0', 'evil:x:Foo-v0', 'x:evil:Foo-v0', '.evil:Foo-v0',
  '..gift.evil:Foo-v0', 'evil.:Foo-v0', 'gift/evil:Foo-v0',
  'gift.evil\n:Foo-v0', 'evil\0:Foo-v0', '__main__:Foo-v0',
  'ｅvil:Foo-v0', ':evil:Foo-v0', 'gift.evil:gift.evil:Foo-v0',
)


class _Payload:
  """Unpickled, it writes the marker."""

  def __reduce__(self) -> Any:
    return exec, (_MODULE,)


def _readers(workdir: str) -> dict[str, Callable[[], Any]]:
  """Returns everything that reads a run directory."""
  def command(name: str, *argv: str) -> Callable[[], Any]:
    return lambda: commands.main(
      ['muzero-jax', name, f'--workdir={workdir}', *argv])
  return {
    'train': command('train'),
    'evaluate': command('evaluate', '--num_episodes=2'),
    'ladder': command('ladder'),
    'diagnose': command('diagnose', '--num_steps=8', '--num_envs=2'),
    'dataset': command('dataset', '--output=data'),
    'agent.load': lambda: agent.load(workdir),
    'snapshot': lambda: agent.load(workdir, snapshot=1),
    'export': lambda: dataset_export.export(workdir, 'data'),
    'run:PATH': lambda: opponents.make(
      f'run:{workdir}', 'board/tic_tac_toe'),
  }


def attempt(read: Callable[[], Any]) -> str:
  """Returns what became of one reading: 'line', 'read' or the exception."""
  importlib.invalidate_caches()
  told = io.StringIO()
  try:
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
      read()
  except errors.Error:
    return 'line'
  except SystemExit as exited:
    is_plain = 'Traceback' not in told.getvalue()
    return 'read' if not exited.code else 'line' if is_plain else 'traceback'
  except Exception as error:  # What nobody expected is what is looked for.
    return f'{type(error).__name__}: {str(error)[:80]}'
  return 'read'


class Table:
  """Counts outcomes by kind of attack."""

  def __init__(self) -> None:
    self.rows: dict[str, dict[str, int]] = {}
    self.others: list[str] = []

  def add(self, kind: str, what: str, read: Callable[[], Any]) -> None:
    """Makes one trial."""
    _MARKER.unlink(missing_ok=True)
    shutil.rmtree('data', ignore_errors=True)
    row = self.rows.setdefault(
      kind, dict(trials=0, ran=0, line=0, read=0, other=0))
    outcome = attempt(read)
    row['trials'] += 1
    row['ran'] += _MARKER.exists()
    row[outcome if outcome in row else 'other'] += 1
    if outcome not in row or _MARKER.exists():
      self.others.append(f'{kind}, {what}: {outcome}')
    for name in ('gift', 'gift.evil', 'evil'):
      sys.modules.pop(name, None)


def measure() -> Table:
  """Returns what became of all trials, in the working directory."""
  table = Table()
  sound = _run_directory()
  pathlib.Path('evil.py').write_text(_MODULE)
  for env_id in ENV_IDS:
    _modules(table, env_id)
  for name, read in _readers('control').items():
    if name == 'agent.load':
      table.add('nothing (control)', name, read)
  files = sorted(
    path.relative_to(sound) for path in sound.rglob('*') if path.is_file())
  for file in files:
    for kind, harm in (('pickle', _pickle), ('link to a pickle', _link)):
      for sealed in (False, True):
        _checkpoint(table, sound, file, f'{kind}{", re-hashed" * sealed}',
                    harm, sealed)
  _datasets(table)
  _depth(table, sound)
  _programs(table)
  return table


def _run_directory() -> pathlib.Path:
  """Makes a small run directory, `control`, and its dataset, `sound_data`."""
  config = config_lib.from_preset('cartpole', **kill.FIELDS)
  run_dir.store('control', config)
  driver = anakin.make_anakin(
    config, envs.make(config), rows_per_env=config.capacity_rows_per_env)
  state = driver.init(iteration.run_key(config))
  for _ in range(2):
    state, _ = driver.step(state)
  checkpoint.save('control', 128, state)
  dataset_export.export('control', 'sound_data')
  return pathlib.Path('control')


def _modules(table: Table, env_id: str) -> None:
  """Reads a run directory whose configuration names a module."""
  shutil.rmtree('gift', ignore_errors=True)
  config = config_lib.from_preset('gymnasium', env_id=env_id)
  run_dir.store('gift', config)
  pathlib.Path('gift/evil.py').write_text(_MODULE)
  pathlib.Path('gift/checkpoints/000000000001').mkdir(parents=True)
  for name, read in _readers('gift').items():
    table.add('module in config.json', f'{env_id!r} by {name}', read)


def _pickle(path: pathlib.Path) -> None:
  path.write_bytes(pickle.dumps(_Payload()))


def _link(path: pathlib.Path) -> None:
  target = pathlib.Path('payload.pickle').absolute()
  _pickle(target)
  path.unlink()
  path.symlink_to(target)


def _checkpoint(
  table: Table, sound: pathlib.Path, file: pathlib.Path, kind: str,
  harm: Callable[[pathlib.Path], None], sealed: bool,
) -> None:
  """Reads a run directory one of whose files is something else."""
  shutil.rmtree('gift', ignore_errors=True)
  shutil.copytree(sound, 'gift')
  harm(pathlib.Path('gift') / file)
  directory = pathlib.Path('gift/checkpoints/000000000128')
  if sealed:
    if file.name == 'manifest.json' or file.parts[0] != 'checkpoints':
      return
    stored = json.loads((directory / 'manifest.json').read_text())
    facts = stored['contents']
    (directory / 'manifest.json').unlink()
    manifest.seal(directory, {k: facts[k] for k in facts if k != 'files'})
    manifest.verify(directory)  # So that what is tested is what reads it.
  for name in ('agent.load', 'export'):
    table.add(f'{kind} in a run', f'{file} by {name}', _readers('gift')[name])


def _arrays() -> Iterator[tuple[str, bytes]]:
  """Yields files that NumPy would unpickle if it were asked to."""
  objects = np.array([_Payload()], object)
  for name, write in (
    ('object array', lambda file: np.save(file, objects, allow_pickle=True)),
    ('npz of objects', lambda file: np.savez(file, x=objects)),
    ('pickle', lambda file: file.write(pickle.dumps(_Payload()))),
  ):
    file = io.BytesIO()
    write(file)
    yield name, file.getvalue()


def _datasets(table: Table) -> None:
  """Reads datasets with columns that are pickles, or links to one."""
  columns = sorted(path.name for path in pathlib.Path('sound_data').iterdir())
  for column in columns:
    for name, data in _arrays():
      shutil.rmtree('bad_data', ignore_errors=True)
      shutil.copytree('sound_data', 'bad_data')
      path = pathlib.Path('bad_data', column)
      path.write_bytes(data)
      table.add('pickle in a dataset', f'{name} as {column}',
                lambda: dataset.load('bad_data'))
  path = pathlib.Path('sound_data/dataset.json')
  facts = json.loads(path.read_text())
  for env_id in ENV_IDS:
    shutil.rmtree('bad_data', ignore_errors=True)
    shutil.copytree('sound_data', 'bad_data')
    facts['spec']['name'] = f'gymnasium/{env_id}'
    facts['source'] = dict(config=dict(family='gymnasium', env_id=env_id))
    pathlib.Path('bad_data/dataset.json').write_text(json.dumps(facts))
    table.add('module in a dataset', repr(env_id),
              lambda: dataset.load('bad_data'))


def _depth(table: Table, sound: pathlib.Path) -> None:
  """Reads JSON that is nested too deeply, or is something else."""
  texts = {
    'lists': '[' * 100_000, 'objects': '{"a":' * 100_000,
    'whole': '[' * 50_000 + ']' * 50_000, 'no object': '"config"',
    'a huge number': '{"seed": ' + '9' * 10_000 + '}',
    'python': '__import__("os").system("touch marker")',
  }
  for what, text in texts.items():
    shutil.rmtree('gift', ignore_errors=True)
    shutil.copytree(sound, 'gift')
    pathlib.Path('gift/config.json').write_text(text)
    for name, read in _readers('gift').items():
      table.add('deep or odd config.json', f'{what} by {name}', read)


def _programs(table: Table) -> None:
  """Looks for an engine with one of its name in the working directory."""
  program = pathlib.Path('engine_of_a_stranger')
  program.write_text('#!/bin/sh\ntouch marker\n')
  program.chmod(0o755)
  before = os.environ['PATH']
  for path in ('', os.pathsep, f'{os.pathsep}{before}'):
    os.environ['PATH'] = path
    table.add('program beside the run', repr(path),
              lambda: gtp.Engine([gtp.find(program.name)]).close())
  os.environ['PATH'] = before


def main() -> None:
  """Makes all trials, prints a table and writes the result."""
  argparse.ArgumentParser(description=__doc__).parse_args()
  # As `python -m` has it: what lies in the working directory is importable.
  sys.path.insert(0, '')
  # Each damage is told of; the table counts them.
  logging.disable(logging.WARNING)
  here = pathlib.Path.cwd()
  with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    try:
      table = measure()
    finally:
      os.chdir(here)
  print(f'{"what":34}{"trials":>8}{"ran":>6}{"line":>6}{"read":>6}{"other":>7}')
  for kind, row in table.rows.items():
    print(f'{kind:34}' + ''.join(
      f'{row[name]:{width}}' for name, width in
      (('trials', 8), ('ran', 6), ('line', 6), ('read', 6), ('other', 7))))
  for line in table.others:
    print('other:', line)
  kill.RESULT.parent.mkdir(exist_ok=True)
  RESULT.write_text(json.dumps(dict(
    command='python -m benchmarks.drills.code', **common.machine(),
    trials=sum(row['trials'] for row in table.rows.values()),
    ran=sum(row['ran'] for row in table.rows.values()),
    rows=table.rows, others=table.others), indent=1) + '\n')


if __name__ == '__main__':
  main()
