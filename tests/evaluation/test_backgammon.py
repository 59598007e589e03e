"""Backgammon: what is seen of it, turns, and the player that counts pips."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzero_jax import agent, envs
from muzero_jax import config as config_lib
from muzero_jax.drivers import build
from muzero_jax.envs import base
from muzero_jax.evaluation import (
  match as match_lib,
)
from muzero_jax.evaluation import (
  opponents,
)
from muzero_jax.evaluation import (
  report as report_lib,
)

pgx = pytest.importorskip('pgx')

from opponent_player import Player  # noqa: E402

from muzero_jax.envs import backgammon  # noqa: E402
from muzero_jax.evaluation.opponents import backgammon as players  # noqa: E402

B, T = 8, 400


def make(num_envs=B):
  return envs.make(
    config_lib.from_preset('backgammon'), num_envs=num_envs)


@functools.cache
def positions():
  """States and rows along random games, [T, B, ...], as NumPy arrays."""
  env = make()

  def body(carry, key):
    state, row = carry
    play_key, env_key = jax.random.split(key)
    action = opponents.random(play_key, None, row)
    return env.step(state, action, env_key), (state, row, action)

  @jax.jit
  def play(key):
    start = env.init(key)
    return jax.lax.scan(body, start, jax.random.split(key, T))[1]

  return jax.tree.map(np.asarray, play(jax.random.key(0)))


def pips(board):
  """Own and the other's pip count of ONE board, checker by checker."""
  own = other = 0
  for point in range(24):
    own += max(board[point], 0) * (24 - point)
    other += max(-board[point], 0) * (point + 1)
  return own + 25 * board[24], other - 25 * board[25]


def features(board, dice):
  found = []
  for side, (bar, off) in ((1, (24, 26)), (-1, (25, 27))):
    for point in range(24):
      count = max(side * board[point], 0)
      found += [count >= 1, count >= 2, count >= 3, max(count - 3, 0) / 2]
    found += [side * board[bar] / 2, side * board[off] / 15]
  return np.array(found + [np.sum(dice == d) for d in range(6)], np.float32)


def test_observations_are_tesauros_encoding():
  state, row, _ = positions()
  assert row.observation.shape[2:] == (backgammon.NUM_FEATURES,)
  for t in range(0, T, 17):
    for env in range(B):
      game = state.state
      np.testing.assert_allclose(
        row.observation[t, env],
        features(game._board[t, env], game._playable_dice[t, env]))


def test_the_turn_passes_with_the_last_die_or_none():
  _, row, action = positions()
  assert not make().spec.alternates
  dice = row.observation[..., -6:].sum(axis=-1)
  passes = (dice == 1) | (action < 6)
  # Nobody moves after the last move.
  same_game = ~row.is_last[:-1] & ~row.is_last[1:]
  np.testing.assert_array_equal(
    (row.to_play[1:] != row.to_play[:-1])[same_game], passes[:-1][same_game])
  assert 0.2 < passes.mean() < 0.8


def test_pips_gained_are_those_of_the_rules():
  state, row, _ = positions()
  game, num_compared = pgx.make('backgammon'), 0
  boards = state.state._board
  gained = np.asarray(jax.jit(players.pips_gained)(
    boards.reshape(-1, 28))).reshape(T, B, -1)
  step = jax.jit(jax.vmap(game.step, in_axes=(None, 0, None)))
  for t in range(0, T, 20):
    one = jax.tree.map(lambda x, t=t: jnp.asarray(x[t, t % B]), state.state)
    if row.is_last[t, t % B]:
      continue
    legal = np.flatnonzero(row.legal_actions[t, t % B])
    # As many as there are, so that it compiles once.
    tried = np.resize(legal, 32)
    after = step(one, jnp.asarray(tried), jax.random.key(1))
    own, other = pips(np.asarray(one._board))
    for i, move in enumerate(tried[:len(legal)]):
      new = pips(np.asarray(after._board[i]))
      passed = after.current_player[i] != one.current_player
      new = new[::-1] if passed else new
      expected = (own - other) - (new[0] - new[1])
      assert gained[t, t % B, move] == expected, (t, move)
      num_compared += 1
  assert num_compared > 30


def test_pip_count_plays_what_gains_most_and_draws_among_equals():
  state, row, _ = positions()
  gained = players.pips_gained(jnp.asarray(state.state._board[3]))
  batch = jax.tree.map(lambda x: jnp.asarray(x[3]), (state, row))
  act = jax.jit(players.pip_count)
  moves = np.stack([
    np.asarray(act(jax.random.key(i), *batch)) for i in range(100)])
  for env in range(B):
    legal = np.flatnonzero(row.legal_actions[3, env])
    values = np.asarray(gained)[env, legal]
    best = legal[values == values.max()]
    assert set(moves[:, env]) == set(best)


def test_a_match_has_both_colours_and_its_interval():
  # Where the agent is random play itself, and so no better than even.
  env = make(16)
  score = match_lib.play_match(
    Player(opponents.random), env,
    opponents.make('random', 'stochastic/backgammon'), num_envs=16,
    num_games=32)
  plain = match_lib.as_plain(score)
  assert sum(score.first) == sum(score.second) == 16
  assert score.total[1] == 0  # Nobody draws.
  low, high = plain['interval']
  assert low < plain['wins'] / 32 < high
  # Records hold both players' moves, in order.
  assert all(len(game.moves) > 30 for game in score.games)


def test_rows_keep_the_contract_to_the_end_of_a_game():
  _, rows, _ = positions()
  base.check_rows(make().spec, rows)
  with pytest.raises(ValueError, match='two players must alternate'):
    base.check_rows(make().spec._replace(alternates=True), rows)
  assert rows.is_last.sum() > 4
  ends = np.abs(rows.reward[rows.is_last])
  assert np.isin(ends, (1, 2, 3)).all()
  # The winner moved last.
  assert (rows.reward[rows.is_last] > 0).all()
  assert (rows.reward[~rows.is_last] == 0).all()


@pytest.mark.thorough
def test_an_evaluation_meets_random_play_and_who_counts_pips():
  config = config_lib.from_preset(
    'backgammon', num_blocks=0, num_channels=8, head_hidden=8,
    num_simulations=2, max_considered_actions=2, eval_envs=4)
  spec = make(1).spec
  params = jax.jit(build.make_system(config, spec).model.init)(
    jax.random.key(0), build.example_observation(config, spec))
  report = report_lib.report(
    agent.Agent(config, spec, params), num_episodes=4)
  for name in ('random', 'pip_count'):
    match = report[name]
    assert sum(match['first']) == sum(match['second']) == 2
  lines = report_lib.describe(report)
  assert lines[2].startswith('  against pip_count: ')
  assert '% of the points (95 % interval' in lines[2]


@pytest.mark.parametrize('points, num_games, expected', [
  (50, 100, (0.40383, 0.59617)), (0, 10, (0.0, 0.27753)),
  (10, 10, (0.72247, 1.0)),
])
def test_intervals_are_wilsons(points, num_games, expected):
  np.testing.assert_allclose(
    match_lib.interval(points, num_games), expected, atol=1e-5)
