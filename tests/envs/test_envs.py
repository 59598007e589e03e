"""The contract that every environment keeps, and what is particular to each."""

import dataclasses
import functools
import gc
import importlib.util
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import config, envs, types
from muzero_jax.envs import base, classic, random_play
from muzero_jax.errors import UserError

PACKAGES = {
  'atari': 'ale_py', 'board': 'pgx', 'minatar': 'pgx', 'stochastic': 'pgx',
  'gymnax': 'gymnax', 'continuous': 'gymnax', 'physics': 'brax'}


def _needs(family: str) -> None:
  if importlib.util.find_spec(PACKAGES.get(family, 'jax')) is None:
    pytest.skip(f'{PACKAGES[family]} is not installed')


def _config(family: str, env_id: str, **fields: Any) -> config.Config:
  if family in ('continuous', 'physics'):
    fields = dict(
      num_sampled_actions=2, policy_head='tanh_gaussian', **fields)
  return config.Config(family=family, env_id=env_id, **fields)


class Case(NamedTuple):
  """An environment to check and how long to play it."""

  family: str
  env_id: str
  num_envs: int
  num_steps: int
  ends: bool  # Whether random play must end some episodes.


CASES = (
  Case('classic', 'cartpole', 4, 100, True),
  Case('board', 'tic_tac_toe', 4, 30, True),
  Case('board', 'connect_four', 4, 90, True),
  Case('board', 'othello', 2, 70, True),
  Case('board', 'go_9x9', 2, 8, False),
  Case('minatar', 'asterix', 4, 250, True),
  Case('minatar', 'breakout', 4, 100, True),
  Case('minatar', 'freeway', 2, 20, False),
  Case('minatar', 'seaquest', 4, 250, True),
  Case('minatar', 'space_invaders', 4, 250, True),
  Case('stochastic', '2048', 2, 200, True),
  Case('stochastic', 'backgammon', 2, 200, False),
  Case('atari', 'breakout', 3, 90, True),
  Case('atari', 'pong', 2, 20, False),
  Case('gymnax', 'Acrobot-v1', 2, 600, True),
  Case('gymnax', 'MountainCar-v0', 2, 210, True),
  Case('continuous', 'Pendulum-v1', 2, 210, True),
  Case('continuous', 'MountainCarContinuous-v0', 2, 20, False),
  Case('physics', 'inverted_pendulum', 2, 100, True),
)
# What takes longest to compile, and is played by other tests too.
_LONG = ('backgammon', 'inverted_pendulum')
cases = pytest.mark.parametrize('case', [
  pytest.param(
    case, id=f'{case.family}-{case.env_id}',
    marks=[pytest.mark.thorough] if case.env_id in _LONG else [])
  for case in CASES])


@functools.cache
def _played(
  case: Case
) -> tuple[types.EnvSpec, tuple[random_play.Rollout, ...]]:
  """Returns rollouts with keys 0, 0 and 1: one compilation serves all tests."""
  environment = envs.make(
    _config(case.family, case.env_id, repeat_action_probability=0.25),
    num_envs=case.num_envs,
  )
  rollout = jax.jit(
    functools.partial(random_play.random_rollout, environment),
    static_argnums=3)
  played = []
  for seed in (0, 0, 1):
    key = jax.random.key(seed)
    state, row = environment.init(key)
    played.append(jax.tree.map(
      np.asarray, rollout(state, row, key, case.num_steps)[1]))
  return environment.spec, tuple(played)


@cases
def test_rows_keep_the_contract(case):
  _needs(case.family)
  spec, (played, _, _) = _played(case)
  assert spec.is_continuous == (case.family in ('continuous', 'physics'))
  assert spec.name == f'{case.family}/{case.env_id}'
  assert played.rows.observation.shape == (
    case.num_steps + 1, case.num_envs, *spec.observation_shape)
  base.check_rows(spec, played.rows)
  if case.ends:
    assert played.rows.is_last[:-1].any()


