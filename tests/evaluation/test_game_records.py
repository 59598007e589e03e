"""Game records: written, read back, and refused by file and field."""

import json

import pytest

from muzero_jax.evaluation import game_records
from muzero_jax.evaluation.game_records import GameRecord

GAMES = [
  GameRecord('board/go_9x9', 'agent', 'gnugo:1', 3, 1024, 2,
             (0, 80, 81, 40), 1),
  GameRecord('board/go_9x9', 'gnugo:1', 'agent', 3, 1024, 2, (), 'broken',
             'gnugo died [at once]'),
  GameRecord('board/tic_tac_toe', 'agent', 'random', 0, 0, 0, (4, 0), 0),
  GameRecord('board/tic_tac_toe', 'random', 'agent', 0, 0, 0, (4,), -1),
]


def test_games_return_as_they_were(tmp_path):
  path = tmp_path / 'new' / 'folder' / 'random.jsonl'
  game_records.write(path, GAMES)
  assert game_records.read(path) == GAMES
  first = json.loads(path.read_text().splitlines()[0])
  assert first == {
    'version': 1, 'game': 'board/go_9x9', 'first': 'agent',
    'second': 'gnugo:1', 'seed': 3, 'step': 1024, 'opening_moves': 2,
    'moves': [0, 80, 81, 40], 'result': 1}
  with pytest.raises(ValueError, match='random.jsonl is there already'):
    game_records.write(path, GAMES)
  assert game_records.read(path) == GAMES
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='file/x.jsonl cannot be written'):
    game_records.write(tmp_path / 'file' / 'x.jsonl', GAMES)
  with pytest.raises(ValueError, match='none.jsonl cannot be read'):
    game_records.read(tmp_path / 'none.jsonl')


@pytest.mark.parametrize('change, words', [
  ({'version': 2}, 'version = 2 is not 1'),
  ({'version': True}, 'version = True is not 1'),
  ({'game': ''}, "game = '' is not a name"),
  ({'first': 3}, 'first = 3 is not a name'),
  ({'seed': -1}, 'seed = -1 is not a whole number, at least 0'),
  ({'step': 1.5}, 'step = 1.5 is not a whole number'),
  ({'moves': [1, -2]}, r'moves = \[1, -2\] is not a list of whole numbers'),
  ({'moves': '12'}, 'moves = .* is not a list'),
  ({'result': 2}, 'result = 2 is not 1, 0, -1 or "broken"'),
  ({'result': [1]}, r'result = \[1\] is not 1, 0'),
  ({'reason': 3}, 'reason = 3 is not text'),
  ({'winner': 1}, "field 'winner' is unknown"),
  ({'second': None}, 'second = None is not a name'),
])
def test_malformed_lines_are_named(tmp_path, change, words):
  path = tmp_path / 'games.jsonl'
  game_records.write(path, GAMES[:1])
  good = path.read_text()
  path.write_text(good + json.dumps({**json.loads(good), **change}) + '\n')
  with pytest.raises(ValueError, match=f'games.jsonl, line 2: {words}'):
    game_records.read(path)


@pytest.mark.parametrize('line, words', [
  ('{"version": 1', 'is not JSON'), ('[1]', 'is not an object'),
  ('', 'is not JSON'), ('{"version": 1}', "field 'game' is missing")])
def test_what_is_no_record(tmp_path, line, words):
  path = tmp_path / 'games.jsonl'
  path.write_text(line + '\n')
  with pytest.raises(ValueError, match=f'line 1: {words}'):
    game_records.read(path)


def test_sgf(tmp_path):
  path = tmp_path / 'gnugo-1.sgf'
  game_records.write_sgf(path, GAMES[:2], size=9, komi=7.5)
  first, second = path.read_text().splitlines()
  assert first == (
    '(;FF[4]GM[1]CA[UTF-8]AP[muzero_jax]SZ[9]KM[7.5]RU[Chinese]PB[agent]'
    'PW[gnugo\\:1]RE[B+]C[step 1024, seed 3, 2 opening moves at random]'
    ';B[aa];W[ii];B[];W[ee])')
  assert 'PB[gnugo\\:1]PW[agent]RE[Void]' in second
  assert second.endswith('broken\\: gnugo died [at once\\]])')


@pytest.mark.parametrize('name, expected', [
  ('mcts:100', 'mcts-100'), ('run:runs/my x', 'run-runs-my-x'),
  ('random', 'random')])
def test_file_names(name, expected):
  assert game_records.file_name(name) == expected
