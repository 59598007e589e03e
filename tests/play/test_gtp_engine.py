"""The GTP engine: dialogues, positions, searches, time, and one process."""

import io
import os
import re
import signal
import sys
import threading

import gtp_agents
import jax
import numpy as np
import pytest
import tiny_run

from muzero_jax import envs
from muzero_jax.envs import pgx_games
from muzero_jax.evaluation import gtp
from muzero_jax.play.gtp import engine as gtp_engine
from muzero_jax.play.gtp import session as gtp_session
from muzero_jax.runs import run_dir

pytest.importorskip('pgx')

_INFO = re.compile(
  r'info move (\S+) visits (\d+) winrate (\d+) prior (\d+) order (\d+) '
  r'pv ((?:(?!info)\S+ ?)+)')


def _engine(agent):
  return gtp_engine.Engine(agent, analysis_simulations=8)


@pytest.fixture(scope='module')
def go_agent():
  return gtp_agents.make('go_9x9')


@pytest.fixture(scope='module')
def go(go_agent):
  engine = _engine(go_agent)
  yield engine
  engine.close()


@pytest.fixture(scope='module')
def small_agent():
  return gtp_agents.make('tic_tac_toe')


@pytest.fixture(scope='module')
def small(small_agent):
  engine = _engine(small_agent)
  yield engine
  engine.close()


def talk(engine, *lines, end=b'\n'):
  """What an engine answers to commands, after a new game has begun."""
  engine.game.clear()
  engine.clock.set(None)
  engine.has_quit = False
  target = io.BytesIO()
  source = b''.join(
    (x if isinstance(x, bytes) else x.encode()) + end for x in lines)
  gtp_session.serve(engine, io.BytesIO(source), target)
  text = target.getvalue().decode()
  assert text.endswith('\n\n') or not text
  return text.split('\n\n')[:-1]


def infos(text):
  """The moves of a line of analysis."""
  found = [
    (move, *map(int, numbers), line.split())
    for move, *numbers, line in _INFO.findall(text)]
  assert ' '.join(text.split()) == ' '.join(
    f'info move {m} visits {v} winrate {w} prior {p} order {o} pv '
    f'{" ".join(line)}' for m, v, w, p, o, line in found)
  return found


def test_a_scripted_dialogue(go):
  found = talk(
    go, 'protocol_version', 'name', '3 version', 'known_command genmove',
    'known_command fly', 'boardsize 9', 'clear_board', 'komi 7.5',
    'time_settings 0 1 0', 'play B D4', 'play W E5', 'final_score',
    'undo', '10 undo', 'undo', 'final_score', 'fly', 'boardsize 19',
    'boardsize', 'komi x', 'play B', 'play green D4', 'play B D44x',
    'kgs-time_settings none', 'quit', 'name')
  assert found == [
    '= 2', '= muzero_jax', '=3 0.1.0 (go_9x9, step 7, 4 simulations)',
    '= true', '= false', '= ', '= ', '= ', '= ', '= ', '= ', '= W+7.5', '= ',
    '=10 ', '? cannot undo', '= W+7.5', '? unknown command',
    '? unacceptable size', '? syntax error', '? syntax error',
    '? syntax error', '? syntax error', '? syntax error', '= ', '= ']
  listed = talk(go, 'list_commands')[0].removeprefix('= ').split('\n')
  assert len(set(listed)) == len(listed) == 20
  assert {'komi', 'lz-analyze', 'lz-genmove_analyze', 'time_left'} <= {*listed}
  assert all(
    talk(go, f'known_command {name}') == ['= true'] for name in listed)


def test_lines_of_any_kind(small):
  assert talk(
    small, '# only a comment', '', '  \t ', '5\tNAME # why', b'\xff\xfe name',
    b'name \xff', 'na\x01me', '7', 'x' * 100_000, '8 ' + 'x' * 100_000, 'name',
    end=b'\r\n') == [
      '=5 muzero_jax', '? unknown command', '= muzero_jax', '= muzero_jax',
      '?7 unknown command', '? a line has at most 16384 bytes',
      '?8 a line has at most 16384 bytes', '= muzero_jax']
  assert talk(small, 'PLAY Black a3', 'play w A3', 'play WHITE B2') == [
    '= ', '? illegal move', '= ']
  # The end of the input ends it, in the middle of a line too.
  assert talk(small, b'name', end=b'') == ['= muzero_jax']
  assert talk(small) == []