@cases
def test_played_actions_are_legal_and_none_is_forced_at_the_end(case):
  _needs(case.family)
  spec, (played, _, _) = _played(case)
  if spec.is_continuous:
    assert played.action.shape[2:] == (spec.num_actions,)
    assert (played.action >= spec.action_low).all()
    assert (played.action <= spec.action_high).all()
    return
  legal = np.take_along_axis(
    played.rows.legal_actions[:-1], played.action[..., None], -1)
  assert legal.all()
  assert played.rows.legal_actions[played.rows.is_last].all()


@cases
def test_same_key_same_trajectory(case):
  _needs(case.family)
  _, (first, again, other) = _played(case)
  jax.tree.map(np.testing.assert_array_equal, first, again)
  assert (first.rows.observation != other.rows.observation).any()


@pytest.mark.parametrize(
  'case', [c for c in CASES if c.family == 'board'], ids=lambda c: c.env_id)
def test_board_games_pay_with_the_last_move_only(case):
  _needs(case.family)
  _, (played, _, _) = _played(case)
  assert (played.rows.reward[~played.rows.is_last] == 0).all()
  assert np.isin(played.rows.reward, (-1, 0, 1)).all()
  assert (played.rows.discount[played.rows.is_last] == 0).all()


# A walk on the integers: action 1 is a step of reward `state`, 3 terminates.
WALK = types.EnvSpec(
  name='walk', observation_shape=(1,), observation_dtype=np.dtype(np.int32),
  num_actions=2, max_episode_steps=4)


def _walk(num_envs: int = 1, spec: types.EnvSpec = WALK, **functions: Any):
  defaults = dict(
    reset=lambda key: jnp.int32(0),
    step=lambda state, action, key: base.Transition(
      state + action, state * 1.0, state + action == 3),
    observe=lambda state: state[None],
  )
  return base.make_environment(spec, num_envs, **defaults | functions)


def _play(environment: types.Environment, key: jax.Array, actions: Any):
  """Returns rows [T+1, B] of given actions [T, B]."""

  def body(carry, action):
    state, row = environment.step(carry, action, key)
    return state, row

  state, row = environment.init(key)
  _, rows = jax.jit(lambda s: jax.lax.scan(body, s, jnp.asarray(actions)))(
    state)
  return jax.tree.map(
    lambda x, y: np.concatenate([np.asarray(x)[None], np.asarray(y)]),
    row, rows)


def test_reset_follows_the_last_row():
  rows = _play(_walk(), jax.random.key(0), np.ones((6, 1), np.int32))
  np.testing.assert_array_equal(
    rows.observation[:, 0, 0], [0, 1, 2, 3, 0, 1, 2])
  np.testing.assert_array_equal(rows.reward[:, 0], [0, 0, 1, 2, 0, 0, 1])
  np.testing.assert_array_equal(rows.discount[:, 0], [1, 1, 1, 0, 1, 1, 1])
  np.testing.assert_array_equal(rows.is_first[:, 0], [1, 0, 0, 0, 1, 0, 0])
  np.testing.assert_array_equal(rows.is_last[:, 0], [0, 0, 0, 1, 0, 0, 0])


def test_time_limit_truncates():
  # The second environment terminates with the very step that hits the limit.
  actions = np.array([[0, 1], [0, 1], [0, 0], [0, 1], [1, 1], [1, 1]])
  rows = _play(_walk(2), jax.random.key(0), actions)
  np.testing.assert_array_equal(
    rows.is_last, [[0, 0]] * 4 + [[1, 1]] + [[0, 0]] * 2)
  np.testing.assert_array_equal(rows.discount[4], [1, 0])
  np.testing.assert_array_equal(rows.observation[-2:, 0, 0], [0, 1])


def test_own_truncation_and_legal_actions():
  rows = _play(
    _walk(
      step=lambda s, a, k: base.Transition(s + a, jnp.float32(1), False, s > 0),
      legal_actions=lambda s: jnp.array([True, False])),
    jax.random.key(0), np.ones((3, 1), np.int32))
  np.testing.assert_array_equal(rows.is_last[:, 0], [0, 0, 1, 0])
  np.testing.assert_array_equal(rows.discount, 1)
  np.testing.assert_array_equal(
    rows.legal_actions[:, 0], [[1, 0], [1, 0], [1, 1], [1, 0]])


