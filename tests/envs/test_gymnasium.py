"""Gymnasium's vector environments as rows of this project."""

import gymnasium
import numpy as np
import pytest

from muzero_jax import config, envs, types
from muzero_jax.envs import base
from muzero_jax.envs import gymnasium as ours
from muzero_jax.errors import UserError


class Ladder(gymnasium.Env):
  """Pays the action; up to rung 3 in episodes of even seeds, which terminate
  there; the others are truncated by the time limit."""

  observation_space = gymnasium.spaces.Box(-9.0, 9.0, (2,), np.float64)
  action_space = gymnasium.spaces.Discrete(3, start=5)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.rung, self.length = 0, 0
    return np.zeros(2), {}

  def step(self, action):
    assert 5 <= action < 8
    self.length += 1
    self.rung += action == 7
    observation = np.array([self.rung, self.length], float)
    return observation, float(action), self.rung == 3, False, {}


class WithSpaces(Ladder):
  """Of any spaces; it cannot be played."""

  def __init__(self, **spaces):
    for name, space in spaces.items():
      setattr(self, name, space)


class States(Ladder):
  """Observes which of four states it is in, counted from 2."""

  observation_space = gymnasium.spaces.Discrete(4, start=2)
  action_space = gymnasium.spaces.Discrete(2)

  def reset(self, *, seed=None, options=None):
    self.state = 2
    return self.state, {}

  def step(self, action):
    self.state += int(action)
    return self.state, 0.0, self.state == 5, False, {}


@pytest.fixture(autouse=True)
def registered():
  before = dict(gymnasium.registry)
  gymnasium.register('Ladder-v0', Ladder, max_episode_steps=5)
  gymnasium.register('States-v0', States)
  yield
  gymnasium.registry.clear()
  gymnasium.registry.update(before)


