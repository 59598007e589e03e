"""Rules of datasets: each broken alone, and named."""

import numpy as np
import pytest
import tiny_dataset

from muzero_jax.errors import UserError
from muzero_jax.replay import dataset_validation

GOOD = tiny_dataset.make_rows()
FACTS = dict(spec=dict(
  name=tiny_dataset.SPEC.name, observation_shape=[4],
  observation_dtype='float32', num_actions=3, num_players=1,
  max_episode_steps=tiny_dataset.SPEC.max_episode_steps,
  action_names=['left', 'stay', 'right'], alternates=True))


def check(rows):
  dataset_validation.check_arrays('d', tiny_dataset.SPEC, rows)
  dataset_validation.check_values('d', tiny_dataset.SPEC, rows)


def test_good_rows_pass():
  check(GOOD)


@pytest.mark.parametrize('name, column, words', [
  ('frame', GOOD.frame[..., :3],
   r'frame is float32\[12, 2, 3\], expected float32\[12, 2, 4\]'),
  ('frame', GOOD.frame.astype(np.float64), r'frame is float64\[12, 2, 4\]'),
  ('policy', GOOD.policy[:, :1], r'policy is float32\[12, 1, 3\]'),
  ('action', GOOD.action.astype(np.int64), 'action is int64'),
  ('is_last', GOOD.is_last[:-1], r'is_last is bool\[11, 2\]'),
  ('reward', GOOD.reward[:, 0], r'reward has shape \[12\]'),
])
def test_shapes_and_dtypes(name, column, words):
  with pytest.raises(UserError, match=words):
    check(GOOD._replace(**{name: column}))


@pytest.mark.parametrize('name, value, words', [
  ('frame', np.inf, 'frame is not finite'),
  ('reward', np.nan, 'reward is not finite'),
  ('discount', -np.inf, 'discount is not finite'),
  ('policy', np.nan, 'policy is not finite'),
  ('value', np.nan, 'value is not finite'),
  ('discount', 0.5, 'discount is neither 0 nor 1'),
  ('policy', -0.1, 'policy is negative'),
  ('action', 3, 'action is not below num_actions = 3'),
  ('action', -1, 'action is not below num_actions = 3'),
  ('to_play', 1, 'to_play is not below num_players = 1'),
  ('legal_actions', False, 'legal_actions has no legal action'),
])
def test_values(name, value, words, monkeypatch):
  column = np.array(getattr(GOOD, name))
  column[7, 1] = value
  message = f'dataset d: {words}, first in row 7 of environment 1'
  rows = GOOD._replace(**{name: column})
  with pytest.raises(UserError, match=message):
    check(rows)
  # Looked through one row at a time, too.
  monkeypatch.setattr(dataset_validation, '_BLOCK_BYTES', 1)
  with pytest.raises(UserError, match=message):
    check(rows)


def test_only_legal_actions_are_chosen(monkeypatch):
  row, env = np.argwhere(~GOOD.is_last & ~GOOD.legal_actions.all(-1))[-1]
  at = f'first in row {row} of environment {env}'
  illegal = int(GOOD.legal_actions[row, env].argmin())
  action, policy = GOOD.action.copy(), GOOD.policy.copy()
  action[row, env] = illegal
  policy[row, env] = np.eye(3)[illegal]
  for size in (dataset_validation._BLOCK_BYTES, 1):
    monkeypatch.setattr(dataset_validation, '_BLOCK_BYTES', size)
    with pytest.raises(UserError, match=f'action is not legal, {at}'):
      check(GOOD._replace(action=action))
    with pytest.raises(UserError, match=f'policy does not sum to 1 .*, {at}'):
      check(GOOD._replace(policy=policy))


def test_order_of_episodes():
  row, env = np.argwhere(~GOOD.is_last[1:-1] & (GOOD.discount[1:-1] == 1))[0]
  at = f'first in row {row + 2} of environment {env}'
  is_first = GOOD.is_first.copy()
  is_first[row + 2, env] = True
  with pytest.raises(UserError, match=f'is_first does not follow .*{at}'):
    check(GOOD._replace(is_first=is_first))
  discount = GOOD.discount.copy()
  discount[row + 1, env] = 0
  with pytest.raises(UserError, match='is_last is false where discount is 0'):
    check(GOOD._replace(discount=discount))
  is_last = GOOD.is_last.copy()
  discount = GOOD.discount.copy()
  is_last[-1, 1], discount[-1, 1] = False, 1
  with pytest.raises(UserError, match='is_last is false in the newest row, '
                     'first in row 11 of environment 1'):
    check(GOOD._replace(is_last=is_last, discount=discount))


def test_a_spec_is_read_as_it_was():
  found = dataset_validation.read_spec('d', FACTS)
  assert found == tiny_dataset.SPEC._replace(
    observation_dtype=np.dtype('float32'))
  assert found.observation_shape == (4,)


@pytest.mark.parametrize('name, value', [
  ('name', 3), ('observation_shape', [0]), ('observation_shape', 4),
  ('observation_shape', [4.0]), ('observation_dtype', 'object'),
  ('observation_dtype', 'floot'), ('num_actions', 0), ('num_actions', True),
  ('num_players', 3), ('max_episode_steps', -1), ('action_names', [1]),
  ('alternates', 1),
])
def test_a_spec_that_is_none(name, value):
  with pytest.raises(UserError, match=f'dataset d: {name} = '):
    dataset_validation.read_spec('d', dict(spec={**FACTS['spec'], name: value}))


def test_players_alternate_unless_the_spec_says_otherwise():
  spec = dict(FACTS['spec'])
  del spec['alternates']
  assert dataset_validation.read_spec('d', dict(spec=spec)).alternates is True
  spec['alternates'] = False
  assert dataset_validation.read_spec('d', dict(spec=spec)).alternates is False


def test_a_spec_with_other_fields():
  with pytest.raises(UserError, match='spec must hold'):
    dataset_validation.read_spec('d', dict(spec={**FACTS['spec'], 'more': 1}))
  with pytest.raises(UserError, match='spec must hold'):
    dataset_validation.read_spec('d', {})


def test_continuous_and_sampled_actions_are_refused():
  continuous = tiny_dataset.SPEC._replace(
    action_low=(-1.0,) * 3, action_high=(1.0,) * 3)
  sampled = GOOD._replace(candidates=GOOD.action[..., None])
  for spec, rows in ((continuous, GOOD), (tiny_dataset.SPEC, sampled)):
    with pytest.raises(UserError, match='dataset d: actions of .* continuous'):
      dataset_validation.check_arrays('d', spec, rows)
