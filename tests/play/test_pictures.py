"""One picture of one environment of a batch, of every kind of environment."""

import sys

import jax
import numpy as np
import pytest
from helpers import counting_env

from muzero_jax import config as config_lib
from muzero_jax import envs
from muzero_jax.envs import base
from muzero_jax.play import pictures
from muzero_jax.play.drawings import control, planes
from muzero_jax.types import EnvSpec, HostEnvironment

image = pytest.importorskip('PIL.Image')


def rows(observation):
  """Rows of environments that observe this, [B, ...]."""
  observation = np.asarray(observation)
  spec = EnvSpec('test/rows', observation.shape[1:], observation.dtype, 2)
  false = np.zeros(len(observation), bool)
  return base.host_row(
    spec, observation=observation, reward=0.0 * false, terminated=false,
    is_last=false, is_first=false)


def draw(name, observation, index=0):
  """The picture of an environment that is known by its name alone."""
  observation = np.asarray(observation)
  family = name.partition('/')[0]
  spec = EnvSpec(name, observation.shape[1:], observation.dtype, 2)
  env = HostEnvironment(spec, lambda seed: None, lambda action: None, print)
  found = pictures.make(
    config_lib.Config(family=family, env_id='x'), spec, env)
  picture = found.draw(None, rows(observation), index)
  assert picture.dtype == np.uint8 and picture.shape[2] == 3
  assert max(picture.shape) >= 240
  assert found.svg(None, rows(observation), index) is None
  return picture


def test_cartpole_stands_and_leans():
  seen = np.float32([[0, 0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0.2, 0]])
  upright, aside, leaning = (
    draw('classic/cartpole', seen, index) for index in range(3))
  pole = (202, 138, 74)
  assert tuple(upright[110, 240]) == pole
  assert tuple(aside[110, 340]) == pole and tuple(aside[110, 240]) != pole
  assert tuple(leaning[200 - 34 - 80, 240]) != pole


@pytest.mark.parametrize('name, size', [
  ('gymnax/MountainCar-v0', 2), ('gymnax/Acrobot-v1', 6),
  ('continuous/Pendulum-v1', 3), ('physics/reacher', 11)])
def test_control_differs_with_what_is_observed(name, size):
  seen = np.zeros((2, size), np.float32)
  seen[:, ::2], seen[1, 0] = 1.0, -0.5
  first, second = draw(name, seen, 0), draw(name, seen, 1)
  assert first.shape == second.shape and (first != second).any()
  is_known = control.find(name, size) is not control.bars
  assert is_known == (name != 'physics/reacher')


def test_bars_of_any_vector():
  assert control.bars(np.float32([1e9, -1e9, 0])).shape == (240, 320, 3)
  assert control.bars(np.zeros(3000)).shape == (240, 800, 3)


def test_breakout_has_the_ball_over_its_trail():
  seen = np.zeros((1, 10, 10, 4), bool)
  seen[0, 9, 4, 0] = seen[0, 5, 5, 1] = seen[0, 5, 5, 2] = True
  seen[0, 1, :, 3] = True
  picture = draw('minatar/breakout', seen)
  assert picture.shape == (240, 240, 3)
  at = lambda row, column: tuple(picture[24 * row + 12, 24 * column + 12])
  assert at(9, 4) == (255, 255, 255)
  assert at(5, 5) == (242, 201, 76)
  assert at(1, 0) == (235, 87, 87)
  assert at(8, 8) == (18, 18, 26)


def test_every_game_of_minatar_has_its_colours():
  pytest.importorskip('pgx')
  for name in envs.names('minatar'):
    config = config_lib.Config(family='minatar', env_id=name)
    shape = envs.spec(config).observation_shape
    seen = np.zeros((1, *shape), bool)
    for plane in range(shape[-1]):
      seen[0, 0, plane % 10, plane] = True
    picture = draw(f'minatar/{name}', seen)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) >= 4


def test_images_are_shown_as_they_are_enlarged():
  frame = np.arange(84 * 84, dtype=np.uint8).reshape(1, 84, 84, 1)
  picture = draw('gymnasium/Own', frame)
  assert picture.shape == (252, 252, 3)
  np.testing.assert_array_equal(picture[::3, ::3, 1], frame[0, ..., 0])
  large = np.zeros((1, 300, 200, 3), np.uint8)
  assert draw('gymnasium/Own', large).shape == (300, 200, 3)
  assert draw('gymnasium/Own', np.eye(5, dtype=np.float32)[None]).shape == (
    240, 240, 3)


