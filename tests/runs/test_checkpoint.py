"""Every checkpoint reported as saved restores; a damaged one never does."""

import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import kill
from muzero_jax.errors import UserError
from muzero_jax.runs import checkpoint


class Train(NamedTuple):
  params: Any
  optimiser: Any
  rng_key: jax.Array


class State(NamedTuple):
  train: Train
  replay: Any
  step: Any
  environment: Any = None


def _state(value: int = 1) -> State:
  params = {'dense': {'kernel': jnp.full((3, 4), value, jnp.float32)}}
  return State(
    Train(params, (jnp.zeros(()), ()), jax.random.key(value)),
    {'frames': np.full((5, 2), value, np.uint8)}, jnp.int32(value))


def _equal(a: Any, b: Any) -> bool:
  def data(leaf):
    if jnp.issubdtype(getattr(leaf, 'dtype', int), jax.dtypes.prng_key):
      return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf)
  same = jax.tree.map(
    lambda x, y: data(x).dtype == data(y).dtype
    and np.array_equal(data(x), data(y)), a, b)
  return jax.tree.structure(a) == jax.tree.structure(b) and all(
    jax.tree.leaves(same))


def _names(workdir: pathlib.Path) -> list[str]:
  return sorted(path.name for path in (workdir / 'checkpoints').iterdir())


def test_none_was_ever_saved(tmp_path):
  assert checkpoint.restore(tmp_path, _state()) is None
  assert checkpoint.restore_subtree(tmp_path, 1, 'step') is None
  assert checkpoint.steps(tmp_path) == []


def test_round_trip_of_every_kind_of_leaf(tmp_path):
  state = dict(
    key=jax.random.key(3), keys=jax.random.split(jax.random.key(4), (2, 3)),
    rbg=jax.random.key(5, impl='rbg'), none=None, empty=jnp.zeros((0, 3)),
    all_empty={'x': jnp.zeros((0,), jnp.int8)}, nothing=(),
    flag=jnp.array(True),
    bf16=jnp.arange(3, dtype=jnp.bfloat16), nan=jnp.array([np.nan, -0.0]),
    numpy=np.arange(6, dtype=np.int64).reshape(2, 3), scalar=np.float32(2.5),
    number=7, real=0.1, truth=False, nested=[{'a b/c': jnp.ones(2)}, (1, 2)])
  checkpoint.save(tmp_path, 5, state)
  step, restored = checkpoint.restore(tmp_path, state)
  assert step == 5
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  for name in ('key', 'keys', 'rbg'):
    new, old = restored.pop(name), state.pop(name)
    assert new.dtype == old.dtype and (new == old).all()
    assert jax.random.key_impl(new) == jax.random.key_impl(old)
  for new, old in zip(jax.tree.leaves(restored), jax.tree.leaves(state)):
    assert type(new) is type(old)
    assert np.asarray(new).dtype == np.asarray(old).dtype
    np.testing.assert_array_equal(np.asarray(new), np.asarray(old))


def test_a_bare_array_is_a_state(tmp_path):
  checkpoint.save(tmp_path, 0, jnp.arange(3))
  assert checkpoint.restore(tmp_path, jnp.zeros(3, int))[1].tolist() == [
    0, 1, 2]


def test_abstract_state_suffices_and_leaves_stay_uncommitted(tmp_path):
  checkpoint.save(tmp_path, 1, _state())
  abstract = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, _state()))
  _, restored = checkpoint.restore(tmp_path, abstract)
  assert _equal(restored, _state())
  assert not restored.train.params['dense']['kernel'].committed
  # Together with an array that lives elsewhere.
  elsewhere = jax.device_put(jnp.int32(1), jax.devices()[1])
  assert int(jax.jit(jnp.add)(restored.step, elsewhere)) == 2
  # Donated.
  assert int(jax.jit(lambda x: x + 1, donate_argnums=0)(restored.step)) == 2
  assert restored.step.is_deleted()


def test_sharded_leaves_return_to_the_shardings_asked_for(tmp_path):
  mesh = jax.make_mesh(
    (8,), ('batch',), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec
  rows = jax.sharding.NamedSharding(mesh, spec('batch'))
  columns = jax.sharding.NamedSharding(mesh, spec(None, 'batch'))
  state = dict(
    x=jax.device_put(jnp.arange(128.0).reshape(16, 8), rows),
    keys=jax.device_put(jax.random.split(jax.random.key(0), 8), rows))
  checkpoint.save(tmp_path, 1, state)
  _, same = checkpoint.restore(tmp_path, state)
  assert _equal(same, state)
  assert same['x'].sharding == rows and same['keys'].sharding == rows
  other = dict(
    x=jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=columns),
    keys=jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 8)))
  _, moved = checkpoint.restore(tmp_path, other)
  assert moved['x'].sharding == columns and _equal(moved, state)