def test_the_board_is_shown(go):
  assert talk(go, 'play b A9', 'play w J1', 'showboard')[-1] == '\n'.join([
    '= go_9x9, 2 moves, last move white J1, black to move',
    '   A B C D E F G H J',
    ' 9 X . . . . . . . . 9',
    *(f' {i} . . . . . . . . . {i}' for i in range(8, 1, -1)),
    ' 1 . . . . . . . . O 1',
    '   A B C D E F G H J', 'X Black, O White'])


# White takes the stone at E4 by D4; Black may not take back at once.
_KO = (
  'play b D5', 'play w E5', 'play b C4', 'play w F4', 'play b D3',
  'play w E3', 'play b E4', 'play w D4')
_E4 = 49


def test_illegal_moves(go):
  found = talk(
    go, *_KO, 'play b E4', 'play b E5', 'play b K1', 'play b A10', 'play b I5',
    'play b J9', 'play w J8', 'play b E4', 'play w E4')
  # A ko, a taken point, and no such points; later the ko may be taken.
  assert found[len(_KO):] == [
    '? illegal move', '? illegal move', '? illegal move', '? illegal move',
    '? syntax error', '= ', '= ', '= ', '? illegal move']
  assert talk(go, 'play b A2', 'play b B1', 'play w A1')[-1] == (
    '? illegal move')  # Suicide.


def test_a_repeated_position_is_illegal(go):
  # Two passes lift the ko, so that pgx's mask allows the move that would lose.
  talk(go, *_KO, 'play b pass', 'play w pass')
  assert pgx_games.go_legal_actions('go_9x9')(
    jax.tree.map(lambda x: x[0], go.game.position.state.state._x))[_E4]
  assert not go.game.legal_actions()[_E4]
  assert talk(go, *_KO, 'play b pass', 'play w pass', 'play b E4')[-1] == (
    '? illegal move')
  assert len(go.game.moves) == 10


def test_a_colour_may_move_twice_in_go(go):
  found = talk(go, 'play b D4', 'play b E5', 'undo', 'genmove b')
  # D4 is 5 rows down; the undo took the inserted pass back, too.
  assert [move for _, move in go.game.moves][:2] == [48, 81]
  assert go.game.moves[2][0] == 'black' and found[-1] != '= D4'
  # A move that is refused inserts nothing.
  assert talk(go, 'play b D4', 'play b D4')[-1] == '? illegal move'
  assert go.game.moves == [('black', 48)]


def test_after_two_passes(go):
  # Nothing is left to choose but a pass, until somebody plays on.
  assert talk(
    go, 'play b D4', 'play w pass', 'play b pass', 'genmove w', 'genmove b',
    'reg_genmove w', 'lz-genmove_analyze w', 'final_score', 'undo', 'undo',
    'undo', 'play w E5', 'final_score')[3:] == [
      '= pass', '= pass', '= pass', '= play pass', '= B+73.5', '= ', '= ',
      '= ', '= ', '= W+7.5']
  assert not go.game.is_over
  assert talk(go, 'komi 0', 'final_score', 'komi 6.5', 'final_score',
              'komi 7.5') == ['= ', '= 0', '= ', '= W+6.5', '= ']


def test_moves_are_those_of_the_agent(small, small_agent):
  # With a memory of two frames, the other's among them.
  found = talk(
    small, 'play b A3', 'play w B2', 'play b C1', 'reg_genmove w', 'genmove w')
  env = envs.make(small_agent.config, num_envs=1)
  step = jax.jit(env.step)
  state, row = env.init(jax.random.key(0))
  memory = small_agent.init_state(1)
  for action in (0, 4, 8, None):
    small_agent.reset()
    small_agent._state = memory
    chosen = small_agent.act(
      row.observation, row.legal_actions, row.is_first)
    if action is not None:
      memory = small_agent._state._replace(action=np.array([action]))
      state, row = step(state, np.array([action]), jax.random.key(0))
  row, column = divmod(int(chosen[0]), 3)
  assert found[3:] == [f'= {"ABC"[column]}{3 - row}'] * 2


