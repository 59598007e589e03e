"""The Go Text Protocol: coordinates, answers, and engines that misbehave."""

import time

import fake_engine
import pytest

from muzero_jax.evaluation import gtp


@pytest.mark.parametrize('action, size, vertex', [
  (0, 9, 'A9'), (7, 9, 'H9'), (8, 9, 'J9'), (80, 9, 'J1'), (72, 9, 'A1'),
  (81, 9, 'pass'), (10, 9, 'B8'), (360, 19, 'T1'), (8, 19, 'J19')])
def test_coordinates_have_no_letter_i(action, size, vertex):
  assert gtp.to_vertex(action, size) == vertex
  assert gtp.to_action(vertex, size) == action
  assert gtp.to_action(f' {vertex.lower()} ', size) == action


def test_every_action_returns():
  for size in (5, 9, 19, 25):
    for action in range(size * size + 1):
      assert gtp.to_action(gtp.to_vertex(action, size), size) == action


@pytest.mark.parametrize('vertex', [
  'I5', 'K1', 'A0', 'A10', 'A', '5', '', 'A-1', 'A1 B2', 'Z77', 'A٣',
  'A' + '9' * 5000])
def test_what_is_no_move_is_the_engines_error(vertex):
  with pytest.raises(gtp.EngineError, match='is no move on a board of 9x9'):
    gtp.to_action(vertex, 9)


def test_resign_is_no_action():
  assert gtp.to_action('resign', 9) == gtp.RESIGN < 0
  for action in (-1, 82):
    with pytest.raises(ValueError, match='must be from 0 to 81'):
      gtp.to_vertex(action, 9)


def test_an_engine_answers(tmp_path):
  with gtp.Engine(fake_engine.write(tmp_path)) as engine:
    assert engine.send('boardsize 9') == ''
    assert engine.send('genmove b') == 'A9'
    assert engine.send('play w B9') == ''
    assert engine.send('genmove b') == 'C9'
    assert engine.send('known_command x') == 'true'
  assert fake_engine.log(tmp_path)[:2] == ['boardsize 9', 'genmove b']
  assert engine._process.returncode is not None


@pytest.mark.parametrize('how, words', [
  ('die', "at 'genmove w': died with status 3"),
  ('hang', "at 'genmove w': no answer within 1.5 s"),
  ('rubbish', "answered 'I think I shall play B9', not GTP"),
  ('flood', 'answered over 65536 bytes without an end'),
])
def test_engines_that_misbehave(tmp_path, how, words):
  command = fake_engine.write(tmp_path, how, at=2)
  with gtp.Engine(command, timeout=1.5) as engine:
    assert engine.send('genmove b') == 'A9'
    start = time.monotonic()
    with pytest.raises(gtp.EngineError, match=words):
      engine.send('genmove w')
    assert time.monotonic() - start < 10
  assert engine._process.returncode is not None


def test_a_dead_engine_stays_dead(tmp_path):
  with gtp.Engine(fake_engine.write(tmp_path, 'die', at=1)) as engine:
    for _ in range(2):
      with pytest.raises(gtp.EngineError, match='died with status 3'):
        engine.send('genmove b')


def test_a_refusal_leaves_the_engine_alive(tmp_path):
  with gtp.Engine(fake_engine.write(tmp_path, 'refuse', at=1)) as engine:
    with pytest.raises(gtp.EngineError, match='refused: illegal move'):
      engine.send('play b A1')
    assert engine.send('genmove w') == 'A9'


def test_engines_that_are_not_there(tmp_path):
  with pytest.raises(gtp.EngineError, match='no_such_go is not installed'):
    gtp.find('no_such_go')
  with pytest.raises(gtp.EngineError, match='cannot be started: No such file'):
    gtp.Engine([str(tmp_path / 'no_such_go')])


def test_a_shell_is_found_by_name():
  assert gtp.find('sh').endswith('/sh')