@pytest.mark.parametrize('kwargs, message', [
  (dict(num_envs=0), 'num_envs: 0'),
  (dict(observe=lambda s: jnp.stack([s, s])), r'observation is int32\[1, 2\]'),
  (dict(observe=lambda s: s[None] * 1.0), 'observation is float32'),
  (dict(spec=WALK._replace(num_players=3)), 'num_players: 3'),
  (dict(legal_actions=lambda s: jnp.ones(3, bool)), 'legal_actions'),
])
def test_mistakes_of_an_own_environment_are_named(kwargs, message):
  with pytest.raises(UserError, match=message):
    _walk(**kwargs)


def _corrupt(name: str, index: Any, value: Any):
  rows = _play(_walk(), jax.random.key(0), np.ones((6, 1), np.int32))
  array = getattr(rows, name).copy()
  array[index] = value
  return rows._replace(**{name: array})


@pytest.mark.parametrize('name, index, value, message', [
  ('reward', 4, 1, 'must have reward 0'),
  ('reward', 1, np.nan, 'finite'),
  ('discount', 4, 0, 'must have discount 1'),
  ('discount', 1, 0, 'must come with is_last'),
  ('discount', 1, 0.5, '0 or 1'),
  ('is_first', 0, False, 'open with is_first'),
  ('is_first', 2, True, 'must follow is_last'),
  ('is_last', 3, False, 'must follow is_last'),
  ('legal_actions', 2, False, 'legal action'),
  ('to_play', 2, 1, 'to_play'),
])
def test_check_rows_finds(name, index, value, message):
  with pytest.raises(UserError, match=message):
    base.check_rows(WALK, _corrupt(name, index, value))


def test_check_rows_finds_late_ends_and_turns_that_do_not_alternate():
  rows = _corrupt('reward', 4, 0)
  base.check_rows(WALK, rows)
  with pytest.raises(UserError, match='within 2 steps'):
    base.check_rows(WALK._replace(max_episode_steps=2), rows)
  with pytest.raises(UserError, match='alternate'):
    base.check_rows(WALK._replace(num_players=2), rows)
  base.check_rows(WALK._replace(num_players=2, alternates=False), rows)


def test_check_environment():
  played = base.check_environment(_walk(3), jax.random.key(0), num_steps=20)
  assert played.rows.is_last.sum() > 3
  assert played.action.shape == (20, 3)


def test_cartpole_steps_as_gymnasium():
  gymnasium = pytest.importorskip('gymnasium')
  environment = classic.make('CartPole-v1', 2)
  oracle = gymnasium.make('CartPole-v1')
  step = jax.jit(environment.step)
  rng = np.random.default_rng(0)
  state, row = environment.init(jax.random.key(0))
  oracle.reset(seed=0)
  ends = []
  for _ in range(502):
    observation = np.asarray(row.observation)
    balance = observation[0, 2] + observation[0, 3] > 0  # Never falls.
    action = np.array([balance, rng.integers(2)], np.int32)
    was_last = np.asarray(row.is_last)
    state, row = step(state, action, jax.random.key(1))
    # From the same state each time, as the dynamics amplify rounding.
    for i in np.flatnonzero(~was_last):
      oracle.unwrapped.state = observation[i].astype(np.float64)
      oracle.unwrapped.steps_beyond_terminated = None
      expected, reward, terminated, _, _ = oracle.unwrapped.step(action[i])
      np.testing.assert_allclose(row.observation[i], expected, atol=1e-6)
      assert row.reward[i] == reward
      assert row.discount[i] == 1 - terminated
    ends.append(np.asarray(row.is_last))
  assert np.flatnonzero(np.array(ends)[:, 0]).tolist() == [499]
  assert environment.spec.max_episode_steps == oracle.spec.max_episode_steps


