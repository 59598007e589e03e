"""Evaluation: equal shares, whole episodes, no noise, and who is compared."""

import functools
import json
import sys

import jax
import numpy as np
import pytest
import tiny_game
import tiny_run
from counting_agent import counting_agent
from helpers import counting_env

from muzero_jax import agent as agent_lib
from muzero_jax import config as config_lib
from muzero_jax import envs
from muzero_jax.drivers import build
from muzero_jax.evaluation import (
  game_records,
)
from muzero_jax.evaluation import (
  match as match_lib,
)
from muzero_jax.evaluation import (
  report as report_lib,
)
from muzero_jax.runs import checkpoint, run_dir


def _hand_loop(player, env, num_envs, per_env, seed=0):
  """Returns [E, B] returns and lengths through `Agent.act` alone."""
  player.reset(seed)
  state, row = env.init(jax.random.split(jax.random.key(seed))[0])
  step = jax.jit(env.step)
  scores = [[] for _ in range(num_envs)]
  score, length = np.zeros(num_envs), np.zeros(num_envs, int)
  while min(map(len, scores)) < per_env:
    action = player.act(row.observation, row.legal_actions, row.is_first)
    state, row = step(state, action, jax.random.key(0))
    score = np.where(row.is_first, 0, score + row.reward)
    length = np.where(row.is_first, 0, length + 1)
    for i in np.flatnonzero(row.is_last):
      scores[i].append((score[i], length[i]))
  table = np.array([s[:per_env] for s in scores])
  return table[..., 0].T, table[..., 1].T


def test_every_environment_plays_as_many_whole_episodes_without_noise():
  env, player = counting_env(3), counting_agent()
  score = report_lib.evaluate(player, env, num_envs=3, num_episodes=12)
  # Environment e ends after 3 + e steps, each of the 4 times.
  np.testing.assert_array_equal(score.lengths.reshape(4, 3), [[3, 4, 5]] * 4)
  # Step s pays s + 1 and 100 times the action.
  np.testing.assert_array_equal(
    score.returns.reshape(4, 3) % 100, [[6, 10, 15]] * 4)
  returns, lengths = _hand_loop(player, env, 3, 4)
  np.testing.assert_array_equal(score.returns, returns.ravel())
  np.testing.assert_array_equal(score.lengths, lengths.ravel())
  # Another seed is another key for every search, and nothing else here.
  again = report_lib.evaluate(player, env, num_envs=3, num_episodes=12, seed=9)
  np.testing.assert_array_equal(score.returns, again.returns)
  assert score.mean == score.returns.mean()
  assert score.standard_error == pytest.approx(
    score.returns.std(ddof=1) / 12**0.5)


def test_classic_is_a_hand_loop_and_the_script_tells_it(tmp_path, capsys):
  run_config = tiny_run.config(eval_envs=4)
  tiny_run.store(tmp_path, run_config, steps=(64,))
  player = agent_lib.load(tmp_path)
  report = report_lib.report(player, num_episodes=4, seed=2)
  env = envs.make(run_config, num_envs=4, evaluation=True)
  returns, lengths = _hand_loop(player, env, 4, 1, seed=2)
  np.testing.assert_array_equal(report['returns'], returns.ravel())
  assert report['mean_length'] == lengths.mean() == report['mean']
  assert (report['min'], report['max']) == (returns.min(), returns.max())
  assert report['step'] == 64 and 'human' not in report

  done = tiny_run.answer(
    capsys, 'evaluate', f'--workdir={tmp_path}', '--num_episodes=4',
    '--seed=2', '--json')
  assert done.returncode == 0, done.stderr
  told = json.loads(done.stdout)
  assert told.pop('random_play')['num_episodes'] == 32
  assert told.pop('better_than_random') is False
  assert told == report


def test_the_script_refuses_what_is_no_run(tmp_path, capsys):
  done = tiny_run.answer(capsys, 'evaluate', f'--workdir={tmp_path}')
  assert done.returncode == 2 and tiny_run.is_plain_line(done.stderr)
  assert 'is not a run directory' in done.stderr


def _like_atari(env_id):
  """The counting agent, as if its environment were a game of Atari."""
  player = counting_agent()
  config = tiny_run.config(
    family='atari', env_id=env_id, stacked_frames=3, stack_actions=True,
    eval_envs=3)
  return agent_lib.Agent(
    config, player.spec, player.params,
    make_env=lambda config, *, num_envs, **unused: counting_env(num_envs))


def test_atari_stands_beside_random_and_human():
  report = report_lib.report(_like_atari('pong'), num_episodes=3)
  assert (report['random'], report['human']) == (-20.7, 14.6)
  assert report['human_normalised'] == pytest.approx(
    (report['mean'] + 20.7) / (14.6 + 20.7))
  text = '\n'.join(report_lib.describe(report))
  assert 'random -20.7, human 14.6; human-normalised' in text
  assert '3 episodes, 4 simulations, no noise: return' in text
  unknown = report_lib.report(_like_atari('a_game_of_mine'), num_episodes=3)
  assert 'human' not in unknown and 'human_normalised' not in unknown


