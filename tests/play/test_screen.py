"""Positions as pictures for the page."""

import jax
import numpy as np
import pytest

from muzero_jax import agent, envs
from muzero_jax import config as config_lib
from muzero_jax.play import screen

pytest.importorskip('pgx')
pytest.importorskip('PIL')

GAMES = ('animal_shogi', 'chess', 'gardner_chess', 'go_19x19', 'go_9x9', 'hex',
         'othello', 'shogi', 'tic_tac_toe')


@pytest.mark.thorough
@pytest.mark.parametrize('family, game', [
  *(('board', game) for game in GAMES),
  ('stochastic', '2048'), ('stochastic', 'backgammon')])
def test_games_of_pgx_are_shown(family, game):
  config = config_lib.from_preset(
    'connect_four', family=family, env_id=game, augment_symmetry=False)
  env = envs.make(config, num_envs=1)
  state, row = env.init(jax.random.key(0))
  player = agent.Agent.__new__(agent.Agent)
  player.config, player.spec = config, env.spec
  shown = screen.Screen(player, env).show(
    state, jax.tree.map(np.asarray, row))
  assert list(shown) == ['svg']
  assert shown['svg'].startswith('<svg viewBox="0 0 ')


def test_svg_takes_any_size():
  assert screen.scalable('<?xml?><svg height="20" width="10px"><g/></svg>') == (
    '<svg viewBox="0 0 10 20" height="20" width="10px"><g/></svg>')
  whole = '<svg viewBox="0 0 1 1"></svg>'
  assert screen.scalable(whole) == whole
  assert screen.scalable('<svg ><g/></svg>') == '<svg ><g/></svg>'
