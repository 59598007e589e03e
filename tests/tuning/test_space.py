"""What is searched: how it is written, and what is refused."""

import pytest

from muzero_jax import config as config_lib
from muzero_jax.errors import UserError
from muzero_jax.tuning import space

_BASE = config_lib.from_preset('cartpole')


def _one(text):
  return space.parse([text], _BASE)[0]


def test_ranges_and_choices_become_settings():
  rate = _one('learning_rate=1e-4:1e-2:log')
  assert (rate.low, rate.high, rate.is_log, rate.is_whole) == (
    1e-4, 1e-2, True, False)
  assert rate.value(0.00123456) == 0.001235
  steps = _one('td_steps=5:50')
  assert (steps.low, steps.high, steps.is_log, steps.is_whole) == (
    5, 50, False, True)
  assert _one('td_steps=5,10,1k').ends() == (5, 10, 1000)
  assert _one('augment_symmetry=false,true').ends() == (False, True)
  assert _one('temperature=1,0.5,0.25|1,1,1').ends() == (
    (1.0, 0.5, 0.25), (1.0, 1.0, 1.0))
  assert _one('search=gumbel|muzero').value('muzero') == 'muzero'


def test_a_rounded_number_stays_within_its_range():
  rate = _one('learning_rate=0.0012352:0.01')
  assert rate.value(0.0012353) == 0.0012352


@pytest.mark.parametrize('text, words', [
  ('learnin_rate=1:2', 'learning_rate'),
  ('learning_rate', 'learning_rate=1e-4:1e-2:log'),
  ('td_steps=0:5', 'td_steps = 0 is not'),
  ('discount=0.9:1.5', 'discount = 1.5 is not'),
  ('td_steps=5:x', "td_steps = 'x' is not"),
  ('td_steps=1.5:5', 'td_steps = 1.5 is not'),
  ('td_steps=5:5', '5'),
  ('td_steps=5:50:lin', 'low:high:log'),
  ('learning_rate=0:1:log', 'above 0'),
  ('td_steps=5', 'one value is no choice'),
  ('td_steps=5,5', 'twice'),
  ('search=gumbel,muzer', 'muzero'),
  ('search=gumbel:muzero', 'no range'),
  ('augment_symmetry=true,maybe', 'true or false'),
  ('env_id=cartpole,pole', 'environment'),
  ('frame_skip=2,4', 'environment'),
  ('num_steps=1000:2000', 'how long'),
  ('seed=0:5', 'which seed'),
  ('num_seeds=1:5', 'how long'),
  ('num_devices=1,2', 'computed'),
  # What fits alone, but not beside the others.
  ('td_steps=1:5000', 'replay_capacity'),
  ('temperature=1|1,0.5', 'temperature_at'),
])
def test_a_mistake_is_told_with_the_flag(text, words):
  with pytest.raises(UserError, match=r'^--tune=') as error:
    space.parse([text], _BASE)
  assert words in str(error.value)


def test_nothing_and_a_setting_given_twice_are_refused():
  with pytest.raises(UserError, match='--tune='):
    space.parse([], _BASE)
  with pytest.raises(UserError, match='td_steps is given twice'):
    space.parse(['td_steps=1:5', 'td_steps=5,10'], _BASE)


def test_what_is_drawn_becomes_a_configuration_and_back():
  found = space.parse(
    ['learning_rate=1e-4:1e-2', 'td_steps=50,60', 'num_blocks=0:2'], _BASE)
  drawn = dict(learning_rate=0.002, td_steps='60', num_blocks=2)
  config = space.apply(_BASE, found, drawn)
  assert config_lib.diff(config, _BASE) == dict(
    learning_rate=(0.002, 0.001), td_steps=(60, 50), num_blocks=(2, 1))
  assert space.starting_point(_BASE, found) == dict(
    learning_rate=0.001, td_steps='50', num_blocks=1)
  outside = space.parse(['td_steps=5:10'], _BASE)
  assert space.starting_point(_BASE, outside) is None


@pytest.mark.parametrize('preset', [
  'cartpole', 'minatar', 'connect_four', 'board_muzero', 'atari_100k',
  'pendulum'])
def test_the_default_space_fits_each_preset(preset):
  base = config_lib.from_preset(preset)
  texts = space.default(base)
  found = space.parse(texts, base)
  assert 3 <= len(found) <= 6
  assert {'learning_rate', 'updates_per_iteration'} <= {x.name for x in found}
  assert space.starting_point(base, found) is not None


def test_the_default_space_ends_where_settings_end():
  base = config_lib.from_preset(
    'cartpole', updates_per_iteration=10_000, td_steps=900, value_weight=0.0)
  found = {one.name: one for one in space.parse(space.default(base), base)}
  assert found['updates_per_iteration'].high == 10_000
  assert 900 < found['td_steps'].high < 1545
  assert 'value_weight' not in found