def test_the_newest_are_kept(tmp_path):
  for step in (1, 5, 20, 100):
    checkpoint.save(tmp_path, step, _state(step), max_to_keep=2)
  assert checkpoint.steps(tmp_path) == [20, 100]
  assert checkpoint.restore(tmp_path, _state())[0] == 100
  # What was just saved stays, even if it is not the newest.
  checkpoint.save(tmp_path, 30, _state(30), max_to_keep=1)
  assert checkpoint.steps(tmp_path) == [30, 100]


def test_the_same_step_is_replaced(tmp_path):
  checkpoint.save(tmp_path, 1, _state(1))
  checkpoint.save(tmp_path, 1, _state(2))
  step, restored = checkpoint.restore(tmp_path, _state())
  assert step == 1 and _equal(restored, _state(2))


def test_what_a_killed_process_left_is_tidied(tmp_path):
  directory = checkpoint.save(tmp_path, 1, _state(1))
  directory.rename(directory.with_name('.replaced-' + directory.name))
  for name in ('.saving-000000000002', '.removing-000000000000'):
    (directory.with_name(name) / 'state').mkdir(parents=True)
  assert _equal(checkpoint.restore(tmp_path, _state())[1], _state(1))
  assert _names(tmp_path) == [directory.name]


def _files(directory: pathlib.Path) -> list[pathlib.Path]:
  return sorted(path for path in directory.rglob('*') if path.is_file())


def _flip(path: pathlib.Path, position: int) -> None:
  data = bytearray(path.read_bytes())
  data[position % len(data)] ^= 1 << (position % 8)
  path.write_bytes(data)


@pytest.mark.parametrize('harm', ['flip', 'truncate', 'empty', 'remove'])
def test_damage_to_any_file_falls_back_to_the_one_before(tmp_path, harm):
  checkpoint.save(tmp_path, 1, _state(1))
  newest = checkpoint.save(tmp_path, 2, _state(2))
  backup = tmp_path / 'backup'
  shutil.copytree(newest, backup)
  generator = random.Random(0)
  for path in _files(newest):
    relative = path.relative_to(newest)
    data = path.read_bytes()
    if harm == 'flip':
      _flip(path, generator.randrange(len(data)))
    elif harm == 'truncate':
      path.write_bytes(data[:-1])
    elif harm == 'empty':
      path.write_bytes(b'')
    else:
      path.unlink()
    reports: list[str] = []
    step, restored = checkpoint.restore(
      tmp_path, _state(), report=reports.append)
    assert step == 1 and _equal(restored, _state(1)), relative
    assert len(reports) == 1 and str(relative) in reports[0]
    aside = newest.with_name(f'damaged-{newest.name}')
    assert aside.is_dir() and not newest.exists()
    shutil.rmtree(aside)
    shutil.copytree(backup, newest)
  assert checkpoint.restore(tmp_path, _state())[0] == 2


def test_every_byte_of_the_manifest_counts(tmp_path):
  path = checkpoint.save(tmp_path, 1, dict(x=jnp.ones(2))) / 'manifest.json'
  data = path.read_bytes()
  json.loads(data)
  for position in range(0, len(data), 7):
    _flip(path, position)
    with pytest.raises(UserError, match='passed over|is intact'):
      checkpoint.restore_subtree(
        tmp_path, jnp.ones(2), 'x', report=lambda line: None)
    path.write_bytes(data)
  assert checkpoint.restore_subtree(tmp_path, jnp.ones(2), 'x')


def test_a_checkpoint_under_another_step_is_damaged(tmp_path):
  directory = checkpoint.save(tmp_path, 1, _state())
  directory.rename(directory.with_name('000000000009'))
  with pytest.raises(UserError, match='set aside were damaged-000000000009'):
    checkpoint.restore(tmp_path, _state(), report=lambda line: None)


def test_all_damaged_is_an_error_that_lasts(tmp_path, caplog):
  for _ in range(2):
    _flip(_files(checkpoint.save(tmp_path, 1, _state()))[-1], 99)
    with pytest.raises(UserError, match='no checkpoint in .* is intact'):
      checkpoint.restore(tmp_path, _state())
  assert 'set aside as damaged-000000000001' in caplog.text
  assert _names(tmp_path) == [
    'damaged-000000000001', 'damaged-000000000001-2']
  with pytest.raises(UserError, match='is intact'):
    checkpoint.restore(tmp_path, _state())
  with pytest.raises(UserError, match='is intact'):
    checkpoint.restore_subtree(tmp_path, 1, 'step')


