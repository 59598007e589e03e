"""Processes that hear of each other through a shared directory."""

import json
import socket
import threading
import time

import numpy as np
import pytest

from muzero_jax.errors import UserError
from muzero_jax.runs import joining, peers
from muzero_jax.runs.joining import Wanted
from muzero_jax.runs.peers import ALONE, Several


class _Together:
  """In place of jax's collective: rows of threads, in the order of indices."""

  def __init__(self, count):
    self._barrier = threading.Barrier(count)
    self._rows = [None] * count

  def gather(self, index, row):
    self._rows[index] = row
    self._barrier.wait(10)
    rows = np.stack(self._rows)
    self._barrier.wait(10)
    return rows


@pytest.fixture
def two(tmp_path):
  together = _Together(2)
  made = []
  for index in range(2):
    one = Several(tmp_path, 2, index, 60.0)
    one._gather = lambda row, index=index: together.gather(index, row)
    made.append(one)
  yield made
  for one in made:
    one.end()


def _both(two, function):
  """Return what a function of either returns or raises, in two threads."""
  found = [None, None]

  def call(index):
    try:
      found[index] = function(two[index])
    except Exception as error:  # noqa: B902 - compared by the caller.
      found[index] = error

  threads = [threading.Thread(target=call, args=(i,)) for i in range(2)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(20)
  return found


def test_one_process_waits_for_nobody():
  ALONE.meet()
  ALONE.check_same('all', 'x')
  assert ALONE.agree(3, 0) == (3, 0)
  assert ALONE.is_first and ALONE.count == 1
  with ALONE.waiting():
    pass


def test_all_take_the_largest_number(two):
  of = {0: (15, 0, 2**40), 1: (0, 1, 3)}
  found = _both(two, lambda one: one.agree(*of[one.index]))
  assert found == [(15, 1, 2**40)] * 2


def _start(two):
  assert _both(two, lambda one: one.start()) == [None, None]


def test_a_meeting_waits_for_the_last(two):
  _start(two)
  came = []

  def come(one):
    time.sleep(0.3 * one.index)
    before = time.monotonic()
    one.meet()
    came.append(time.monotonic())
    return time.monotonic() - before

  first, last = _both(two, come)
  assert first > 0.2 and last < 0.2
  assert abs(came[0] - came[1]) < 0.2


def test_what_differs_is_named(two):
  texts = [
    json.dumps(dict(seed=seed, env_id='x'), indent=1) for seed in (1, 2)]
  for found in _both(
      two, lambda one: one.check_same('configuration', texts[one.index])):
    assert isinstance(found, UserError)
    assert 'configuration: process 1 has "seed": 2' in str(found)
  assert _both(two, lambda one: one.check_same('x', 'same')) == [None, None]


def test_texts_of_any_length_are_compared(two):
  long = 'x' * 100_000
  assert _both(two, lambda one: one.check_same('x', long)) == [None, None]
  shorter = {0: long, 1: long[:-1]}
  for found in _both(
      two, lambda one: one.check_same('x', shorter[one.index])):
    assert isinstance(found, UserError)


def test_a_directory_that_is_not_shared_is_told(tmp_path, monkeypatch):
  monkeypatch.setattr(peers, '_DEAD', 0.3)
  together = _Together(2)
  two = [Several(tmp_path / str(i), 2, i, 60.0) for i in range(2)]
  for i, one in enumerate(two):
    one._gather = lambda row, i=i: together.gather(i, row)
  _start(two)
  for index, found in enumerate(_both(two, lambda one: one.check_shared())):
    assert isinstance(found, UserError)
    assert f'process {index} does not see' in str(found)
  for one in two:
    one.end()


def test_one_directory_is_seen_by_both(two):
  _start(two)
  assert _both(two, lambda one: one.check_shared()) == [None, None]


def test_a_process_without_beats_is_dead(two, monkeypatch):
  monkeypatch.setattr(peers, '_DEAD', 0.5)
  monkeypatch.setattr(peers, '_BEAT', 0.1)
  left = []
  monkeypatch.setattr(peers, 'leave', lambda *x: left.append(x))
  monkeypatch.setattr(two[1], '_thread', threading.Thread())  # No more beats.
  _start(two)
  time.sleep(0.2)
  assert two[0].find_dead() is None
  deadline = time.monotonic() + 10
  while not left and time.monotonic() < deadline:
    time.sleep(0.05)
  line, status = left[0]
  assert 'process 1 has not been heard of' in line and status == 1


def test_a_process_that_ends_says_why(two):
  _start(two)
  two[1].end('error: seed = x')
  two[0]._listen()
  assert two[0].find_dead() == 'process 1 has ended: error: seed = x'
  assert two[0].explain(RuntimeError('Gloo')) == two[0].find_dead()


def test_a_process_that_is_done_is_not_dead(two, monkeypatch):
  monkeypatch.setattr(peers, '_DEAD', 0.1)
  _start(two)
  two[1].end()
  two[0]._listen()
  time.sleep(0.3)
  assert two[0].find_dead() is None


def test_a_collective_that_does_not_return_ends_the_process(
    two, monkeypatch):
  monkeypatch.setattr(peers, '_BEAT', 0.1)
  left = []
  monkeypatch.setattr(peers, 'leave', lambda *x: left.append(x))
  two[0]._timeout = 0.3
  _start(two)
  with two[0].waiting():
    deadline = time.monotonic() + 10
    while not left and time.monotonic() < deadline:
      time.sleep(0.05)
  assert 'a collective has not returned' in left[0][0]


@pytest.mark.parametrize('text', [
  '', '[', '[1]', '{"a": 1}', '["life", "x", 0, "running"]',
  '["life", 2, null, 4]', '["another life", 7, 2, "running"]'])
def test_a_beat_that_is_none_counts_for_nothing(two, text):
  one = two[0]
  one._life = 'life'
  one._folder.mkdir()
  (one._folder / '1.json').write_text(text)
  assert one._read(1) == peers._NO_BEAT
  (one._folder / '1.json').write_text('["life", 7, 2, "running"]')
  assert one._read(1) == (7, 2, 'running')


def test_what_an_earlier_life_has_left_counts_for_nothing(two):
  """It ended with an error, after many meetings."""
  two[0]._folder.mkdir()
  for index in range(2):
    (two[0]._folder / f'{index}.json').write_text(
      json.dumps(['earlier', 99, 99, 'error: x']))
  _start(two)
  for one in two:
    one._listen()
    assert one.find_dead() is None
  came = _both(two, lambda one: (
    time.sleep(0.3 * one.index), one.meet(), time.monotonic())[-1])
  assert abs(came[0] - came[1]) < 0.2


def test_a_single_process_joins_nobody(tmp_path):
  joining.check(Wanted())
  with joining.joined(Wanted(), tmp_path / 'run') as found:
    assert found is ALONE and joining.current() is ALONE
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('wanted, message', [
  (Wanted(2, 0, ''), "coordinator_address = ''"),
  (Wanted(2, 0, '10.0.0.1'), "coordinator_address = '10.0.0.1'"),
  (Wanted(2, 0, ':80'), "coordinator_address = ':80'"),
  (Wanted(2, 0, 'host:0'), "coordinator_address = 'host:0'"),
  (Wanted(2, 0, 'host:70000'), "coordinator_address = 'host:70000'"),
  (Wanted(1, 0, 'host:80'), 'num_processes = 1'),
  (Wanted(2, 2, 'host:80'), 'process_id = 2: .* allowed is 0 to 1'),
  (Wanted(2, 0, 'auto'), "coordinator_address = 'auto'"),
  (Wanted(1, 1, 'auto'), "coordinator_address = 'auto'"),
  (Wanted(1, 1, ''), 'process_id = 1'),
])
def test_flags_that_do_not_fit_together(wanted, message):
  with pytest.raises(UserError, match=message):
    joining.check(wanted)


def test_a_port_in_use_and_one_where_nobody_listens():
  with socket.socket() as one:
    one.bind(('', 0))
    one.listen()
    address = f'127.0.0.1:{one.getsockname()[1]}'
    with pytest.raises(UserError, match=f'{address}.*cannot listen at port'):
      joining._check_address(Wanted(2, 0, address), 0.1)
    joining._check_address(Wanted(2, 1, address), 0.1)
  joining._check_address(Wanted(2, 0, address), 0.1)
  with pytest.raises(UserError, match=f'{address}.*not reached'):
    joining._check_address(Wanted(2, 1, address), 0.1)