@pytest.mark.parametrize('moves, reward', [
  ((0, 3, 1, 4, 2), 1),  # The opener's row.
  ((0, 3, 1, 4, 8, 5), 1),  # The second player's.
  ((0, 1, 2, 4, 3, 5, 7, 6, 8), 0),
  ((0, 0), -1),  # Illegal: the mover loses.
])
def test_tic_tac_toe_rewards_the_mover(moves, reward):
  _needs('board')
  environment = envs.make(_config('board', 'tic_tac_toe'), num_envs=1)
  rows = _play(environment, jax.random.key(0), np.array(moves)[:, None])
  assert rows.is_last[:, 0].tolist() == [False] * len(moves) + [True]
  assert rows.reward[:, 0].tolist() == [0] * len(moves) + [reward]
  assert rows.discount[-1, 0] == 0
  # The players alternate; the board is seen by the player to move.
  opener = rows.to_play[0, 0]
  assert rows.to_play[1, 0] == 1 - opener
  assert rows.observation[1, 0, moves[0] // 3, moves[0] % 3].tolist() == [
    False, True]


@pytest.mark.parametrize('probability, moved', [(0.0, True), (1.0, False)])
def test_minatar_sticky_actions(probability, moved):
  _needs('minatar')
  environment = envs.make(
    _config('minatar', 'breakout', repeat_action_probability=probability),
    num_envs=1)
  left = environment.spec.action_names.index('left')
  rows = _play(environment, jax.random.key(0), np.full((2, 1), left))
  paddle = rows.observation[:, 0, ..., 0]
  assert (paddle[0] != paddle[2]).any() == moved


def _atari(game: str, num_envs: int, **kwargs: Any) -> types.Environment:
  _needs('atari')
  from muzero_jax.envs import atari
  fields = dict(frame_size=36, episodic_life=False)
  fields |= {name: kwargs.pop(name) for name in [*kwargs] if name in (
    config.FIELDS.keys() - {'seed'})}
  settings = config.settings.Environment(
    family='atari', env_id=game, **fields)
  return atari.make(settings, num_envs, **kwargs)


def test_atari_life_loss_continues_the_game():
  key = jax.random.key(3)
  full = _atari('breakout', 2, episodic_life=True, evaluation=True)
  lives = _atari('breakout', 2, episodic_life=True)
  actions = np.random.default_rng(0).integers(0, 4, (260, 2))
  rows = _play(lives, key, actions)
  # The step after a lost life ignores its action and plays a no-op instead.
  rows_full = _play(full, key, np.where(rows.is_last[:-1], 0, actions))
  np.testing.assert_array_equal(rows.observation, rows_full.observation)
  np.testing.assert_array_equal(
    rows.reward, np.where(rows.is_first, 0, rows_full.reward))
  assert rows.is_last[rows_full.is_last].all()
  assert (rows.discount[rows.is_last] == 0).all()
  assert rows_full.is_last.sum() >= 1
  # Breakout has five lives.
  for last, full_last in zip(rows.is_last.T, rows_full.is_last.T):
    end = np.flatnonzero(full_last)[0]
    assert last[:end + 1].sum() == 5
  base.check_rows(lives.spec, rows)
  base.check_rows(full.spec, rows_full)


def test_atari_frame_cap_truncates():
  environment = _atari('pong', 2, max_episode_frames=102, noop_max=0)
  rows = _play(environment, jax.random.key(0), np.zeros((54, 2), np.int32))
  assert environment.spec.max_episode_steps == 26
  assert np.flatnonzero(rows.is_last[:, 0]).tolist() == [26, 53]
  assert np.flatnonzero(rows.is_first[:, 0]).tolist() == [0, 27, 54]
  assert (rows.discount == 1).all()
  assert (rows.reward[rows.is_first] == 0).all()


