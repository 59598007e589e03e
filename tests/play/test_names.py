"""What actions are called, and where they are clicked."""

import numpy as np
import pytest

from muzero_jax.play import names
from muzero_jax.types import EnvSpec


def spec(name, num_actions=9, **fields):
  return EnvSpec(name, (1,), np.dtype(np.float32), num_actions, **fields)


@pytest.mark.parametrize('game, action, mover, name', [
  ('board/tic_tac_toe', 5, 0, 'c2'),
  ('board/connect_four', 6, 0, 'column 7'),
  ('board/othello', 64, 0, 'pass'), ('board/othello', 19, 1, 'd3'),
  # GTP counts rows from below, and has no column I.
  ('board/go_9x9', 0, 0, 'A9'), ('board/go_9x9', 80, 0, 'J1'),
  ('board/go_9x9', 81, 0, 'pass'), ('board/hex', 121, 1, 'swap'),
  # pgx numbers squares by columns, from below, as who moves sees them.
  ('board/chess', 73 * 33 + 17, 0, 'e2e4'),
  ('board/chess', 73 * 33 + 17, 1, 'e7e5'),
  ('stochastic/backgammon', 6 + 3, 0, 'bar by 4'),
  ('stochastic/backgammon', 2 * 6, 0, '1 by 1'),
  ('other/game', 3, 0, '3'),
])
def test_names(game, action, mover, name):
  assert names.name(spec(game), action, mover) == name


@pytest.mark.parametrize('game', [
  pytest.param('chess', marks=pytest.mark.thorough), 'gardner_chess'])
def test_moves_of_chess_are_those_of_pgx(game):
  pgx = pytest.importorskip('pgx')
  import jax

  state = pgx.make(game).init(jax.random.key(0))
  shown = names.of_all(
    spec(f'board/{game}'), np.flatnonzero(state.legal_action_mask))
  assert {
    'chess': {'e2e4', 'e2e3', 'g1f3', 'b1a3', 'a2a4', 'h2h3'},
    'gardner_chess': {'a2a3', 'b1c3', 'e2e3'},
  }[game] <= set(shown.values())
  assert all(len(name) == 4 for name in shown.values())
  assert len(set(shown.values())) == len(shown)


def test_actions_with_names_have_keys():
  one = spec('minatar/seaquest', 3, action_names=('noop', 'left', 'fire'))
  assert names.name(one, 2) == 'fire'
  assert names.keys(one) == {'ArrowLeft': 1, ' ': 2}
  one = spec('atari/kung_fu_master', 4, action_names=(
    'noop', 'leftfire', 'downrightfire', 'backfire'))
  assert names.keys(one) == {'Shift+ArrowLeft': 1, 'Shift+c': 2}
  assert names.keys(spec('other/game', 3)) == {'0': 0, '1': 1, '2': 2}
  assert names.keys(spec('board/othello', num_players=2)) == {}


def test_vectors():
  one = spec('other/game', 2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
  assert names.name(one, np.array([0.123, -1])) == '(0.12, -1.00)'
  assert names.every(one) == []
  assert names.keys(one) == {
    ' ': [0, 0], 'ArrowDown': [-1, 0], 'ArrowUp': [1, 0], 'ArrowLeft': [0, -1],
    'ArrowRight': [0, 1]}
  one = spec('other/game', 1, action_low=(-2.0,), action_high=(4.0,))
  assert names.keys(one) == {
    ' ': [1], 'ArrowLeft': [-2], 'ArrowRight': [4]}
  many = dict(action_low=(-1.0,) * 3, action_high=(1.0,) * 3)
  assert names.keys(spec('other/game', 3, **many)) == {}


def test_cells_lie_on_the_picture():
  for game in ('tic_tac_toe', 'connect_four', 'othello', 'go_9x9', 'hex'):
    found = names.cells(f'board/{game}')
    assert [cell['action'] for cell in found] == list(range(len(found)))
    for cell in found:
      assert 0 <= cell['x'] and cell['x'] + cell['w'] <= 1
      assert 0 <= cell['y'] and cell['y'] + cell['h'] <= 1
  assert names.cells('board/chess') is None
