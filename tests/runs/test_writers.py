"""Writers in threads of their own: they hold up nobody."""

import sys
import threading
import time
import types

import pytest

from muzero_jax.runs import writers


class _Blocks:
  """Takes rows once it is released."""

  def __init__(self):
    self.released = threading.Event()
    self.rows = []

  def write(self, step, metrics):
    self.released.wait(30)
    self.rows.append((step, metrics))

  def close(self):
    self.released.wait(30)


def _wait_for(condition):
  end = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.01)


def test_rows_come_in_order_before_the_end():
  mine = _Blocks()
  mine.released.set()
  over = writers.HandOver(mine)
  for step in range(100):
    over.write(step, {'x': step})
  over.close()
  assert mine.rows == [(step, {'x': step}) for step in range(100)]
  assert over.name == '_Blocks'


def test_one_that_blocks_is_found_out_and_holds_up_nobody():
  mine = _Blocks()
  over = writers.HandOver(mine, patience=0.1, patience_to_close=0.2)
  start = time.monotonic()
  over.write(0, {})
  time.sleep(0.3)
  with pytest.raises(TimeoutError, match='not taken within 0.1 s'):
    over.write(1, {})
  with pytest.raises(TimeoutError, match='not closed within 0.2 s'):
    over.close()
  assert time.monotonic() - start < 5
  mine.released.set()


def test_rows_that_wait_are_bounded(monkeypatch):
  monkeypatch.setattr(writers, '_MOST_WAITING', 3)
  mine = _Blocks()
  over = writers.HandOver(mine)
  over.write(0, {})
  _wait_for(over._rows.empty)
  for step in (1, 2, 3):
    over.write(step, {})
  with pytest.raises(TimeoutError, match='3 rows are waiting'):
    over.write(4, {})
  mine.released.set()


def test_tensorboard_hides_the_life_that_is_repeated(tmp_path):
  pytest.importorskip('tensorboardX')
  from tensorboardX.proto import event_pb2

  for start in (0, 40):
    board = writers.TensorBoard(tmp_path / 'a' / 'b', start)
    board.write(50, {'loss': 0.5, 'one/two': 2.0})
    board.close()
  paths = sorted((tmp_path / 'a' / 'b').iterdir())
  found = []
  for path in paths:
    data, at = path.read_bytes(), 0
    while at < len(data):
      size = int.from_bytes(data[at:at + 8], 'little')
      found.append(event_pb2.Event.FromString(data[at + 12:at + 12 + size]))
      at += 16 + size
  scalars = [
    (event.step, value.tag, value.simple_value)
    for event in found for value in event.summary.value]
  assert sorted(set(scalars)) == [(50, 'loss', 0.5), (50, 'one/two', 2.0)]
  starts = [e.step for e in found if e.session_log.status == 1]
  assert starts == [41]


class _FakeRun:
  def __init__(self):
    self.rows, self.metrics, self.finished = [], [], False

  def log(self, row):
    self.rows.append(row)

  def define_metric(self, name, step_metric):
    self.metrics.append((name, step_metric))

  def finish(self):
    self.finished = True


@pytest.fixture(name='fake_wandb')
def _fake_wandb(monkeypatch):
  """A module that notes what is asked of it; nobody is logged in."""
  fake = types.ModuleType('wandb')
  fake.runs = []

  def init(**kwargs):
    fake.runs.append((kwargs, _FakeRun()))
    return fake.runs[-1][1]

  fake.init = init
  fake.Settings = lambda **kwargs: kwargs
  fake.is_known = False
  fake.login = lambda prompt: prompt or fake.is_known
  monkeypatch.setitem(sys.modules, 'wandb', fake)
  for name in ('WANDB_MODE', 'WANDB_PROJECT', 'WANDB_NAME'):
    monkeypatch.delenv(name, raising=False)
  return fake


def test_rows_go_to_one_run_of_wandb_in_each_life(tmp_path, fake_wandb):
  (tmp_path / 'config.json').write_text('{"num_envs": 4}')
  for step in (10, 5):
    mine = writers.NAMED['wandb'].make(tmp_path, step)
    before = len(fake_wandb.runs)
    mine.write(step, {'loss': 0.5})
    mine.write(step + 1, {'loss': 0.25})
    assert len(fake_wandb.runs) == before + 1  # Begun with the first row.
    mine.close()
  (first, run), (second, other) = fake_wandb.runs
  assert run.rows == [{'step': 10, 'loss': 0.5}, {'step': 11, 'loss': 0.25}]
  assert other.rows[0] == {'step': 5, 'loss': 0.5}
  assert run.metrics == [('*', 'step')] and run.finished
  assert first['id'] == second['id'] and first['resume'] == 'allow'
  assert first['config'] == {'num_envs': 4}
  assert first['dir'] == str(tmp_path) and first['name'] == tmp_path.name
  assert first['mode'] == 'offline' and first['project'] == 'muzero_jax'


def test_wandb_is_told_by_its_own_variables(
    tmp_path, fake_wandb, monkeypatch):
  fake_wandb.is_known = True
  writers.WeightsAndBiases(tmp_path).write(1, {})
  monkeypatch.setenv('WANDB_MODE', 'disabled')
  monkeypatch.setenv('WANDB_PROJECT', 'mine')
  writers.WeightsAndBiases(tmp_path).write(1, {})
  assert [made['mode'] for made, _ in fake_wandb.runs] == ['online', 'disabled']
  assert fake_wandb.runs[1][0]['project'] == 'mine'
  writers.WeightsAndBiases(tmp_path).close()  # Nothing was begun.
  assert len(fake_wandb.runs) == 2


def test_without_a_network_wandb_is_offline(tmp_path, fake_wandb):
  def login(prompt):
    raise ConnectionError('no network')

  fake_wandb.login = login
  writers.WeightsAndBiases(tmp_path).write(1, {})
  assert [made['mode'] for made, _ in fake_wandb.runs] == ['offline']


@pytest.mark.thorough
def test_wandb_writes_offline(tmp_path, monkeypatch):
  pytest.importorskip('wandb')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  for name in ('WANDB_CONFIG_DIR', 'WANDB_CACHE_DIR', 'WANDB_DATA_DIR'):
    monkeypatch.setenv(name, str(tmp_path / 'home'))
  workdir = tmp_path / 'run'
  workdir.mkdir()
  over = writers.HandOver(
    writers.WeightsAndBiases(workdir), patience_to_close=120)
  over.write(1, {'loss': 0.5})
  over.write(2, {'loss': 0.25})
  over.close()
  # Its service writes in a process of its own.
  _wait_for(lambda: [
    b'loss' in path.read_bytes()
    for path in workdir.glob('wandb/offline-run-*/run-*.wandb')] == [True])