def test_atari_rewards_are_those_of_the_emulator():
  _needs('atari')
  import ale_py
  import ale_py.roms

  environment = _atari('seaquest', 1, noop_max=0)
  num_actions = environment.spec.num_actions
  actions = np.random.default_rng(1).integers(0, num_actions, (200, 1))
  rows = _play(environment, jax.random.key(0), actions)
  ale = ale_py.ALEInterface()
  ale.setFloat('repeat_action_probability', 0.0)
  ale.loadROM(ale_py.roms.get_rom_path('seaquest'))
  minimal = ale.getMinimalActionSet()
  assert num_actions == len(minimal) == 18
  for action, reward in zip(actions[:, 0], rows.reward[1:, 0]):
    assert sum(ale.act(minimal[action]) for _ in range(4)) == reward
    if ale.game_over():
      break
  assert rows.reward.sum() > 1  # Unclipped.


def test_atari_seeds_and_threads():
  def rows(seed, num_threads, key):
    environment = _atari(
      'breakout', 2, seed=seed, env_threads=num_threads,
      repeat_action_probability=0.5)
    actions = np.tile([[1], [2], [3]], (5, 2))
    return _play(environment, jax.random.key(key), actions).observation

  one = rows(0, 1, 0)
  np.testing.assert_array_equal(one, rows(0, 2, 0))
  assert (one != rows(1, 1, 0)).any()
  assert (one != rows(0, 1, 1)).any()
  assert (one[:, 0] != one[:, 1]).any()


def test_atari_on_the_host_plays_the_same_games():
  settings = dict(seed=4, episodic_life=True, repeat_action_probability=0.2)
  environment = _atari('breakout', 2, **settings)
  # Long enough for lives to be lost, and one action out of range.
  actions = np.random.default_rng(0).integers(0, 4, (90, 2)).astype(np.int32)
  actions[7, 0] = 99
  expected = _play(environment, jax.random.key(6), actions)
  assert expected.is_last.any()
  host = _atari('breakout', 2, on_host=True, **settings)
  assert host.spec == environment.spec
  rows = [host.reset(6), *map(host.step, actions)]
  host.close()
  for name, column in zip(rows[0]._fields, zip(*rows)):
    wanted = getattr(expected, name)
    np.testing.assert_array_equal(np.stack(column), wanted, err_msg=name)
    assert column[0].dtype == wanted.dtype, name


def test_atari_handle_outlives_its_environment_and_many_calls():
  _, init, step, restorable = _atari('pong', 2, grayscale=False)
  assert not restorable
  gc.collect()
  step = jax.jit(step)
  state, row = init(jax.random.key(0))
  first = np.asarray(row.observation)
  for _ in range(30):
    state, row = step(state, jnp.array([2, 3]), jax.random.key(0))
  assert first.shape == (2, 36, 36, 3)
  # The two paddles have gone opposite ways.
  last = np.asarray(row.observation)
  assert (last != first).any(axis=(1, 2, 3)).all()
  assert (last[0] != last[1]).any()
  # ALE itself would never return from an action that it does not know.
  step(state, jnp.array([-1, 99]), jax.random.key(0))[1].reward.tolist()


@pytest.mark.parametrize('env_id', [
  'ms_pacman', 'MsPacman', 'ALE/MsPacman-v5', 'MsPacmanNoFrameskip-v4'])
def test_spellings_of_atari_games(env_id):
  _needs('atari')
  assert envs.check_env_id('atari', env_id) == 'ms_pacman'


@pytest.mark.parametrize('family, env_id, nearest', [
  ('atari', 'braekout', 'breakout'),
  ('board', 'conect_four', 'connect_four'),
  ('classic', 'cartpoles', 'cartpole'),
  ('gymnax', 'Acrobat-v1', 'Acrobot-v1'),
  ('continuous', 'Pendulums-v1', 'Pendulum-v1'),
  ('physics', 'reachers', 'reacher'),
  ('minatar', 'sequest', 'seaquest'),
])
def test_unknown_names_give_the_nearest(family, env_id, nearest):
  _needs(family)
  with pytest.raises(UserError, match=f'env_id.*{env_id}.*nearest: {nearest}'):
    envs.check_env_id(family, env_id)
  with pytest.raises(UserError, match='env_id'):
    envs.make(_config(family, env_id))