@pytest.mark.parametrize('change, words', [
  (dict(step=jnp.float32(0)), r"'step' is int32\[\] there and float32\[\]"),
  (dict(replay={'frames': np.zeros((5, 3), np.uint8)}),
   r"'replay/frames' is uint8\[5,2\] there and uint8\[5,3\] here"),
  (dict(replay={'images': np.zeros((5, 2), np.uint8)}),
   "has no 'replay/images'"),
  (dict(replay=None), "has 'replay/frames', which is not expected"),
  (dict(environment=jnp.ones(1)), "has no 'environment'"),
])
def test_another_configuration_is_no_damage(tmp_path, change, words):
  directory = checkpoint.save(tmp_path, 1, _state())
  with pytest.raises(UserError, match=words):
    checkpoint.restore(tmp_path, _state()._replace(**change))
  assert _names(tmp_path) == [directory.name]
  assert checkpoint.restore(tmp_path, _state())[0] == 1


def test_subtree_reads_and_changes_nothing_else(tmp_path):
  state = _state(3)
  checkpoint.save(tmp_path, 1, _state(1))
  newest = checkpoint.save(tmp_path, 2, state)
  (newest.parent / '.saving-000000000003').mkdir()
  shutil.rmtree(newest / 'state' / 'replay')
  before = _names(tmp_path)
  step, params = checkpoint.restore_subtree(
    tmp_path, state.train.params, 'train/params')
  assert step == 2 and _equal(params, state.train.params)
  _, train = checkpoint.restore_subtree(tmp_path, state.train, 'train')
  assert _equal(train, state.train)
  with pytest.raises(UserError, match="has no 'train/params/dense/bias'"):
    checkpoint.restore_subtree(
      tmp_path, {'dense': {'bias': 0}}, 'train/params')

  reports: list[str] = []
  _flip(_files(newest / 'state' / 'train')[-1], 3)
  step, params = checkpoint.restore_subtree(
    tmp_path, state.train.params, 'train/params', report=reports.append)
  assert step == 1 and _equal(params, _state(1).train.params)
  assert len(reports) == 1 and 'passed over' in reports[0]
  assert _names(tmp_path) == before


def test_a_failed_save_leaves_the_one_before(tmp_path):
  checkpoint.save(tmp_path, 1, _state(1))
  with pytest.raises((TypeError, ValueError)):
    checkpoint.save(tmp_path, 2, dict(text='not an array'))
  step, restored = checkpoint.restore(tmp_path, _state())
  assert step == 1 and _equal(restored, _state(1))


def test_saving_and_restoring_say_nothing(tmp_path, capfd, caplog, recwarn):
  checkpoint.save(tmp_path, 1, _state())
  checkpoint.restore(tmp_path, _state())
  assert capfd.readouterr() == ('', '')
  assert not caplog.records and not recwarn.list


SAVER = '''
import sys
import jax, numpy as np
from muzero_jax.runs import checkpoint
def state(step):
  return dict(x=np.full((64, 1024), step), y=dict(z=np.full(7, step)),
              key=jax.random.key(step))
workdir = sys.argv[1]
restored = checkpoint.restore(workdir, state(0))
step = 0 if restored is None else restored[0]
while True:
  step += 1
  checkpoint.save(workdir, step, state(step), max_to_keep=10**6)
  print(step, flush=True)
'''


def test_kill_at_random_moments_loses_no_saved_step(tmp_path):
  generator = random.Random(1)
  saved: list[int] = []
  for _ in range(4):
    process = subprocess.Popen(
      [sys.executable, '-c', SAVER, str(tmp_path)], text=True,
      stdout=subprocess.PIPE)
    assert process.stdout
    first = process.stdout.readline()
    start = time.monotonic()
    second = process.stdout.readline()
    assert first and second, 'the saver died'
    saved += [int(first), int(second)]
    # Within a few saves, however long one takes here.
    taken = time.monotonic() - start
    timer = threading.Timer(
      generator.uniform(0.1, 3) * taken, process.send_signal, [signal.SIGKILL])
    timer.start()
    saved += [int(line) for line in process.stdout if line.endswith('\n')]
    assert process.wait() == -signal.SIGKILL
    timer.join()
  assert saved == sorted(saved) and len(saved) >= 8

  reports: list[str] = []
  abstract = dict(x=np.zeros((64, 1024), int), y=dict(z=np.zeros(7, int)),
                  key=jax.random.key(0))
  restored = []
  while result := checkpoint.restore(
      tmp_path, abstract, report=reports.append):
    step, state = result
    assert (state['x'] == step).all() and (state['y']['z'] == step).all()
    assert state['key'] == jax.random.key(step)
    restored.append(step)
    shutil.rmtree(tmp_path / 'checkpoints' / f'{step:012d}')
  assert set(saved) <= set(restored)
  assert not reports


@pytest.mark.thorough
def test_a_run_killed_twice_goes_on_as_if_it_had_not_been(tmp_path):
  result = kill.measure(
    tmp_path, num_kills=2, num_iterations=150, seed=0, most_seconds=2.0,
    report=lambda line: None)
  assert len(result['kills']) == 2
  assert all(k['lost'] == [] and k['damaged'] == 0 for k in result['kills'])
  assert result['identical'] and result['num_arrays'] > 40
  assert result['steps_reported'] > 0
