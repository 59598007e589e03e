"""Saves in the background: the same bytes, errors in the main thread."""

import pathlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_equal

from muzero_jax.errors import RunError
from muzero_jax.runs import checkpoint, record, saver

PLENTY, NOTHING = lambda: 1 << 40, lambda: 0


def make_state(value=1.0):
  return dict(
    x=jnp.full((64, 64), value), key=jax.random.key(3), n=np.uint8(4),
    sharded=jax.device_put(jnp.arange(16), jax.sharding.NamedSharding(
      jax.make_mesh((8,), ('d',)), jax.sharding.PartitionSpec('d'))))


def test_a_donated_state_is_saved_as_it_was(tmp_path, monkeypatch):
  lines, state = [], make_state()
  may_write, save = threading.Event(), checkpoint.save
  monkeypatch.setattr(checkpoint, 'save', lambda *args, **kwargs: (
    may_write.wait(60), save(*args, **kwargs))[1])
  with saver.Saver(tmp_path, note=lines.append, free_bytes=PLENTY) as saves:
    saves.save(7, state)
    # Written over, as training does.
    step = jax.jit(
      lambda s: dict(s, x=s['x'] + 1, sharded=s['sharded'] * 0),
      donate_argnums=0)
    state = step(state)
    saves.poll()
    assert lines == [] and checkpoint.steps(tmp_path) == []
    assert record.last_saved(tmp_path) is None
    may_write.set()
    saves.finish()
    assert record.last_saved(tmp_path) == 7
    saves.poll()
  assert len(lines) == 1 and lines[0].startswith(
    'saved the checkpoint of step 7 in ')
  assert_trees_equal(
    checkpoint.restore(tmp_path, make_state(0.0))[1], make_state())


def test_both_ways_write_the_same_arrays(tmp_path):
  for name, free in (('a', PLENTY), ('b', NOTHING), ('c', lambda: None)):
    with saver.Saver(
        tmp_path / name, free_bytes=free, note=lambda line: None) as saves:
      saves.save(1, make_state())
      if free is not PLENTY:  # Nothing is on its way.
        assert checkpoint.steps(tmp_path / name) == [1]
  states = [
    checkpoint.restore(tmp_path / name, make_state(0.0))[1] for name in 'abc']
  assert_trees_equal(states[0], states[1])
  assert_trees_equal(states[0], states[2])
  described = [
    checkpoint.manifest_lib.verify(
      tmp_path / name / 'checkpoints' / '000000000001')['leaves']
    for name in 'abc']
  assert described[0] == described[1] == described[2]


def test_one_is_on_its_way_at_most_and_the_last_is_waited_for(tmp_path):
  lines, most = [], []
  count = lambda: sum(
    thread.name.startswith('save ') for thread in threading.enumerate())
  with saver.Saver(tmp_path, note=lines.append, free_bytes=PLENTY) as saves:
    for step in range(1, 6):
      saves.save(step, make_state(step))
      most.append(count())
  assert max(most) == 1 and count() == 0
  assert len(lines) == 5 and checkpoint.steps(tmp_path) == [4, 5]
  assert saves.seconds_blocked > 0


@pytest.mark.parametrize('free', [PLENTY, NOTHING])
def test_a_failure_is_told_by_the_main_thread(tmp_path, monkeypatch, free):
  lines = []
  saves = saver.Saver(tmp_path, note=lines.append, free_bytes=free)
  saves.save(1, make_state())
  saves.finish()

  def fail(*args, **kwargs):
    raise OSError('no space left')

  with monkeypatch.context() as patch:
    patch.setattr(checkpoint, 'save', fail)
    with pytest.raises(RunError, match='step 2: .* no space left'):
      saves.save(2, make_state())
      saves.finish()
    # The error of the body is the one that is raised.
    if free is PLENTY:
      with pytest.raises(KeyError), saves:
        saves.save(3, make_state())
        raise KeyError
      assert 'step 3: ' in lines[-1]
  assert record.last_saved(tmp_path) == 1
  assert 'step 1 ' in lines[0]
  saves.save(4, make_state(), wait=True)
  assert checkpoint.steps(tmp_path) == [1, 4]


def test_space_of_a_failed_save_is_given_back(tmp_path, monkeypatch):
  from muzero_jax.runs import manifest

  def fail(directory, facts):
    assert pathlib.Path(directory).exists()
    raise OSError('no space left')

  monkeypatch.setattr(manifest, 'seal', fail)
  with pytest.raises(OSError, match='no space'):
    checkpoint.save(tmp_path, 1, make_state())
  assert not list((tmp_path / 'checkpoints').iterdir())


def test_where_none_may_be_written_none_is(tmp_path):
  def refuse():
    raise RunError('moved')

  with pytest.raises(RunError, match='moved'), saver.Saver(
      tmp_path, note=pytest.fail, check=refuse, free_bytes=PLENTY) as saves:
    saves.save(7, make_state())
  assert checkpoint.steps(tmp_path) == []