def _tic_tac_toe(**changes):
  """A config, its environment's spec and untrained parameters."""
  config = config_lib.from_preset('tic_tac_toe', **{
    **dict(num_blocks=0, num_channels=8, head_hidden=8, num_simulations=2,
           eval_envs=6), **changes})
  spec = envs.spec(config)
  params = jax.jit(build.make_system(config, spec).model.init)(
    jax.random.key(0), build.example_observation(config, spec))
  return config, spec, params


def _assert_adds_up(match, num_games):
  assert sum(match['first']) == sum(match['second']) == num_games // 2
  total = [a + b for a, b in zip(match['first'], match['second'])]
  assert total == [match['wins'], match['draws'], match['losses']]


def test_two_players_meet_every_opponent_with_both_colours():
  player = agent_lib.Agent(*_tic_tac_toe())
  report = report_lib.report(player, num_episodes=12)
  for name in ('random', 'perfect'):
    _assert_adds_up(report[name], 12)
  assert report['perfect']['wins'] == 0
  assert report['mean'] == -report['perfect']['losses'] / 12
  lines = report_lib.describe(report)
  assert len(lines) == 3 and lines[2].startswith('  against perfect: 0 won')
  json.dumps(report, allow_nan=False)
  with pytest.raises(ValueError, match='num_episodes = 7: must be even'):
    report_lib.report(player, num_episodes=7)
  # All are looked at before the first is played.
  with pytest.raises(ValueError, match="opponent = 'mcts:x': simulations"):
    report_lib.report(
      player, num_episodes=2, opponent_names=['random', 'mcts:x'])
  with pytest.raises(ValueError, match='random,one_ply: .* has one player'):
    report_lib.report(
      _like_atari('pong'), num_episodes=3, opponent_names=['random', 'one_ply'])


@pytest.mark.thorough
def test_the_script_plays_the_opponents_that_are_named(tmp_path):
  config, spec, params = _tic_tac_toe()
  learner = build.make_learner(
    config, spec, build.make_system(config, spec)).init(params)
  run_dir.store(tmp_path, config)
  checkpoint.save(tmp_path, 0, {'learner': learner})
  done = tiny_run.call([
    sys.executable, '-m', 'experiments.evaluate', f'--workdir={tmp_path}',
    '--num_episodes=4', '--opponent=mcts:8,one_ply', '--json'])
  assert done.returncode == 0, done.stderr
  report = json.loads(done.stdout)
  matches = {k: v for k, v in report.items() if isinstance(v, dict)}
  assert list(matches) == ['mcts:8', 'one_ply']
  for match in matches.values():
    _assert_adds_up(match, 4)
  last = report['one_ply']
  assert report['mean'] == (last['wins'] - last['losses']) / 4
  lines = report_lib.describe(report)
  assert lines[1].startswith(f'  against mcts:8: {matches["mcts:8"]["wins"]} w')
  assert lines[2].startswith('  against one_ply: ') and len(lines) == 3


@pytest.mark.parametrize('num_episodes, most, expected', [
  (32, 32, 32), (100, 32, 25), (7, 4, 1), (3, 8, 3), (1, 1, 1)])
def test_environments_divide_the_episodes(num_episodes, most, expected):
  assert report_lib.num_envs_for(num_episodes, most) == expected


def test_numbers_that_do_not_fit():
  env, player = counting_env(3), counting_agent()
  with pytest.raises(ValueError, match='num_episodes=4: must be a multiple'):
    report_lib.evaluate(player, env, num_envs=3, num_episodes=4)
  with pytest.raises(ValueError, match='has one player'):
    report_lib.play_match(player, env, None, num_envs=2, num_games=2)
  two = counting_env(3, num_players=2)
  with pytest.raises(ValueError, match='num_envs=3: must be even'):
    report_lib.play_match(player, two, None, num_envs=3, num_games=3)


def test_broken_games_cost_no_other_match(tmp_path, monkeypatch):
  tiny_game.store(tmp_path, tiny_game.config(), snapshot_steps=(), step=5)
  scores = {
    'random': match_lib.MatchScore((1, 0, 0), (1, 0, 0)),
    'one_ply': match_lib.MatchScore(
      (0, 0, 0), (0, 0, 0), 2, (game_records.GameRecord(
        game='board/tic_tac_toe', first='agent', second='one_ply', seed=0,
        step=5, opening_moves=0, moves=(), result=game_records.BROKEN,
        reason='died'),)),
  }
  monkeypatch.setattr(
    report_lib, 'play_match',
    lambda *args, opponent_name, **kwargs: scores[opponent_name])
  report = functools.partial(
    report_lib.report, agent_lib.load(tmp_path), num_episodes=2)
  found = report(opponent_names=['random', 'one_ply'])
  assert found['mean'] == 1.0 and found['one_ply']['broken'] == 2
  assert 'died' in '\n'.join(report_lib.describe(found))
  with pytest.raises(RuntimeError, match='all of 2 games are broken, the fir'):
    report(opponent_names=['one_ply'])


def test_records_need_a_folder(tmp_path):
  tiny_game.store(tmp_path, tiny_game.config(), snapshot_steps=(), step=5)
  there = tmp_path / 'a_file'
  there.write_text('')
  with pytest.raises(ValueError, match='cannot be made a folder'):
    report_lib.report(
      agent_lib.load(tmp_path), num_episodes=2, records_folder=there)
