"""Matches against programs: who wins, what breaks, and that it goes on."""

import functools
import re
from types import SimpleNamespace
from typing import Any, NamedTuple

import fake_engine
import jax
import jax.numpy as jnp
import noted_keys
import pytest

from muzero_jax import agent as agent_lib
from muzero_jax import config as config_lib
from muzero_jax import envs, errors
from muzero_jax.agent import AgentState
from muzero_jax.drivers import build
from muzero_jax.envs import pgx_games
from muzero_jax.envs.rules import GoRules
from muzero_jax.evaluation import (
  game_records,
  gtp,
  opponents,
  playing,
  program_match,
  report,
)
from muzero_jax.evaluation import (
  match as match_lib,
)
from muzero_jax.evaluation.opponents import Program

RULES = GoRules(size=9, komi=7.5)


class Found(NamedTuple):
  action: Any


class Player:
  """An agent that draws its moves, or passes."""

  params = None
  step = 7

  def __init__(self, passes=False):
    self._passes = passes
    self.jitted_act = jax.jit(self.act_fn)

  def init_state(self, num_envs):
    return AgentState(None, jnp.zeros(num_envs, jnp.int32))

  def act_fn(self, params, state, key, observation, legal_actions, is_first):
    action = opponents.random(
      key, None, SimpleNamespace(legal_actions=legal_actions))
    action = jnp.where(self._passes, 81, action)
    return state._replace(action=action), Found(action)


@functools.cache
def go(num_envs):
  return pgx_games.make_board('go_9x9', num_envs)


def play(program, player=None, *, num_envs=2, num_games=2, **kwargs):
  return match_lib.play_match(
    player or Player(), go(num_envs), program, num_envs=num_envs,
    num_games=num_games, opponent_name='fake', **kwargs)


def fake(folder, how='well', at=0, timeout=30.0):
  return Program(fake_engine.write(folder, how, at), RULES, timeout)


def _replay(moves):
  """Returns the rewards of the last move by pgx alone, for who made it."""
  rules = envs.make_rules('board/go_9x9')
  state, _ = go(2).init(jax.random.key(0))
  position = rules.position(state)
  step = jax.jit(rules.step)
  for move in moves:
    assert rules.legal_actions(position)[0, move]
    assert not bool(rules.is_over(position)[0])
    position, reward = step(position, jnp.full(2, move))
  assert bool(rules.is_over(position)[0])
  return int(reward[0]) * (1 if len(moves) % 2 else -1)


def test_the_environment_judges(tmp_path):
  # The agent passes; the program fills the board from the corner, and wins:
  # moving second by komi alone.
  match = play(fake(tmp_path), Player(passes=True))
  first, second = match.games
  assert (first.first, first.second) == ('agent', 'fake')
  assert (second.first, second.second) == ('fake', 'agent')
  assert first.moves[:5] == (81, 0, 81, 1, 81)
  assert second.moves[:5] == (0, 81, 1, 81, 2)
  for game in match.games:
    assert game.result == _replay(game.moves)
    assert (game.game, game.seed, game.step) == ('board/go_9x9', 0, 7)
  assert match.first == (0, 0, 1) and match.second == (0, 0, 1)
  assert match.broken == 0
  log = fake_engine.log(tmp_path)
  for command in ('boardsize 9', 'komi 7.5', 'clear_board',
                  'set_random_seed 0', 'play black pass', 'genmove white'):
    assert command in log


def test_two_passes_end_a_game_and_colours_are_shared(tmp_path):
  match = play(
    fake(tmp_path, 'pass'), Player(passes=True), num_envs=2, num_games=6)
  # Nobody has a stone: White wins by komi.
  assert {game.moves for game in match.games} == {(81, 81)}
  assert match.first == (0, 0, 3) and match.second == (3, 0, 0)
  assert [game.result for game in match.games] == [-1] * 6


def test_openings_are_the_same_for_both_colours(tmp_path):
  match = play(
    fake(tmp_path, 'pass'), Player(passes=True), num_envs=4, num_games=8,
    opening_moves=5, seed=4)
  openings = [game.moves[:5] for game in match.games]
  for start in (0, 4):
    assert openings[start:start + 2] == openings[start + 2:start + 4]
  assert len(set(openings)) == 4
  assert all(len(game.moves) == 7 for game in match.games), openings
  assert {game.opening_moves for game in match.games} == {5}
  sent = [line for line in fake_engine.log(tmp_path) if 'play' in line]
  for move in openings[0]:
    assert any(line.endswith(gtp.to_vertex(move, 9)) for line in sent)


@pytest.mark.parametrize('how, words', [
  ('die', 'died with status 3'),
  ('vertex', "'Z77' is no move on a board of 9x9"),
  ('illegal', r'move \d+: action \d+ is illegal'),
])
def test_a_program_that_misbehaves_breaks_its_games(tmp_path, how, words):
  # At its third move, in each process: a new one for each next game.
  match = play(
    fake(tmp_path, how, at=3, timeout=2.0), num_envs=2, num_games=4)
  assert match.broken == 4 and match.total == (0, 0, 0)
  for game in match.games:
    assert game.result == game_records.BROKEN
    assert re.search(words, game.reason), game.reason
    assert 3 <= len(game.moves) <= 6
  plain = match_lib.as_plain(match)
  assert (plain['mean'], plain['broken'], plain['wins']) == (None, 4, 0)
  assert re.search(words, plain['reason'])


