"""Random play beside an agent's score, and what is said of the two."""

import json

import numpy as np
import pytest
import tiny_run

from muzero_jax import config as config_lib
from muzero_jax import envs
from muzero_jax.evaluation import random_play
from muzero_jax.evaluation.random_play import Baseline

BASE = Baseline('a/b', -1.0, 0.5, 16)


def test_cartpole_at_random_is_what_is_known_of_it():
  config = tiny_run.config()
  found = random_play.play(config, envs.spec(config), envs.make)
  assert found.environment == 'classic/cartpole' and found.num_episodes == 32
  # 22.3 on average, with a spread of 11.6 from episode to episode.
  assert 16 < found.mean < 29 and 1 < found.standard_error < 4
  assert found == random_play.play(config, envs.spec(config), envs.make)


@pytest.mark.parametrize('asked, envs_made, played', [
  (4, 4, 4), (32, 16, 32), (40, 16, 48)])
def test_more_episodes_take_no_more_environments(asked, envs_made, played):
  config, made = tiny_run.config(), []

  def make_env(config, *, num_envs, **kwargs):
    made.append(num_envs)
    return envs.make(config, num_envs=num_envs, **kwargs)

  found = random_play.play(
    config, envs.spec(config), make_env, num_episodes=asked)
  assert made == [envs_made] and found.num_episodes == played


def test_an_environment_of_the_host():
  config = config_lib.Config(
    family='gymnasium', env_id='CliffWalking-v1', time_limit=10)
  found = random_play.play(config, envs.spec(config), envs.make)
  assert -1000 < found.mean <= -10


@pytest.mark.parametrize('mean, error, is_better', [
  (0.5, 0.5, True), (0.3, 0.5, False), (-1.0, 0.0, False), (0.01, None, True),
  (-5.0, 0.1, False),
])
def test_better_is_beyond_two_standard_errors(mean, error, is_better):
  found = random_play.beside(BASE, mean, error)
  assert found['better_than_random'] is is_better
  assert found['random_play']['mean'] == -1.0


def test_equal_scores_without_spread_are_not_better():
  base = Baseline('a/b', -500.0, 0.0, 16)
  assert not random_play.beside(base, -500.0, 0.0)['better_than_random']


def test_the_verdict_counts_agents():
  good, bad = (
    dict(better_than_random=x, num_episodes=32) for x in (True, False))
  verdict = lambda results: random_play.verdict(results, 'runs/a b')
  assert verdict([good]) == verdict([{}]) == []
  assert verdict([bad])[0] == (
    'nothing was learnt: not better than random play beyond the noise')
  assert verdict([bad])[1] == (
    "32 episodes may be too few to tell: muzero-jax evaluate "
    "--workdir='runs/a b' --num_episodes=200")
  assert "muzero-jax diagnose --workdir='runs/a b'; docs/" in verdict([bad])[2]
  assert len(verdict([{**bad, 'num_episodes': 200}])) == 2
  assert verdict([bad, good])[0].startswith(
    '1 of 2 agents learnt nothing')


@pytest.mark.parametrize('family, known, asked, played', [
  ('classic', None, 4, 32), ('classic', 32, 32, 0), ('classic', 32, 100, 100),
  ('classic', 32, 10_000, 256), ('classic', 100, 32, 0), ('atari', 4, 200, 0)])
def test_it_plays_as_often_as_the_agent(
    tmp_path, monkeypatch, family, known, asked, played):
  config = tiny_run.config()
  spec = envs.spec(config)
  if known:
    base = Baseline(spec.name, 20.0, 1.0, known)
    (tmp_path / 'evaluation.json').write_text(
      json.dumps(dict(random_play=base._asdict())))
  numbers = []

  def play(config, spec, make_env, *, num_episodes, should_stop):
    numbers.append(num_episodes)
    return Baseline(spec.name, 20.0, 1.0, num_episodes)

  monkeypatch.setattr(random_play, 'play', play)
  result = dict(mean=100.0, standard_error=1.0, num_episodes=asked)
  config = config_lib.Config(family=family, env_id=config.env_id)
  [found] = random_play.add(
    [result], config, spec, envs.make, workdir=tmp_path)
  assert sum(numbers) == played
  assert found['random_play']['num_episodes'] == (played or known)


def test_it_is_kept_with_the_run(tmp_path):
  path = tmp_path / 'evaluation.json'
  assert random_play.stored(tmp_path, 'a/b') is None
  path.write_text(json.dumps(dict(random_play=BASE._asdict())))
  assert random_play.stored(tmp_path, 'a/b') == BASE
  assert random_play.stored(tmp_path, 'a/c') is None
  path.write_text(json.dumps(dict(agents=[dict(random_play=BASE._asdict())])))
  assert random_play.stored(tmp_path, 'a/b') == BASE


@pytest.mark.parametrize('text', [
  'no json', '[]', '{}', '3', '{"random_play": 3}', '{"random_play": {}}',
  '{"agents": []}', '{"agents": {"a": 1}}',
  '{"random_play": {"environment": "a/b", "mean": "x", "standard_error": 1, '
  '"num_episodes": 2}}',
  '{"random_play": {"environment": "a/b", "mean": 1, "standard_error": 1, '
  '"num_episodes": true}}',
])
def test_a_record_that_is_none_counts_for_nothing(tmp_path, text):
  (tmp_path / 'evaluation.json').write_text(text)
  assert random_play.stored(tmp_path, 'a/b') is None


def test_lines():
  lines = random_play.describe(random_play.beside(BASE, 1.0, 0.1))
  assert lines == ['  random play: return -1.00 +- 0.50 over 16 episodes']
  assert random_play.describe({}) == []
  assert np.isfinite(BASE.mean)