def test_a_game_of_tic_tac_toe(small):
  found = talk(
    small, 'boardsize 9', 'boardsize 3', 'komi 7.5', 'play w A1', 'genmove w',
    'play b A1', 'play w A3', 'play b B1', 'play b C1', 'play w pass',
    'play w B3', 'final_score', 'play b C1', 'final_score', 'play w B2',
    'genmove w', 'lz-genmove_analyze w', 'showboard', 'undo', 'final_score')
  assert found[:-3] == [
    '? unacceptable size', '= ', '? unknown command',
    '? illegal move: black is to move', '? black is to move', '= ', '= ', '= ',
    '? illegal move: white is to move', '? illegal move', '= ',
    '? cannot score', '= ', '= B+1', '? illegal move', '? the game is over',
    '? the game is over']
  assert found[-3].split('\n')[2:5] == [
    ' 3 O O . 3', ' 2 . . . 2', ' 1 X X X 1']
  assert found[-2:] == ['= ', '? cannot score']


def test_analysis_that_leads_to_a_move(go):
  text = talk(go, 'play b D4', '2 lz-genmove_analyze w 10')[1]
  head, line, last = text.split('\n')
  assert head == '=2 '
  found = infos(line)
  # Four simulations of four candidates.
  assert sum(visits for _, visits, *_ in found) == 4
  assert [order for *_, order, _ in found] == [0, 1, 2, 3]
  for move, _, winrate, prior, _, line in found:
    assert line[0] == move and len(line) <= 4
    assert 0 <= winrate <= 10_000 and 0 < prior < 10_000
  assert found[0][1] == max(visits for _, visits, *_ in found)
  assert len({winrate for _, _, winrate, *_ in found}) > 1
  assert last == f'play {found[0][0]}'
  # The same search without analysis.
  assert talk(go, 'play b D4', 'genmove w')[1] == f'= {found[0][0]}'


def test_analysis_of_chosen_moves(small):
  text = talk(small, 'lz-analyze b 10 allow b A1,B2 1 avoid b B2 1')[0]
  assert {move for move, *_ in infos(text.split('\n')[1])} == {'A1'}
  assert talk(
    small, 'lz-analyze w', 'lz-analyze b x', 'lz-analyze avoid b D9x 1',
    'lz-genmove_analyze b allow b D9 1') == [
      '? black is to move', '? syntax error', '? syntax error',
      '? no move is left to choose from']


def test_analysis_is_streamed_until_the_next_command(small):
  small.game.clear()
  small.has_quit = False
  reading, writing = os.pipe()
  reading_answer, writing_answer = os.pipe()
  source, target = os.fdopen(reading, 'rb'), os.fdopen(writing_answer, 'wb')
  thread = threading.Thread(
    target=gtp_session.serve, args=(small, source, target))
  thread.start()
  with os.fdopen(reading_answer, 'rb') as answers:
    os.write(writing, b'9 lz-analyze 1\n')
    lines = [answers.readline().decode() for _ in range(3)]
    assert lines[0] == '=9 \n'
    # Four simulations, and the eight that the engine was made for.
    assert [sum(x[1] for x in infos(line)) for line in lines[1:]] == [4, 8]
    os.write(writing, b'# this interrupts nothing\n\n10 name\nquit\n')
    os.close(writing)
    thread.join()
    target.close()
    assert answers.read() == b'\n=10 muzero_jax\n\n= \n\n'


