"""Tournaments: who meets whom, what is written, and what is refused."""

import json

import pytest
import tiny_game
import tiny_run

from muzero_jax.envs.rules import GoRules
from muzero_jax.evaluation import (
  gtp,
  opponents,
  tournament,
)
from muzero_jax.evaluation import (
  match as match_lib,
)
from muzero_jax.evaluation.opponents import Program


def test_everyone_meets_and_is_rated(tmp_path, capsys):
  tiny_game.store(
    tmp_path, tiny_game.config(), snapshot_steps=(100, 200), step=300)
  before = tiny_run.snapshot(tmp_path)
  done = tiny_run.answer(
    capsys, 'ladder', f'--workdir={tmp_path}', '--opponent=random',
    '--num_games=8', '--opening_moves=2')
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert lines[0] == (
    'each game opens with 2 random legal moves, each opening with both colours')
  assert any(line.startswith('| random | 0 | 0 to 0 | 24 |') for line in lines)

  found = json.loads((tmp_path / 'ladder.json').read_text())
  met = [(m['player'], m['opponent']) for m in found['matches']]
  names = [f'step {step}' for step in (100, 200, 300)]
  assert met == [
    *((name, 'random') for name in names),
    ('step 200', 'step 100'), ('step 300', 'step 200'),
    ('step 300', 'step 100')]
  for match in found['matches']:
    assert match['wins'] + match['draws'] + match['losses'] == 8
    assert match['broken'] == 0
  ratings = {row['player']: row for row in found['ratings']}
  assert set(ratings) == {'random', *names}
  assert ratings['random']['elo'] == 0 and ratings['random']['step'] is None
  assert [ratings[name]['step'] for name in names] == [100, 200, 300]
  for row in ratings.values():
    assert row['low'] <= row['elo'] <= row['high']
  assert (found['opening_moves'], found['num_games'], found['anchor']) == (
    2, 8, 'random')
  assert (tmp_path / 'ladder.png').read_bytes().startswith(b'\x89PNG')
  after = tiny_run.snapshot(tmp_path)
  assert set(after) - set(before) == {'ladder.json', 'ladder.png'}
  assert {k: after[k] for k in before} == before


def test_the_last_snapshot_may_be_the_newest_checkpoint(tmp_path):
  tiny_game.store(tmp_path, tiny_game.config(), snapshot_steps=(5,), step=5)
  lines = []
  found = tournament.run(tmp_path, num_games=4, report=lines.append)
  assert len(lines) == 2 and lines[1].startswith('step 5 against random: ')
  assert found.steps == {'step 5': 5} and len(found.matches) == 1


def test_broken_games_do_not_count(tmp_path, monkeypatch):
  tiny_game.store(tmp_path, tiny_game.config(), snapshot_steps=(1,), step=1)
  program = Program('gnugo', GoRules(9, 7.5))
  real = opponents.make
  monkeypatch.setattr(
    opponents, 'make', lambda name, *args, **kwargs: (
      program if name == 'gnugo' else real(name, *args, **kwargs)))
  monkeypatch.setattr(match_lib, 'make_match', lambda *args, **kwargs: (
    lambda agent, opponent, name, seed: match_lib.MatchScore(
      (0, 0, 0), (0, 0, 0), 2) if name == 'gnugo' else
    match_lib.MatchScore((1, 0, 0), (0, 0, 1))))
  with pytest.raises(RuntimeError, match='opponent gnugo: all games against'):
    tournament.run(tmp_path, opponent_names=['gnugo'], num_games=2)
  lines = []
  found = tournament.run(
    tmp_path, opponent_names=['gnugo', 'random'], num_games=2,
    report=lines.append)
  assert found.broken == (2, 0) and lines[1].endswith('0 lost, 2 broken')
  assert set(found.ladder.names) == {'step 1', 'random'}
  assert (tmp_path / 'ladder.png') == tournament.plot(tmp_path, found)


def test_a_program_that_is_not_installed_is_skipped(tmp_path, monkeypatch):
  tiny_game.store(tmp_path, tiny_game.config(), snapshot_steps=(5,), step=5)
  real = opponents.make

  def make(name, *args, **kwargs):
    if name == 'gnugo':
      raise gtp.NotInstalledError('gnugo is not installed')
    return real(name, *args, **kwargs)

  monkeypatch.setattr(opponents, 'make', make)
  monkeypatch.setattr(match_lib, 'make_match', lambda *args, **kwargs: (
    lambda *_: match_lib.MatchScore((1, 0, 0), (0, 0, 1))))
  lines = []
  found = tournament.run(
    tmp_path, opponent_names=['gnugo', 'random'], num_games=2,
    report=lines.append)
  assert lines[0] == 'opponent gnugo: skipped, gnugo is not installed'
  assert set(found.ladder.names) == {'step 5', 'random'}
  assert found.settings['opponents'] == ['random']
  with pytest.raises(gtp.EngineError, match='gnugo is not installed'):
    tournament.run(tmp_path, opponent_names=['gnugo'])


def test_a_damaged_snapshot_is_left_out(tmp_path):
  tiny_game.store(tmp_path, tiny_game.config(), snapshot_steps=(3, 5), step=5)
  manifest = tmp_path / 'snapshots' / '000000000003' / 'manifest.json'
  manifest.write_text(manifest.read_text().replace('3', '4'))
  lines = []
  found = tournament.run(tmp_path, num_games=4, report=lines.append)
  assert lines[0].startswith('left out: ') and 'damaged' in lines[0]
  assert found.steps == {'step 5': 5}


def test_what_cannot_be_rated_is_one_line(tmp_path):
  tiny_game.store(tmp_path, tiny_game.config(), snapshot_steps=(), step=5)
  with pytest.raises(ValueError, match='num_games = 3: must be even'):
    tournament.run(tmp_path, num_games=3)
  with pytest.raises(ValueError, match='no snapshots: train with --snapshot_'):
    tournament.run(tmp_path)
  with pytest.raises(ValueError, match="opponent = 'gnugo' is not one of"):
    tournament.run(tmp_path, opponent_names=['random', 'gnugo'])
  with pytest.raises(ValueError, match='opponent: at least one is needed'):
    tournament.run(tmp_path, opponent_names=[])
  other = tmp_path / 'cartpole'
  tiny_run.store(other, tiny_run.config(ema_decay=0.0), steps=(64,))
  with pytest.raises(ValueError, match='classic/cartpole has one player: the'):
    tournament.run(other)