def test_planes_have_colours_of_their_own():
  picture = planes.draw(np.eye(3, dtype=bool)[None])
  assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 3
  assert not planes.draw(np.zeros((4, 4, 6), np.float32)).any()


def test_what_the_host_renders_comes_first():
  spec = EnvSpec('gymnasium/Own', (4,), np.float32, 2)
  screens = [np.full((10, 20, 3), 7, np.uint8), None]
  env = HostEnvironment(
    spec, lambda seed: None, lambda action: None, print,
    render=lambda index: screens[index])
  found = pictures.make(
    config_lib.Config(family='gymnasium', env_id='Own'), spec, env)
  seen = rows(np.zeros((2, 4), np.float32))
  picture = found.draw(None, seen, 0)
  assert picture.shape == (120, 240, 3) and (picture == 7).all()
  # One that cannot be rendered is drawn from what is observed.
  np.testing.assert_array_equal(
    found.draw(None, seen, 1), control.bars(np.zeros(4)))


def test_a_users_own_environment_is_made_as_ever():
  asked = []

  def make_one(config, *, num_envs, evaluation, seed):
    asked.append((num_envs, evaluation, seed))
    return counting_env(num_envs)

  config = config_lib.Config()
  env = pictures.make_env(config, make_one, num_envs=2, seed=5)
  assert asked == [(2, True, 5)]
  found = pictures.make(config, env.spec, env)
  state, row = env.init(jax.random.key(0))
  assert (found.draw(state, row, 0) != found.draw(state, row, 1)).any()


def test_pillow_is_named_where_it_is_missing(monkeypatch):
  monkeypatch.setitem(sys.modules, 'PIL', None)
  monkeypatch.setitem(sys.modules, 'PIL.Image', None)
  env = counting_env(1)
  with pytest.raises(ImportError, match=r'muzero_jax\[video\]'):
    pictures.make(config_lib.Config(), env.spec, env)


def test_gymnasium_renders_and_plays_as_ever():
  pytest.importorskip('gymnasium')
  config = config_lib.Config(family='gymnasium', env_id='FrozenLake-v1')
  pytest.importorskip('pygame')
  seen = pictures.make_env(config, num_envs=2, seed=3)
  blind = envs.make(config, num_envs=2, evaluation=True, seed=3)
  try:
    assert blind.render is None
    for env in (seen, blind):
      env.reset(1)
    first = seen.render(0)
    for action in ([1, 2], [2, 1], [1, 1]):
      for one, other in zip(seen.step(action), blind.step(action)):
        np.testing.assert_array_equal(one, other)
    assert first.ndim == 3 and first.dtype == np.uint8
    assert (first != seen.render(0)).any()
  finally:
    seen.close()
    blind.close()


def test_ataris_screen_is_that_of_the_emulator_that_is_played():
  pytest.importorskip('ale_py')
  config = config_lib.Config(
    family='atari', env_id='breakout', env_threads=1)
  seen = pictures.make_env(config, num_envs=2, seed=3)
  blind = envs.make(
    config_lib.Config(
      family='atari', env_id='breakout', env_threads=1, driver='sebulba'),
    num_envs=2, evaluation=True, seed=3)
  try:
    rows_of = [env.reset(1) for env in (seen, blind)]
    rng = np.random.default_rng(0)
    for _ in range(60):
      action = rng.integers(4, size=2)
      rows_of = [env.step(action) for env in (seen, blind)]
      for one, other in zip(*rows_of):
        np.testing.assert_array_equal(one, other)
    for index in range(2):
      screen = seen.render(index)
      assert screen.shape == (210, 160, 3) and screen.any()
      # As grey and as small as what is played from.
      played = rows_of[0].observation[index, ..., 0]
      small = image.fromarray(screen).convert('L').resize(
        played.shape, image.Resampling.BOX)
      assert np.corrcoef(np.ravel(small), np.ravel(played))[0, 1] > 0.95
  finally:
    seen.close()
    blind.close()