@pytest.mark.parametrize('family, env_id, words', [
  ('gymnax', 'Pendulum-v1', "'Pendulum-v1' are continuous; take family"),
  ('continuous', 'Acrobot-v1', "'Acrobot-v1' are discrete; take family"),
])
def test_gymnax_has_two_families(family, env_id, words):
  _needs(family)
  with pytest.raises(UserError, match=words):
    envs.make(_config(family, env_id))


def test_unknown_family_and_hopeless_name():
  with pytest.raises(UserError, match='family.*classic'):
    envs.check_env_id('attari', 'pong')
  with pytest.raises(UserError, match='known: cartpole'):
    envs.check_env_id('classic', 'zzz')


@pytest.mark.parametrize('family, module, package, extra', [
  ('atari', 'atari', 'ale_py', 'atari'),
  ('board', 'pgx_games', 'pgx', 'games'),
  ('gymnasium', 'gymnasium', 'gymnasium', 'gymnasium'),
  ('gymnax', 'gymnax', 'gymnax', 'classic'),
  ('continuous', 'gymnax', 'gymnax', 'classic'),
  ('physics', 'physics', 'brax', 'physics'),
])
def test_missing_package_says_what_to_install(
  monkeypatch, family, module, package, extra):
  monkeypatch.setitem(sys.modules, package, None)
  monkeypatch.delitem(sys.modules, f'muzero_jax.envs.{module}', raising=False)
  with pytest.raises(ImportError, match=rf'muzero_jax\[{extra}\]'):
    envs.make(_config(family, 'anything'))


def test_config_reaches_atari():
  _needs('atari')
  fields = dict(
    frame_size=40, grayscale=False, full_action_set=True, frame_skip=8)
  cfg = _config('atari', 'Pong', num_envs=3, **fields)
  environment = envs.make(cfg)
  _, row = environment.init(jax.random.key(0))
  assert row.observation.shape == (3, 40, 40, 3)
  assert row.legal_actions.shape == (3, 18)
  assert environment.spec.max_episode_steps == 13_500
  assert environment.spec.name == 'atari/pong'
  host = envs.make(dataclasses.replace(cfg, driver='sebulba'))
  assert isinstance(host, types.HostEnvironment)
  assert host.spec == environment.spec
  host.close()


def test_evaluation_plays_full_games(monkeypatch):
  _needs('atari')
  from muzero_jax.envs import atari
  seen = []
  monkeypatch.setattr(atari, 'make', lambda *a, **kw: seen.append((a, kw)))
  cfg = _config('atari', 'pong', seed=5)
  assert cfg.episodic_life
  envs.make(cfg)
  envs.make(cfg, evaluation=True, num_envs=7, seed=9)
  assert all(a[0].episodic_life for a, _ in seen)
  assert [kw['evaluation'] for _, kw in seen] == [False, True]
  assert [a[1] for a, _ in seen] == [cfg.num_envs, 7]
  assert [kw['seed'] for _, kw in seen] == [5, 9]


def test_states_of_gymnax_are_one_hot():
  pytest.importorskip('gymnax')
  env = envs.gymnax.make('FrozenLake-misc', 2)
  assert env.spec.observation_shape == (16,)
  assert env.spec.observation_dtype == np.float32
  played = base.check_environment(env, jax.random.key(0), num_steps=60)
  seen = played.rows.observation
  assert (seen.sum(-1) == 1).all() and len(np.unique(seen.argmax(-1))) > 3


@pytest.mark.parametrize('name', ['MNISTBandit-bsuite', 'Catch-bsuite'])
def test_what_gymnax_cannot_load_is_one_line(name, monkeypatch):
  gymnax = pytest.importorskip('gymnax')

  def fail(name):
    raise OSError('no network')

  monkeypatch.setattr(gymnax, 'make', fail)
  with pytest.raises(UserError, match=f"'{name}' takes its data from the net"):
    envs.gymnax.spec(name)
