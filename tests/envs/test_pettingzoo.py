"""PettingZoo's games as rows of this project, trained and matched."""

import json

import numpy as np
import pytest
import tiny_game

from muzero_jax import agent, config, envs, train, types
from muzero_jax.envs import base
from muzero_jax.errors import UserError
from muzero_jax.evaluation import report as report_lib

pytest.importorskip('pettingzoo')


def _play(env, num_steps, seed=0):
  rng = np.random.default_rng(seed)
  rows = [env.reset(seed)]
  for _ in range(num_steps):
    legal = rows[-1].legal_actions
    action = np.array([rng.choice(np.flatnonzero(mask)) for mask in legal])
    rows.append(env.step(action.astype(np.int32)))
  env.close()
  return types.TimeStep(*map(np.stack, zip(*rows)))


@pytest.mark.parametrize('name, shape, num_actions', [
  ('tictactoe_v3', (3, 3, 2), 9), ('connect_four_v3', (6, 7, 2), 7),
  ('chess_v6', (8, 8, 111), 4672),
])
def test_rows_keep_the_contract(name, shape, num_actions):
  env = envs.pettingzoo.make(name, 2)
  assert env.spec == envs.pettingzoo.spec(name)
  assert env.spec.observation_shape == shape
  assert env.spec.num_actions == num_actions and env.spec.num_players == 2
  rows = _play(env, 60)
  base.check_rows(env.spec, rows)
  if name != 'chess_v6':
    assert rows.is_last.sum() > 2 and (rows.reward == 1).any()


def test_who_makes_three_in_a_row_is_paid():
  env = envs.pettingzoo.make('tictactoe', 1)
  rows = [env.reset(0)]
  for action in (0, 3, 1, 4, 2):
    rows.append(env.step(np.array([action], np.int32)))
  rows.append(env.step(np.array([0], np.int32)))
  env.close()
  assert [float(row.reward[0]) for row in rows] == [0, 0, 0, 0, 0, 1, 0]
  assert [int(row.to_play[0]) for row in rows] == [0, 1, 0, 1, 0, 1, 0]
  assert [bool(row.is_last[0]) for row in rows] == [False] * 5 + [True, False]
  assert rows[5].discount[0] == 0 and rows[6].is_first[0]
  assert not rows[1].legal_actions[0, 0] and rows[6].legal_actions.all()


@pytest.mark.slow
@pytest.mark.thorough
def test_a_run_is_matched_against_random(tmp_path):
  run = tiny_game.config(
    family='pettingzoo', env_id='tictactoe_v3', num_steps=120, num_envs=4,
    eval_episodes=4, eval_envs=4, augment_symmetry=True)
  assert train.run(run, tmp_path) == 0
  found = json.loads((tmp_path / 'evaluation.json').read_text())
  match = found['random']
  assert match['wins'] + match['draws'] + match['losses'] == 4
  assert 'better_than_random' in found
  player = agent.load(tmp_path)
  report = report_lib.report(player, num_episodes=4, opening_moves=2)
  assert sum(report['random']['first']) == sum(report['random']['second']) == 2
  assert report == report_lib.report(player, num_episodes=4, opening_moves=2)
  with pytest.raises(UserError, match="'one_ply' is not one of random"):
    report_lib.report(player, num_episodes=4, opponent_names=['one_ply'])


@pytest.mark.parametrize('fields, words', [
  (dict(env_id='tictactoe', time_limit=3), 'time_limit = 3 is not for games'),
  (dict(env_id='tictactoe', driver='anakin'), 'cannot compile the env'),
])
def test_settings_that_do_not_fit(fields, words):
  with pytest.raises(UserError, match=words):
    config.Config(family='pettingzoo', **fields)


def test_unknown_games_give_the_nearest():
  with pytest.raises(UserError, match='nearest: tictactoe_v3'):
    envs.check_env_id('pettingzoo', 'tictactow')