def test_a_broken_game_leaves_the_others_alone(tmp_path):
  # The agent passes, the program plays on: only who dies at once is broken.
  command = fake_engine.write(tmp_path, 'die', at=1)
  marker = tmp_path / 'died'
  script = tmp_path / 'once.py'
  script.write_text(
    'import os, sys\n'
    f'path = {str(marker)!r}\n'
    'try:\n'
    '  os.close(os.open(path, os.O_CREAT | os.O_EXCL))\n'
    f'  argv = {list(command)!r}\n'
    'except FileExistsError:\n'
    f'  argv = {[*command[:-2], "pass", command[-1]]!r}\n'
    'os.execv(argv[0], argv)\n')
  match = play(
    Program((command[0], str(script)), RULES), Player(passes=True),
    num_envs=2, num_games=6)
  assert match.broken == 1 and sum(match.total) == 5
  plain = match_lib.as_plain(match)
  assert plain['broken'] == 1 and 'died with status 3' in plain['reason']
  wins, draws, losses = match.total
  assert plain['mean'] == (wins - losses) / 5
  lines = report.describe(dict(
    environment='board/go_9x9', step=0, num_episodes=6, num_simulations=1,
    fake=plain))
  assert '1 more games are broken and not counted' in lines[-1]


def test_a_program_that_cannot_be_started(tmp_path):
  match = play(Program((str(tmp_path / 'none'),), RULES))
  assert match.broken == 2
  assert 'cannot be started' in match.games[0].reason


def test_who_resigns_has_lost(tmp_path):
  match = play(fake(tmp_path, 'resign', at=2))
  assert match.first == (1, 0, 0) and match.second == (1, 0, 0)
  assert [game.result for game in match.games] == [1, -1]


def test_numbers_that_do_not_fit(tmp_path):
  with pytest.raises(errors.UserError, match='num_episodes=3'):
    play(fake(tmp_path), num_games=3)


def test_all_keys_of_a_match_differ(tmp_path, monkeypatch):
  notes = noted_keys.NotedKeys()
  monkeypatch.setattr(
    playing, 'draw_opening', notes.shared(playing.draw_opening))
  player = Player(passes=True)
  player.jitted_act = jax.jit(notes.of(player.act_fn, position=2))
  env = go(2)
  env = env._replace(
    init=notes.of(env.init, position=0), step=notes.of(env.step, position=2))
  play = program_match.make(
    env, fake(tmp_path, 'pass'), num_envs=2, num_episodes=4, opening_moves=2)
  for seed in (0, 1):
    assert len(play(player, seed)) == 4
  # Of each of four rounds the start, and act and step of four moves.
  assert notes.num_used == 4 * (1 + 2 * 4)
  notes.check()


def _installed():
  try:
    return bool(gtp.find('gnugo'))
  except gtp.EngineError:
    return False


@pytest.mark.skipif(not _installed(), reason='gnugo is not installed')
def test_gnugo_by_pgx_and_by_its_own_count():
  program = opponents.make('gnugo', 'board/go_9x9')
  match = play(program, num_envs=4, num_games=4, opening_moves=2)
  assert match.broken == 0 and sum(match.total) == 4
  # Random play has no chance.
  assert match.total == (0, 0, 4)
  with gtp.Engine(program.command) as engine:
    for game in match.games:
      assert game.result == _replay(game.moves)
      engine.send('boardsize 9')
      engine.send('clear_board')
      engine.send('komi 7.5')
      for i, move in enumerate(game.moves):
        engine.send(f'play {"bw"[i % 2]} {gtp.to_vertex(move, 9)}')
      assert engine.send('final_score')[0] == {1: 'B', -1: 'W'}[game.result]


def test_go_has_rules_and_others_have_none():
  assert envs.go_rules('board/go_9x9') == RULES
  assert envs.go_rules('board/go_19x19') == GoRules(19, 7.5)
  for name in ('board/hex', 'mine/game', 'classic/cartpole'):
    assert envs.go_rules(name) is None


def test_a_program_that_is_not_installed_is_one_line(monkeypatch):
  monkeypatch.setattr(gtp, '_MORE_PLACES', ())
  monkeypatch.setenv('PATH', '/nowhere')
  with pytest.raises(gtp.EngineError, match='gnugo is not installed'):
    opponents.make('gnugo:2', 'board/go_9x9')


def test_an_agent_of_muzero_plays_a_program(tmp_path):
  config = config_lib.from_preset(
    'tic_tac_toe', env_id='go_9x9', num_blocks=0, num_channels=4,
    head_hidden=4, num_simulations=2, eval_simulations=0,
    augment_symmetry=False, stacked_frames=2)
  spec = go(2).spec
  params = jax.jit(build.make_system(config, spec).model.init)(
    jax.random.key(0), build.example_observation(config, spec))
  player = agent_lib.Agent(config, spec, params)
  match = match_lib.play_match(
    player, go(2), fake(tmp_path, 'resign', at=4), num_envs=2, num_games=2)
  assert match.total == (2, 0, 0)
  again = match_lib.play_match(
    player, go(2), fake(tmp_path, 'resign', at=4), num_envs=2, num_games=2)
  assert match.games == again.games