def test_searches_that_a_clock_allows(small, monkeypatch):
  searcher = small.searcher
  assert searcher.levels == (4, 2, 1) and searcher.shown == [4, 8]
  monkeypatch.setattr(
    searcher, 'seconds', {4: 0.4, 2: 0.2, 1: 0.1}.get)
  assert [searcher.within(x) for x in (None, 9.0, 0.4, 0.39, 0.1, 0.0)] == [
    4, 4, 4, 2, 1, 1]
  counted = []
  search = searcher.search

  def noted(position, legal, simulations):
    counted.append(simulations)
    return search(position, legal, simulations)

  monkeypatch.setattr(searcher, 'search', noted)
  monkeypatch.setattr(searcher, 'warm', lambda *given: None)
  for settings, simulations in (
    (['time_settings 300 0 0'], 4), (['time_left b 11 0'], 2),
    (['time_left b 0 0'], 1), (['time_left b 2 1'], 4),
    (['time_settings 0 0 0'], 1), (['time_settings 0 1 0'], 4),
    (['kgs-time_settings byoyomi 0 2 3'], 4),
    (['kgs-time_settings absolute 12'], 2),
    (['kgs-time_settings canadian 0 5 20'], 1),
    (['kgs-time_settings absolute 1', 'kgs-time_settings none'], 4),
  ):
    counted.clear()
    assert talk(small, *settings, 'genmove b')[-1].startswith('= ')
    assert counted == [simulations], settings
  # With a clock, an analysis is of the search that counts alone.
  counted.clear()
  talk(small, 'time_settings 0 0 0', 'lz-genmove_analyze b')
  assert counted == [1]


def test_time_is_measured(small):
  talk(small, 'time_settings 1 0 0', 'genmove b')
  # All that a clock chooses from is compiled, and was timed.
  assert all(small.searcher.seconds(level) > 0 for level in (4, 2, 1))
  left = small.clock.budget('black', 10)
  assert left < 0.1  # (1 s - reserve of 1 s) / 10: nothing to waste.
  assert talk(small, 'time_settings 5 x 0', 'time_settings 5', 'time_left b',
              'time_settings -1 0 0', 'kgs-time_settings byoyomi 1 1 0',
              'kgs-time_settings') == ['? syntax error'] * 6


def test_other_games_than_those_of_boards_are_refused(tmp_path, capsys):
  run_dir.store(tmp_path, tiny_run.config())
  found = tiny_run.answer(capsys, 'gtp', f'--workdir={tmp_path}')
  assert found.returncode == 2 and found.stdout == ''
  assert tiny_run.is_plain_line(found.stderr) and 'family' in found.stderr


def _start(folder):
  return gtp.Engine([
    sys.executable, '-m', 'experiments.gtp', f'--workdir={folder}',
    '--simulations=2', '--analysis_simulations=2'])


@pytest.mark.thorough
def test_a_process_that_our_client_drives(tmp_path, small_agent):
  """Also reads a run directory, and ends with its input."""
  gtp_agents.store(tmp_path, small_agent)
  with _start(tmp_path) as engine:
    assert engine.send('version') == (
      '0.1.0 (tic_tac_toe, step 7, 2 simulations)')
    with pytest.raises(gtp.EngineError, match='refused: unacceptable size'):
      engine.send('boardsize 19')
    engine.send('play black A3')
    assert 0 < gtp.to_action(engine.send('genmove white'), 3) < 9
    assert 'play' in engine.send('lz-genmove_analyze black')
    assert engine.send('showboard').count('X ') == 3  # One in the legend.
    engine._process.stdin.close()
    assert engine._process.wait(timeout=60) == 0


@pytest.mark.thorough
def test_a_process_that_plays_go(tmp_path, go_agent):
  gtp_agents.store(tmp_path, go_agent)
  with _start(tmp_path) as engine:
    engine.send('boardsize 9')
    engine.send('komi 7.5')
    engine.send('play black D4')
    assert 0 <= gtp.to_action(engine.send('genmove white'), 9) <= 81
    engine.send('lz-genmove_analyze black')
    assert engine.send('final_score')[:2] in ('B+', 'W+')
    # A signal ends it as any program, without a word.
    engine._process.terminate()
    assert engine._process.wait(timeout=60) == -signal.SIGTERM
