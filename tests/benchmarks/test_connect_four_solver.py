"""The solver against a search that knows nothing but the rules."""

import functools
import random
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import connect_four as benchmark
from benchmarks import connect_four_solver as c4

# --- The oracle: columns as strings, lowest stone first; no pruning at all.


def _wins(columns, column):
  """Whether the top stone of a column completes four."""
  row, stone = len(columns[column]) - 1, columns[column][-1]

  def run(dx, dy):
    count, x, y = 0, column + dx, row + dy
    while 0 <= x < 7 and 0 <= y < len(columns[x]) and columns[x][y] == stone:
      count, x, y = count + 1, x + dx, y + dy
    return count

  return any(
    run(dx, dy) + run(-dx, -dy) >= 3
    for dx, dy in ((0, 1), (1, 0), (1, 1), (1, -1)))


def _drop(columns, column):
  stone = 'xo'[sum(map(len, columns)) % 2]
  return (*columns[:column], columns[column] + stone, *columns[column + 1:])


def _move_value(columns, column):
  if len(columns[column]) == 6:
    return None
  after = _drop(columns, column)
  return 1 if _wins(after, column) else -_oracle(after)


@functools.cache
def _oracle(columns):
  values = [_move_value(columns, c) for c in range(7)]
  return max((v for v in values if v is not None), default=0)


def _random_game(rng, length):
  """Moves of a game that is not over after `length` of them."""
  while True:
    moves, columns = [], ('',) * 7
    for _ in range(length):
      column = rng.choice([c for c in range(7) if len(columns[c]) < 6])
      columns = _drop(columns, column)
      if _wins(columns, column):
        break
      moves.append(column)
    if len(moves) == length:
      return moves, columns


def test_late_positions_are_solved_as_by_brute_force():
  rng = random.Random(0)
  solver, seen = c4.Solver(), set()
  for length in (41, 40, 38, 36, 34, 32, 30, 28, 26) * 8:
    moves, columns = _random_game(rng, length)
    position = c4.from_moves(moves)
    expected = [_move_value(columns, c) for c in range(7)]
    assert c4.move_values(position) == expected, moves
    # What was learnt of other positions does no harm.
    assert solver.move_values(position) == expected, moves
    assert solver.value(position) == _oracle(columns), moves
    seen |= set(expected)
  assert seen == {1, 0, -1, None}


def test_earlier_positions_are_consistent():
  rng = random.Random(1)
  for _ in range(6):
    moves, _ = _random_game(rng, 18)
    position = c4.from_moves(moves)
    values = c4.Solver().move_values(position)
    # A fresh solver knows nothing, a small one forgets all the time.
    small = c4.Solver(max_entries=100)
    assert small.move_values(position) == values, moves
    assert small.value(position) == max(v for v in values if v is not None)
    mirrored = c4.from_moves([6 - move for move in moves])
    assert c4.Solver().move_values(mirrored) == values[::-1], moves


@pytest.mark.parametrize('moves, expected', [
  # A vertical three: win there; whatever else lets them block.
  ('0 1 0 1 0 1', {0: 1}),
  # Their row of three: all but the block lose at once.
  ('0 6 1 6 2', {0: -1, 1: -1, 2: -1, 4: -1, 5: -1, 6: -1}),
  # Three in an open row.
  ('3 3 2 2 4', dict.fromkeys(range(7), -1)),
  ('0 0 0 0 0 0 1 1 1 1 1 1', {0: None, 1: None}),
])
def test_positions_that_need_no_search(moves, expected):
  position = c4.from_moves([int(move) for move in moves.split()])
  solver = c4.Solver(max_nodes=1)
  for column, value in expected.items():
    full = value is None
    if full:
      assert position.mask & (63 << 7 * column) == 63 << 7 * column
    else:
      after = c4.play(position, column)
      assert -solver.value(after) == value


def test_the_end_of_a_game():
  won = c4.from_moves([0, 1, 0, 1, 0, 1, 0])
  assert c4.is_over(won) and c4.move_values(won) == [None] * 7
  assert c4.Solver().value(won) == -1
  rng = random.Random(2)
  full = c4.from_moves(_random_game(rng, 42)[0])
  assert c4.is_over(full) and c4.move_values(full) == [None] * 7
  assert c4.Solver().value(full) == 0


def test_too_few_nodes():
  position = c4.from_moves([3, 3, 3, 3, 3, 2, 4])
  solver = c4.Solver(max_nodes=500)
  for _ in range(2):
    before = solver.num_nodes
    with pytest.raises(c4.OutOfNodesError, match='no answer after 500 nodes'):
      solver.move_values(position)
    assert solver.num_nodes == before + 501
  # What it kept of broken searches is right.
  rng = random.Random(3)
  outcomes = []
  for _ in range(30):
    moves, columns = _random_game(rng, 28)
    solver = c4.Solver(max_nodes=20)
    for _ in range(20):
      try:
        found = solver.move_values(c4.from_moves(moves))
      except c4.OutOfNodesError:
        outcomes.append('broken')
        continue
      outcomes.append('found' if outcomes[-1:] == ['broken'] else '')
      assert found == [_move_value(columns, c) for c in range(7)]
  assert outcomes.count('found') > 3


def test_observations_of_the_environment():
  pgx = pytest.importorskip('pgx')
  game = pgx.make('connect_four')
  step = jax.jit(game.step)
  state = game.init(jax.random.key(0))
  moves = [3, 3, 2, 0, 6, 6, 2, 1, 3]
  for i, move in enumerate(moves):
    state = step(state, jnp.int32(move))
    position = c4.from_observation(np.asarray(state.observation))
    assert position == c4.from_moves(moves[:i + 1])


def test_what_is_no_position_is_refused():
  with pytest.raises(ValueError, match='move 1: column 7'):
    c4.from_moves([0, 7])
  with pytest.raises(ValueError, match='move 6: column 2 is full'):
    c4.from_moves([2] * 7)
  with pytest.raises(ValueError, match='move 7: the game is over'):
    c4.from_moves([0, 1, 0, 1, 0, 1, 0, 1])
  with pytest.raises(ValueError, match='must be'):
    c4.from_observation(np.zeros((7, 6, 2)))
  floating = np.zeros((6, 7, 2))
  floating[0, 0, 1] = 1
  with pytest.raises(ValueError, match='float'):
    c4.from_observation(floating)
  with pytest.raises(ValueError, match='max_nodes = 0: must be at least 1'):
    c4.Solver(max_nodes=0)


def test_the_benchmark_of_no_run(monkeypatch, tmp_path):
  monkeypatch.setattr(sys, 'argv', ['x', f'--workdir={tmp_path}'])
  with pytest.raises(SystemExit, match='^error: .* is not a run directory'):
    benchmark.main()
