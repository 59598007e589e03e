"""Elo: closed forms, known strengths recovered, and honest intervals."""

import numpy as np
import pytest

from muzero_jax.evaluation import elo as elo_lib
from muzero_jax.evaluation.elo import Match


def _elo(p):
  return 400 * np.log10(p / (1 - p))


@pytest.mark.parametrize('wins, draws, losses', [
  (75, 0, 25), (10, 80, 10), (3, 1, 96), (999, 2, 0)])
def test_two_players_have_a_closed_form(wins, draws, losses):
  match = Match('a', 'b', wins, draws, losses)
  count = wins + draws + losses
  for prior in (0, 1, 5):
    p = (wins + draws / 2 + prior / 2) / (count + prior)
    found = elo_lib.rate([match], prior_games=prior, anchor='b')
    elo = dict(zip(found.names, found.elo))
    assert elo['b'] == 0
    assert elo['a'] == pytest.approx(_elo(p), abs=1e-6)
    # The delta method of a binomial, to the other's fixed rating.
    i = found.names.index('a')
    information = (count + prior) * p * (1 - p)
    error = 1.959964 * 400 / np.log(10) / np.sqrt(information)
    assert found.high[i] - found.elo[i] == pytest.approx(error)
    assert found.elo[i] - found.low[i] == pytest.approx(error)
    j = found.names.index('b')
    assert found.low[j] == pytest.approx(0, abs=1e-4)


def test_who_wins_all_stays_finite_by_the_prior():
  found = elo_lib.rate([Match('a', 'b', 100, 0, 0)])
  assert found.names == ('a', 'b')
  assert found.elo[0] - found.elo[1] == pytest.approx(_elo(100.5 / 101))
  assert found.elo.sum() == pytest.approx(0)
  assert list(found.games) == [100, 100] and list(found.score) == [1, 0]


def _round_robin(rng, elo, count, share_drawn=0.0):
  names = [f'p{i}' for i in range(len(elo))]
  matches = []
  for i in range(len(elo)):
    for j in range(i):
      p = 1 / (1 + 10 ** ((elo[j] - elo[i]) / 400))
      drawn = share_drawn * 2 * min(p, 1 - p)
      wins, draws, losses = rng.multinomial(
        count, [p - drawn / 2, drawn, 1 - p - drawn / 2])
      matches.append(Match(names[i], names[j], wins, draws, losses))
  return matches


@pytest.mark.parametrize('share_drawn, least, most', [
  (0.0, 0.93, 0.97), (0.8, 0.97, 1.0)])
def test_known_strengths_lie_in_their_intervals(share_drawn, least, most):
  rng = np.random.default_rng(0)
  elo = np.array([-600.0, -150, 0, 50, 300, 400])
  inside, error = [], []
  for _ in range(300):
    found = elo_lib.rate(_round_robin(rng, elo, 100, share_drawn), anchor='p2')
    true = np.array([elo[int(name[1:])] for name in found.names])
    moving = np.array(found.names) != 'p2'
    inside.append(((found.low <= true) & (true <= found.high))[moving])
    error.append((found.elo - true)[moving])
  # 95 % of 1500, without draws; draws make the intervals wide.
  assert least <= np.mean(inside) <= most
  assert abs(np.mean(error)) < 5


def test_the_maximum_is_one():
  rng = np.random.default_rng(1)
  matches = _round_robin(rng, [0, 100, -200, 350], 30, 0.3)
  found = elo_lib.rate(matches, prior_games=2)
  elo = dict(zip(found.names, found.elo))
  # At the maximum each player's expected points are its points.
  for name in found.names:
    gap = 0.0
    for m in matches:
      if name in m[:2]:
        other = m.opponent if name == m.player else m.player
        count = m.wins + m.draws + m.losses
        won = m.wins if name == m.player else m.losses
        p = 1 / (1 + 10 ** ((elo[other] - elo[name]) / 400))
        gap += won + m.draws / 2 + 1 - (count + 2) * p
    assert gap == pytest.approx(0, abs=1e-6)


def test_order_and_splitting_of_matches_do_not_matter():
  whole = [Match('a', 'b', 6, 2, 4), Match('b', 'c', 9, 0, 3)]
  parts = [Match('c', 'b', 3, 0, 9), Match('a', 'b', 6, 0, 0),
           Match('b', 'a', 4, 2, 0)]
  a, b = elo_lib.rate(whole), elo_lib.rate(parts)
  assert a.names == b.names == ('a', 'b', 'c')
  for x, y in zip(a[1:], b[1:]):
    np.testing.assert_allclose(x, y, atol=1e-6)


def test_a_chain_of_one_sided_matches_is_rated():
  names = [f'p{i}' for i in range(6)]
  matches = [Match(a, b, 1000, 0, 0) for a, b in zip(names, names[1:])]
  found = elo_lib.rate(matches, anchor='p5', anchor_elo=100)
  assert found.names == tuple(names) and found.elo[-1] == pytest.approx(100)
  np.testing.assert_allclose(-np.diff(found.elo), _elo(1000.5 / 1001))


def test_table():
  found = elo_lib.rate(
    [Match('mcts:100', 'random', 75, 0, 25)], prior_games=0, anchor='random')
  lines = elo_lib.table(found).splitlines()
  assert lines[0].startswith('| Player | Elo | 95 % interval |')
  assert lines[2] == '| mcts:100 | 191 | 112 to 269 | 100 | 75.0 % |'
  assert lines[3] == '| random | 0 | 0 to 0 | 100 | 25.0 % |'


@pytest.mark.parametrize('matches, arguments, message', [
  ([], {}, 'there is none'),
  ([Match('a', 'a', 1, 0, 0)], {}, 'against itself'),
  ([Match('a', 'b', 1, -1, 3)], {}, 'none below 0'),
  ([Match('a', 'b', 0, 0, 0)], {}, 'at least one game'),
  ([Match('a', 'b', 1, 0, 1)], {'anchor': 'c'}, "'c' is not one of a, b"),
  ([Match('a', 'b', 1, 0, 1)], {'prior_games': -1}, 'must be at least 0'),
  ([Match('a', 'b', 1, 0, 1), Match('c', 'd', 1, 0, 1)], {},
   'no chain of games'),
  ([Match('a', 'b', 1, 0, 1), Match('a', 'c', 1, 0, 0)], {'prior_games': 0},
   "'c' has won or lost all"),
])
def test_what_cannot_be_rated_is_refused(matches, arguments, message):
  with pytest.raises(ValueError, match=message):
    elo_lib.rate(matches, **arguments)
