"""Writers in threads of their own: they hold up nobody."""

import threading
import time

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
