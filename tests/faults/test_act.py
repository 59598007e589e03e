"""What `agent.act` refuses: one UserError that names the argument."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from counting_agent import counting_agent

from muzero_jax.errors import UserError

GOOD = np.zeros((2, 4), np.float32)
OBSERVATIONS = {
  'no episode': np.zeros((0, 4)),
  'ragged': [[0.0] * 4, [0.0] * 3],
  'ragged object': np.array([[0.0] * 4, [0.0] * 3], object),
  'objects': np.full((2, 4), None),
  'objects of numbers': np.zeros((2, 4), object),
  'a string': 'four',
  'strings': np.full((2, 4), '1.0'),
  'bytes': np.full((2, 4), b'1'),
  'None': None,
  'a dict': {'observation': GOOD},
  'a set': {0.0, 1.0},
  'a function': np.zeros,
  'a record': np.zeros((2, 4), [('x', float)]),
  'times': np.zeros((2, 4), 'datetime64[s]'),
  'complex': np.zeros((2, 4), complex),
  'a python complex': [0, 0, 0, 1j],
  'too large for float32': np.full((2, 4), 1e39),
  'too small for float32': np.full((2, 4), -1e39),
  'a huge whole number': [0, 0, 0, 10**400],
  'NaN': np.full((2, 4), np.nan),
  'inf': np.full((2, 4), np.inf),
  'no axis': 0.0,
  'nothing': [],
  'an axis too many': np.zeros((2, 2, 4)),
}
MASKS = {
  'NaN': np.full((2, 3), np.nan),
  'one NaN': [[1, 1, np.nan], [1, 1, 1]],
  'inf': np.full((2, 3), np.inf),
  'neither': np.full((2, 3), 2),
  'minus one': np.full((2, 3), -1),
  'a half': np.full((2, 3), 0.5),
  'strings': [['yes', 'no', 'no']] * 2,
  'a string': 'all',
  'complex': np.ones((2, 3), complex),
  'None within': [[None, True, True]] * 2,
  'ragged': [[True], [True, False]],
  'a dict': {0: True},
  'another shape': np.ones((3, 2), bool),
}


@pytest.fixture(name='player')
def _player():
  player = counting_agent()
  player.reset()
  with warnings.catch_warnings():
    warnings.simplefilter('error')  # A warning beside the line is one too many.
    yield player


@pytest.mark.parametrize('name', OBSERVATIONS)
def test_observations(player, name):
  with pytest.raises(UserError, match='^observation'):
    player.act(OBSERVATIONS[name])


@pytest.mark.parametrize('name', MASKS)
def test_masks(player, name):
  with pytest.raises(UserError, match='^legal_actions'):
    player.act(GOOD, MASKS[name])


@pytest.mark.parametrize('value', [
  [np.nan, 1], [2, 0], ['x', 'y'], [None, True], [1j, 0], 'first', {}, [[1]]])
def test_is_first(player, value):
  with pytest.raises(UserError, match='^is_first'):
    player.act(GOOD, None, value)


def test_a_refusal_changes_nothing(player):
  first = player.act(GOOD)
  player.reset()
  for name in ('no episode', 'complex', 'too large for float32'):
    with pytest.raises(UserError):
      player.act(OBSERVATIONS[name])
  np.testing.assert_array_equal(player.act(GOOD), first)


@pytest.mark.parametrize('observation', [
  GOOD.astype(np.float64), GOOD.astype(np.float16), GOOD.astype(int),
  GOOD.astype(bool), jnp.asarray(GOOD), jnp.asarray(GOOD, jnp.bfloat16),
  GOOD.tolist()], ids=lambda x: str(getattr(x, 'dtype', 'list')))
@pytest.mark.parametrize('mask', [
  np.ones((2, 3), bool), np.ones((2, 3), int), np.ones((2, 3)),
  [[1, 1, 1]] * 2, jnp.ones((2, 3))])
def test_what_is_plain_is_taken(player, observation, mask):
  assert player.act(observation, mask, [1, 1]).shape == (2,)
