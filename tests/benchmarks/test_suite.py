"""benchmarks.suite: what is run, how it is scored, and its page."""

import json

import gymnasium
import numpy as np
import pytest
from scipy import stats

from benchmarks import suite, suite_envs


def row(task, seed, score, random=0.0):
  return dict(task=task, seed=seed, score=score, random=random, seconds=60.0)


def results(*rows):
  return {'defaults': dict(
    changes=[], runs=list(rows), hardware=dict(cpu='x'),
    versions=dict(jax='1'))}


def test_a_run_is_told_no_more_than_its_name_budget_and_seed(tmp_path):
  for name, task in suite.TASKS.items():
    train, evaluate = suite.commands(task, 7, [], tmp_path)
    flags = [x.split('=')[0] for x in train if x.startswith('--')]
    assert set(flags) <= {
      '--family', '--env_id', '--num_steps', '--seed', '--workdir'}, name
    assert '--seed=7' in train and '--json' in evaluate
    is_own = f'--allow_import={suite._OWN}' in evaluate
    assert is_own == ('.py:' in task.env_id)
  train, _ = suite.commands(
    suite.TASKS['cartpole'], 7, ['td_steps=5'], tmp_path)
  assert train[-1] == '--td_steps=5'


def test_scores():
  task = suite.TASKS['connect_four']
  assert suite.score(task, {'mean': 9.0, 'mcts:1000': {'mean': 0.5}}) == 0.75
  assert suite.score(suite.TASKS['acrobot'], {'mean': -80.0}) == -80.0
  assert suite.normalised(row('acrobot', 0, -285.0, -500.0)) == 0.5


def test_the_aggregate_is_the_mean_of_the_middle_half():
  rows = [row('cartpole', seed, 500 * seed / 10) for seed in range(4)]
  rows += [row('catch', seed, seed / 5) for seed in range(3)]
  scores = suite.matrix(rows)
  np.testing.assert_allclose(scores, [[0, 0], [0.1, 0.2], [0.2, 0.4]])
  mean, low, high = suite.interquartile_mean(scores)
  assert mean == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
  assert low < mean < high


def test_the_page_has_each_seed_and_the_aggregate():
  text = suite.page(results(
    row('cartpole', 100, 500.0, 20.0), row('cartpole', 101, 260.0, 20.0),
    row('taxi', 100, 7.9, -770.0), row('taxi', 101, 7.9, -770.0)))
  assert ('| cartpole | 150,000 | 100, 101 | 500, 260 | 380 | 20 | 500 (the '
          'most) | 0.75 | 1 |') in text
  assert 'over 2 tasks of 2 seeds: 1.00, 95 % interval' in text


def test_the_stored_results_are_the_page():
  if not suite.RESULT.exists():
    assert not suite.PAGE.exists()
    return
  stored = json.loads(suite.RESULT.read_text())
  assert suite.PAGE.read_text(encoding='utf-8') == suite.page(stored)


@pytest.mark.parametrize('make, best', [
  (suite_envs.KeyAndDoor, 0.92), (suite_envs.Berries, 3.0)])
def test_the_environments_are_sound_and_a_walker_gets_the_reference(make, best):
  env = gymnasium.wrappers.PassiveEnvChecker(make())
  returns = []
  for seed in range(200):
    env.reset(seed=seed)
    total, ended = 0.0, False
    while not ended:
      _, reward, over, cut, _ = env.step(_towards(env.unwrapped))
      total, ended = total + reward, over or cut
    returns.append(total)
  assert np.mean(returns) == pytest.approx(best, abs=0.01)


def _towards(env):
  """The first move of a shortest way to what is wanted next."""
  if isinstance(env, suite_envs.Berries):
    size, walls = env.SIZE // 2, {env._bad}
    me, goals = env._me, set(env._good)
  else:
    size, walls, me = env.SIZE, set(), tuple(env._me)
    goals = {tuple(env._door if env._has_key else env._key)}
  seen, queue = {me}, [(me, None)]
  for place, first in queue:
    if place in goals:
      return first
    for move, step in enumerate(suite_envs._MOVES):
      other = (place[0] + step[0], place[1] + step[1])
      inside = 0 <= min(other) and max(other) < size
      if inside and other not in seen | walls:
        seen.add(other)
        queue.append((other, move if first is None else first))
  raise AssertionError('no way')


@pytest.mark.thorough
def test_a_small_run_is_kept_and_not_repeated(tmp_path, monkeypatch):
  monkeypatch.setattr(suite, 'RESULT', tmp_path / 'suite.json')
  small = ['num_steps=400', 'min_replay=64', 'updates_per_iteration=1']
  workdir = tmp_path / 'run'
  for _ in range(2):
    suite._run_once('small', small, 'key_and_door', 3, workdir)
  stored = json.loads(suite.RESULT.read_text())['small']
  [found] = stored['runs']
  assert found['seed'] == 3 and found['step'] >= 400 and found['random'] < 0.5
  assert found['configuration']['min_replay'] == 64
  with pytest.raises(SystemExit, match='has runs with'):
    suite._run_once('small', [], 'key_and_door', 3, workdir)