def test_rows_tell_termination_truncation_and_resets_apart():
  env = ours.make('Ladder-v0', 2)
  assert env.spec == types.EnvSpec(
    'gymnasium/Ladder-v0', (2,), np.dtype(np.float32), 3, max_episode_steps=5)
  rows = [env.reset(0)]
  # Environment 0 climbs at once, environment 1 never; the action of a last
  # row is ignored.
  for _ in range(7):
    rows.append(env.step(np.array([2, 0], np.int32)))
  base.check_rows(env.spec, types.TimeStep(*map(np.stack, zip(*rows))))
  column = lambda name, e: [getattr(row, name)[e].tolist() for row in rows]
  assert column('observation', 0) == [
    [0, 0], [1, 1], [2, 2], [3, 3], [0, 0], [1, 1], [2, 2], [3, 3]]
  assert column('reward', 0) == [0, 7, 7, 7, 0, 7, 7, 7]
  assert column('discount', 0) == [1, 1, 1, 0, 1, 1, 1, 0]
  assert column('is_first', 0) == [1, 0, 0, 0, 1, 0, 0, 0]
  assert column('is_last', 0) == [0, 0, 0, 1, 0, 0, 0, 1]
  assert column('observation', 1) == [
    [0, 0], [0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [0, 0], [0, 1]]
  assert column('reward', 1) == [0, 5, 5, 5, 5, 5, 0, 5]
  assert column('discount', 1) == [1] * 8
  assert column('is_first', 1) == [1, 0, 0, 0, 0, 0, 1, 0]
  assert column('is_last', 1) == [0, 0, 0, 0, 0, 1, 0, 0]
  env.close()


@pytest.mark.parametrize('vectorisation', ['sync', 'own', 'async'])
def test_cartpole_keeps_the_contract_however_it_is_made(vectorisation):
  env = ours.make('CartPole-v1', 3, vectorisation=vectorisation)
  rng = np.random.default_rng(0)
  rows = [env.reset(1)]
  for _ in range(60):
    rows.append(env.step(rng.integers(2, size=3).astype(np.int32)))
  env.close()
  base.check_rows(env.spec, types.TimeStep(*map(np.stack, zip(*rows))))
  assert any(row.is_last.any() for row in rows)
  assert env.spec.max_episode_steps == 500 and env.spec.num_actions == 2


def test_seeds_decide():
  def first(*, made, reset):
    env = ours.make('CartPole-v1', 2, seed=made)
    return env.reset(reset).observation

  once = first(made=3, reset=1)
  np.testing.assert_array_equal(once, first(made=3, reset=1))
  for other in (first(made=4, reset=1), first(made=3, reset=2)):
    assert (once != other).any(axis=1).all()
  assert (once[0] != once[1]).all()


def test_discrete_observations_are_one_hot():
  env = ours.make('States-v0', 2)
  assert env.spec.observation_shape == (4,)
  rows = [env.reset(0), *(env.step(np.array([1, 0])) for _ in range(3))]
  assert [row.observation[0].argmax() for row in rows] == [0, 1, 2, 3]
  np.testing.assert_array_equal(rows[3].observation[1], [1, 0, 0, 0])
  assert rows[3].is_last.tolist() == [True, False]


def test_images_stay_bytes():
  space = gymnasium.spaces.Box(0, 255, (8, 6, 3), np.uint8)
  gymnasium.register(
    'Images-v0', lambda: WithSpaces(observation_space=space))
  spec = ours.make('Images-v0', 1).spec
  assert spec.observation_shape == (8, 6, 3)
  assert spec.observation_dtype == np.uint8 and spec.max_episode_steps == 0


def test_actions_of_a_box_arrive_in_its_shape_and_within_its_bounds():
  taken = []

  class Boxed(WithSpaces):
    def step(self, action):
      taken.append(action)
      return self.observation_space.low, 1.0, False, False, {}

  space = gymnasium.spaces.Box(
    np.array([[0.1], [-2.0]]), np.array([[0.7], [2.0]]), dtype=np.float64)
  gymnasium.register('Boxed-v0', lambda: Boxed(
    action_space=space, observation_space=Ladder.observation_space))
  env = ours.make('Boxed-v0', 2)
  assert env.spec.num_actions == 2 and env.spec.is_continuous
  assert env.spec.action_low == (0.1, -2.0)
  assert env.spec.action_high == (0.7, 2.0)
  env.reset(0)
  row = env.step(np.array([[0.7, 1.5], [0.1, -2.0]], np.float32))
  env.close()
  assert row.legal_actions.shape == (2, 2)
  assert [a.dtype for a in taken] == [np.float64] * 2
  assert all(space.contains(action) for action in taken)
  np.testing.assert_allclose(
    taken, [[[0.7], [1.5]], [[0.1], [-2.0]]], rtol=1e-6)


def _box(low, high, dtype=np.float32):
  return dict(action_space=gymnasium.spaces.Box(
    np.array(low, dtype), np.array(high, dtype), dtype=dtype))


@pytest.mark.parametrize('spaces, words', [
  (_box([-1.0], [np.inf]), "'Odd-v0' has actions Box.*Box of floats with b"),
  (_box([1.0], [1.0]), 'action_low = .1.0,. and action_high = .*low below'),
  (_box([-1e300], [1e300], np.float64), 'action_low = .* finite numbers'),
  (_box([], []), 'there is nothing to choose'),
  (_box(0, 1 << 40, np.int64), 'combinations: at most 4096 are allowed'),
  (dict(action_space=gymnasium.spaces.MultiDiscrete([99, 99])),
   'of which there are 9801 combinations: at most 4096'),
  (dict(action_space=gymnasium.spaces.Text(3)),
   'has actions Text.*allowed are Discrete, MultiDiscrete'),
  (dict(observation_space=gymnasium.spaces.Sequence(
    gymnasium.spaces.Discrete(2))), 'Sequence.*have no fixed size'),
  (dict(observation_space=gymnasium.spaces.Dict(
    a=gymnasium.spaces.Text(2), b=gymnasium.spaces.Sequence(
      gymnasium.spaces.Discrete(2)))), 'have no fixed size'),
  (dict(observation_space=gymnasium.spaces.Box(0, 1, (0,))),
   'of which nothing can be seen'),
  (dict(observation_space=gymnasium.spaces.Box(0, 1, (2, 0))),
   'of which nothing can be seen'),
])
def test_spaces_that_cannot_be_learnt(spaces, words):
  gymnasium.register('Odd-v0', lambda: WithSpaces(**spaces))
  with pytest.raises(UserError, match=words):
    ours.make('Odd-v0', 1)


D = gymnasium.spaces.Discrete


class Recorded(WithSpaces):
  """Of any spaces; observes what was done last, and notes it."""

  def __init__(self, seen, done, log):
    super().__init__(observation_space=seen, action_space=done)
    self.log = log

  def reset(self, *, seed=None, options=None):
    gymnasium.Env.reset(self, seed=seed)
    self.observation_space.seed(3)
    return self.observation_space.sample(), {}

  def step(self, action):
    assert self.action_space.contains(action)
    self.log.append(action)
    return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize('space', [
  gymnasium.spaces.Dict(
    place=gymnasium.spaces.Box(0, 1, (2, 2)), key=D(3)),
  gymnasium.spaces.Tuple([D(4, start=1), gymnasium.spaces.MultiBinary(3)]),
  gymnasium.spaces.MultiDiscrete([3, 4]),
  gymnasium.spaces.MultiBinary(5),
])
def test_composite_observations_are_flattened_as_gymnasium_does(space):
  gymnasium.register('Recorded-v0', lambda: Recorded(space, D(2), []))
  env = ours.make('Recorded-v0', 2)
  row = env.reset(0)
  env.close()
  space.seed(3)
  expected = gymnasium.spaces.flatten(space, space.sample())
  assert env.spec.observation_shape == expected.shape
  assert env.spec.observation_dtype == np.float32
  np.testing.assert_allclose(row.observation[0], expected, rtol=1e-6)


@pytest.mark.parametrize('space, expected', [
  (gymnasium.spaces.MultiDiscrete([2, 3]),
   [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]),
  (gymnasium.spaces.MultiBinary(2), [[0, 0], [0, 1], [1, 0], [1, 1]]),
  (gymnasium.spaces.Box(-1, 1, (1,), np.int8), [[-1], [0], [1]]),
  (gymnasium.spaces.Tuple([D(2, start=5), D(2)]),
   [(5, 0), (5, 1), (6, 0), (6, 1)]),
  (gymnasium.spaces.Dict(a=D(2), b=gymnasium.spaces.MultiBinary([1])),
   [dict(a=0, b=[0]), dict(a=0, b=[1]), dict(a=1, b=[0]), dict(a=1, b=[1])]),
])
def test_each_combination_is_one_action(space, expected):
  log = []
  gymnasium.register(
    'Recorded-v0', lambda: Recorded(gymnasium.spaces.Box(0, 1), space, log))
  env = ours.make('Recorded-v0', 1)
  assert env.spec.num_actions == len(expected)
  env.reset(0)
  for number in range(len(expected)):
    env.step(np.array([number], np.int32))
  env.close()
  np.testing.assert_equal(log, [
    {k: np.array(v) for k, v in one.items()} if isinstance(one, dict) else
    tuple(map(np.array, one)) if isinstance(one, tuple) else np.array(one)
    for one in expected])


@pytest.mark.parametrize('shape, stored', [
  ((8, 9, 3), (8, 9, 3)), ((3, 8, 9), (8, 9, 3)), ((4, 84, 84), (84, 84, 4)),
  ((8, 9), (8, 9, 1)), ((4, 4), (4, 4)), ((10, 10, 10), (10, 10, 10)),
])
def test_images_have_their_colours_last(shape, stored):
  space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
  gymnasium.register('Recorded-v0', lambda: Recorded(space, D(2), []))
  env = ours.make('Recorded-v0', 1)
  row = env.reset(0)
  env.close()
  space.seed(3)
  image = space.sample()
  if stored == (8, 9, 1):
    image = image[..., None]
  elif stored != shape:
    image = np.moveaxis(image, 0, -1)
  assert env.spec.observation_shape == stored
  np.testing.assert_array_equal(row.observation[0], image)


def test_images_are_resized_to_means_of_their_areas():
  space = gymnasium.spaces.Box(0, 255, (4, 6, 1), np.uint8)
  gymnasium.register('Recorded-v0', lambda: Recorded(space, D(2), []))
  env = ours.make('Recorded-v0', 1, image_size=2)
  row = env.reset(0)
  env.close()
  space.seed(3)
  image = space.sample().reshape(2, 2, 2, 3).mean((1, 3))
  assert env.spec.observation_shape == (2, 2, 1)
  np.testing.assert_array_equal(row.observation[0, ..., 0], np.rint(image))
  with pytest.raises(UserError, match='image_size = 2: .* are no images'):
    ours.spec('CartPole-v1', image_size=2)


def test_a_state_of_many_takes_no_more_memory_than_itself():
  """One-hot vectors of the rows alone, no table of all of them."""
  space = D(1_000_000, start=7)
  gymnasium.register('Recorded-v0', lambda: Recorded(space, D(2), []))
  env = ours.make('Recorded-v0', 2)
  row = env.reset(0)
  env.close()
  space.seed(3)
  assert row.observation.shape == (2, 1_000_000)
  assert row.observation[0].argmax() == space.sample() - 7
  assert (row.observation.sum(1) == 1).all()


@pytest.mark.parametrize('vectorisation', ['sync', 'async'])
def test_a_time_limit_cuts_episodes_off(vectorisation):
  env = ours.make(
    'CliffWalking-v1', 2, time_limit=3, vectorisation=vectorisation)
  assert env.spec.max_episode_steps == 3
  rows = [env.reset(0)]
  for _ in range(8):
    rows.append(env.step(np.zeros(2, np.int32)))
  env.close()
  assert [bool(row.is_last[0]) for row in rows] == [
    False, False, False, True, False, False, False, True, False]
  assert all(row.discount[0] == 1 for row in rows)


FILE = '''
import gymnasium

class Corridor(gymnasium.Env):
  observation_space = gymnasium.spaces.Discrete(5)
  action_space = gymnasium.spaces.MultiDiscrete([2, 2])

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.place = 0
    return 0, {}

  def step(self, action):
    self.place = min(self.place + int(action[0]), 4)
    return self.place, 0.0, self.place == 4, False, {}

def make():
  return Corridor()

def broken():
  return 3

gymnasium.register("InFile-v0", Corridor, max_episode_steps=9)
number = 3
'''


@pytest.mark.parametrize('name, limit', [
  ('Corridor', 0), ('make', 0), ('InFile-v0', 9)])
@pytest.mark.parametrize('vectorisation', ['sync', 'async'])
def test_an_environment_of_a_file(tmp_path, name, limit, vectorisation):
  path = tmp_path / 'own_file.py'
  path.write_text(FILE)
  env = ours.make(f'{path}:{name}', 2, vectorisation=vectorisation)
  assert env.spec.max_episode_steps == limit
  rows = [env.reset(0), *(env.step(np.array([3, 0])) for _ in range(4))]
  env.close()
  assert rows[-1].observation.argmax(1).tolist() == [4, 0]
  assert rows[-1].is_last.tolist() == [True, False]


@pytest.mark.parametrize('name, words', [
  ('number', "nor has a function or class of that name; it has Corridor, broken"
   ', make'),
  ('nothing', 'nor has a function or class'),
  ('broken', 'makes a int, not a gymnasium.Env'),
  ('Other-v0', 'no gymnasium environment'),
])
def test_what_a_file_does_not_have(tmp_path, name, words):
  path = tmp_path / 'own_file.py'
  path.write_text(FILE)
  with pytest.raises(UserError, match=words):
    ours.make(f'{path}:{name}', 1)


def test_files_that_are_none(tmp_path):
  with pytest.raises(UserError, match='is a file: name the class'):
    ours.make('own_file.py', 1)
  with pytest.raises(UserError, match='there is no file .*none.py'):
    ours.make(f'{tmp_path}/none.py:make', 1)
  (tmp_path / 'bad.py').write_text('1 / 0')
  with pytest.raises(ImportError, match='bad.py. cannot be imported: ZeroDiv'):
    ours.make(f'{tmp_path}/bad.py:make', 1)


@pytest.mark.parametrize('env_id', [
  'ALE/Pong-v5', 'PongNoFrameskip-v4', 'Pong-ram-v4', 'BreakoutDeterministic-v4'
])
def test_atari_is_told_where_to_go(env_id):
  with pytest.raises(UserError, match=(
      r'experiments.atari --env_id=(Pong|Breakout)$')):
    envs.check_env_id('gymnasium', env_id)


def test_another_reset_is_refused():
  class Resets(gymnasium.vector.VectorEnv):
    metadata = {'autoreset_mode': gymnasium.vector.AutoresetMode.SAME_STEP}
    single_observation_space = Ladder.observation_space
    single_action_space = Ladder.action_space

  gymnasium.register(
    'Same-v0', Ladder, vector_entry_point=lambda num_envs: Resets())
  with pytest.raises(UserError, match="'Same-v0'.*SAME_STEP.*vectorisation"):
    ours.make('Same-v0', 1, vectorisation='own')
  with pytest.raises(UserError, match="vectorisation = 'own'"):
    ours.make('Ladder-v0', 1, vectorisation='own')


@pytest.mark.parametrize('env_id, words', [
  ('CartPole-v9', "no gymnasium environment 'CartPole-v9'.*CartPole-v1"),
  ('CartPoel-v1', 'nearest: CartPole-v1'),
  ('nothing', "no gymnasium environment 'nothing'"),
])
def test_ids_that_are_not_there(env_id, words):
  with pytest.raises(UserError, match=words):
    envs.check_env_id('gymnasium', env_id)


def test_a_package_registers_its_own_when_it_is_imported(
  tmp_path, monkeypatch
):
  (tmp_path / 'own_package.py').write_text(
    'import gymnasium\n'
    "gymnasium.register('Own-v0', 'gymnasium.envs.classic_control:"
    "CartPoleEnv')\n")
  monkeypatch.syspath_prepend(tmp_path)
  env = ours.make('own_package:Own-v0', 2)
  assert env.spec.num_actions == 2
  with pytest.raises(UserError, match="environment 'own_package:Owm-v0'"):
    ours.make('own_package:Owm-v0', 2)
  with pytest.raises(ImportError, match="'no_package' cannot be imported"):
    ours.make('no_package:Own-v0', 2)


def test_a_missing_package_says_what_to_install():
  def entry():
    raise gymnasium.error.DependencyNotInstalled('Box2D is not installed')

  gymnasium.register('Needy-v0', entry)
  with pytest.raises(ImportError, match=(
      r"'Needy-v0' needs.*Box2D.*muzero_jax\[gymnasium\]")):
    ours.make('Needy-v0', 1)


def test_envs_make_takes_the_fields_of_a_config():
  run = config.Config(family='gymnasium', env_id='CartPole-v1', seed=5)
  env = envs.make(run, num_envs=2)
  assert isinstance(env, types.HostEnvironment)
  np.testing.assert_array_equal(
    env.reset(1).observation,
    ours.make('CartPole-v1', 2, seed=5).reset(1).observation)
  assert 'CartPole-v1' in envs.names('gymnasium')


def test_what_was_moved_away_is_not_advised_to_be_installed():
  with pytest.raises(ImportError, match='moved to') as caught:
    ours.make('Ant-v2', 1)
  assert 'muzero_jax[' not in str(caught.value)
