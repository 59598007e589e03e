"""Specs told without environments, and modules found without being asked."""

import importlib
import pathlib
import sys

import gymnasium
import pytest

import muzero_jax
from muzero_jax import config, envs, errors
from muzero_jax.envs import base

CASES = (
  ('classic', 'CartPole-v1', {}),
  ('atari', 'Pong', dict(frame_size=40, frame_skip=3)),
  ('atari', 'backgammon', dict(grayscale=False)),  # Its set has no no-op.
  ('atari', 'breakout', dict(full_action_set=True)),
  ('board', 'tic_tac_toe', {}),
  ('board', 'go_9x9', {}),
  ('minatar', 'breakout', dict(repeat_action_probability=0.3)),
  ('stochastic', '2048', {}),
  ('stochastic', 'backgammon', {}),
  ('gymnax', 'Acrobot-v1', {}),
  ('continuous', 'Pendulum-v1', {}),
  ('physics', 'inverted_pendulum', {}),
  ('gymnasium', 'CartPole-v1', dict(vectorisation='own')),
  ('gymnasium', 'LunarLander-v3', {}),
)
PACKAGES = {
  'atari': 'ale_py', 'board': 'pgx', 'minatar': 'pgx', 'stochastic': 'pgx',
  'gymnax': 'gymnax', 'continuous': 'gymnax', 'physics': 'brax',
  'LunarLander-v3': 'Box2D'}


def _config(family, env_id, fields):
  for name in (family, env_id):
    if name in PACKAGES:
      pytest.importorskip(PACKAGES[name])
  if family in ('continuous', 'physics'):
    fields = dict(num_sampled_actions=2, policy_head='tanh_gaussian')
  return config.Config(family=family, env_id=env_id, **fields)


def _close(env):
  if hasattr(env, 'close'):
    env.close()


@pytest.mark.parametrize(
  'family, env_id, fields', CASES, ids=lambda x: x if x else '')
def test_spec_is_that_of_what_is_made(family, env_id, fields):
  run = _config(family, env_id, fields)
  env = envs.make(run, num_envs=2, evaluation=True)
  _close(env)
  assert envs.spec(run) == env.spec


@pytest.mark.parametrize(
  'family, env_id, fields', CASES, ids=lambda x: x if x else '')
def test_spec_makes_and_checks_no_batch(family, env_id, fields, monkeypatch):
  run = _config(family, env_id, fields)

  def fail(*args, **kwargs):
    raise AssertionError('an environment was made')

  module = importlib.import_module(
    f'muzero_jax.envs.{envs._FAMILIES[family].module}')
  monkeypatch.setattr(base, 'make_environment', fail)
  monkeypatch.setattr(module, '_Host', fail, raising=False)
  monkeypatch.setattr(module, 'AtariVectorEnv', fail, raising=False)
  assert envs.spec_of(run, envs.make).name.split('/')[0] == family


def test_spec_of_calls_what_is_not_ours():
  run = config.Config()
  seen = []

  def make_env(*args, **kwargs):
    seen.append(kwargs)
    return envs.make(*args, **kwargs)

  assert envs.spec_of(run, make_env) == envs.spec(run)
  assert seen == [dict(num_envs=1, evaluation=True)]


def test_spec_closes_what_it_looks_at(monkeypatch):
  closed = []
  monkeypatch.setattr(
    gymnasium.Wrapper, 'close', lambda self: closed.append(self))
  envs.spec(config.Config(family='gymnasium', env_id='CartPole-v1'))
  assert len(closed) == 1


@pytest.mark.parametrize('family, env_id, nearest', [
  ('atari', 'braekout', 'breakout'),
  ('board', 'conect_four', 'connect_four'),
  ('classic', 'cartpoles', 'cartpole'),
  ('gymnax', 'Acrobat-v1', 'Acrobot-v1'),
  ('continuous', 'Pendulums-v1', 'Pendulum-v1'),
  ('physics', 'reachers', 'reacher'),
  ('minatar', 'sequest', 'seaquest'),
  ('stochastic', '2408', '2048'),
  ('gymnasium', 'CartPoel-v1', 'CartPole-v1'),
])
def test_spec_of_unknown_names_gives_the_nearest(family, env_id, nearest):
  with pytest.raises(
      errors.UserError, match=f'env_id.*{env_id}.*nearest: {nearest}'):
    envs.spec(_config(family, env_id, {}))


def test_modules_are_found_by_name_alone(monkeypatch):
  for name in ('base', 'random_play'):
    # As where nobody has imported it yet.
    monkeypatch.delattr(envs, name, raising=False)
  assert muzero_jax.envs.base is base
  assert muzero_jax.envs.random_play.random_rollout
  with pytest.raises(AttributeError, match='no_family'):
    muzero_jax.envs.no_family  # noqa: B018
  folder = pathlib.Path(envs.__file__).parent
  assert sorted(envs._MODULES) == sorted(
    path.stem for path in folder.glob('*.py') if path.stem != '__init__')


@pytest.mark.parametrize('module, package, extra', [
  ('atari', 'ale_py', 'atari'),
  ('pgx_games', 'pgx', 'games'),
  ('gymnasium', 'gymnasium', 'gymnasium'),
  ('gymnax', 'gymnax', 'classic'),
  ('physics', 'brax', 'physics'),
])
def test_a_module_without_its_package(monkeypatch, module, package, extra):
  monkeypatch.setitem(sys.modules, package, None)
  monkeypatch.delitem(sys.modules, f'muzero_jax.envs.{module}', raising=False)
  monkeypatch.delattr(envs, module, raising=False)
  assert {module, 'base', 'make', 'spec'} <= {*dir(envs)}
  with pytest.raises(
      errors.MissingPackageError, match=rf'muzero_jax\[{extra}\]'):
    getattr(envs, module)
  family = next(
    name for name, x in envs._FAMILIES.items() if x.module == module)
  fields = {}
  if family in ('continuous', 'physics'):
    fields = dict(num_sampled_actions=2, policy_head='tanh_gaussian')
  with pytest.raises(
      errors.MissingPackageError, match=rf'{family}.*muzero_jax\[{extra}\]'):
    envs.spec(config.Config(family=family, env_id='anything', **fields))


@pytest.mark.parametrize('make, words', [
  (lambda: envs.make(config.Config(), num_envs=0), 'num_envs: 0'),
  (lambda: envs.make(
    config.Config(family='gymnasium', env_id='CartPole-v1'), num_envs=0),
   'num_envs: 0'),
  (lambda: envs.gymnasium.make('CartPole-v1', 1, vectorisation='threads'),
   "vectorisation = 'threads' is not one of sync, async, own"),
  (lambda: envs.make_rules('classic/cartpole'),
   "env_name = 'classic/cartpole'.*allowed are games of the family board"),
])
def test_mistakes_name_field_value_and_what_is_allowed(make, words):
  with pytest.raises(errors.UserError, match=words):
    make()
