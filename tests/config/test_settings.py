"""Settings records: each by itself, and all of them in a Config."""

import dataclasses
import inspect
import itertools

import pytest

from muzero_jax import config as config_lib
from muzero_jax.config import Config, settings
from muzero_jax.errors import UserError

RECORDS = [
  value for name, value in inspect.getmembers(settings, inspect.isclass)
  if issubclass(value, settings.Record) and value is not settings.Record
]
FIELDS = [
  (record, item) for record in RECORDS for item in dataclasses.fields(record)
]


def fields_of(record):
  return {item.name: item for item in dataclasses.fields(record)}


def bad_value(item):
  """A value of the right type, if the field has one that it refuses."""
  choices, low = item.metadata['choices'], item.metadata['low']
  if choices is not None:
    return 'nonsense'
  if low is not None:
    below = low - 1
    if item.type not in (int, float):
      return (below,)
    return item.type(below)
  return 'nonsense' if item.type is not str else 3


def test_every_record_is_here():
  assert {*settings.PARTS} < {*RECORDS}
  assert len(RECORDS) == len({*settings.__all__} - {'PARTS', 'Record'})


@pytest.mark.parametrize('record', RECORDS)
def test_defaults_are_valid_and_frozen(record):
  made = record()
  assert made == record() and hash(made) == hash(record())
  name = dataclasses.fields(record)[0].name
  with pytest.raises(dataclasses.FrozenInstanceError):
    setattr(made, name, getattr(made, name))


@pytest.mark.parametrize('record, item', FIELDS, ids=lambda x: (
  x.name if isinstance(x, dataclasses.Field) else x.__name__))
def test_every_field_refuses_bad_values_by_its_name(record, item):
  for value in (bad_value(item), object(), None):
    with pytest.raises(UserError) as refusal:
      record(**{item.name: value})
    assert str(refusal.value).startswith(f'{item.name} = {value!r} is not ')
  with pytest.raises(UserError, match=f'^{item.name} = '):
    dataclasses.replace(record(), **{item.name: object()})


@pytest.mark.parametrize('record, item', FIELDS, ids=lambda x: (
  x.name if isinstance(x, dataclasses.Field) else x.__name__))
def test_every_field_says_what_it_is(record, item):
  del record
  assert item.metadata['help'].endswith('.')
  assert item.type in (bool, int, float, str, tuple[int, ...],
                       tuple[float, ...])


def test_no_two_records_define_the_same_field():
  """Or a Config could not tell them apart."""
  definers: dict[str, list[type]] = {}
  for record in (*RECORDS, Config):
    for name in inspect.get_annotations(record):
      definers.setdefault(name, []).append(record)
  for name, records in definers.items():
    for one, other in itertools.combinations(records, 2):
      assert issubclass(one, other) or issubclass(other, one), (
        f'{name} is a field of {one.__name__} and of {other.__name__}')


def test_the_parts_share_no_fields_but_those_they_inherit():
  owners: dict[str, list[type]] = {}
  for part in settings.PARTS:
    for name in fields_of(part):
      owners.setdefault(name, []).append(part)
  for name, parts in owners.items():
    first = parts[0]
    assert all(issubclass(part, first) for part in parts), name
  assert {*owners} == {*config_lib.FIELDS}


def test_fields_cover_all_of_a_config_in_the_order_of_the_parts():
  assert dict(config_lib.FIELDS) == fields_of(Config)
  names = itertools.chain.from_iterable(map(fields_of, settings.PARTS))
  assert list(config_lib.FIELDS) == list(dict.fromkeys(names))


@pytest.mark.parametrize('record', RECORDS)
def test_a_config_has_every_record_in_it(record):
  assert Config().part(record) == record()
  # Types and limits are the record's own.
  for name, item in fields_of(record).items():
    assert item.metadata == config_lib.FIELDS[name].metadata
    assert item.default == config_lib.FIELDS[name].default


def test_a_part_has_the_values_of_its_config():
  config = config_lib.from_preset('atari_muzero', seed=7)
  for record in RECORDS:
    part = config.part(record)
    assert type(part) is record
    for name in fields_of(record):
      assert getattr(part, name) == getattr(config, name)


def test_values_are_converted_to_the_type_of_the_field():
  acting = settings.Acting(
    temperature=[1, 0], temperature_at=[0, 1], reward_clip=1)
  assert acting.temperature == (1.0, 0.0)
  assert all(type(entry) is float for entry in acting.temperature)
  assert type(acting.reward_clip) is float


@pytest.mark.parametrize('record, fields, named', [
  (settings.Acting, dict(temperature=(1.0,)), 'temperature_at .* temperature'),
  (settings.Acting, dict(temperature_at=(0.1, 0.5, 0.75)), 'temperature_at'),
  (settings.Acting, dict(temperature_at=(0.0, 0.5, 0.5)), 'temperature_at'),
  (settings.Architecture, dict(chance_codes=1), 'chance_codes = 1'),
  (settings.Architecture, dict(chance_codes=4, network='board_resnet'),
   'chance_codes = 4 .* network'),
  (settings.Architecture, dict(chance_codes=4, prefix_steps=5),
   'prefix_steps = 5 .* chance_codes'),
  (settings.Architecture, dict(network='k_in_a_row', prefix_steps=5),
   'prefix_steps = 5 .* network'),
  (settings.Architecture, dict(network='board_resnet', stem_channels=4),
   'stem_channels = 4 .* network'),
  (settings.Architecture, dict(attention_heads=2),
   'attention_heads = 2 .* stem_channels'),
  (settings.Architecture, dict(stage_blocks=(1, 1)), 'stage_blocks'),
  (settings.Driver, dict(num_envs=8, actor_threads=3),
   'num_envs = 8 .* actor_threads'),
  (settings.Heads, dict(support_bins=600), 'support_bins = 600'),
  (settings.Heads, dict(head='scalar', support_mean='scalar'),
   "support_mean = 'scalar' .* head"),
  (settings.Sampling, dict(num_sampled_actions=1), 'num_sampled_actions = 1'),
  (settings.Sampling, dict(policy_head='tanh_gaussian'),
   "policy_head = 'tanh_gaussian' .* num_sampled_actions"),
  (settings.Sampling, dict(proposal_temperature=2.0),
   'proposal_temperature = 2.0 .* num_sampled_actions'),
  (settings.Targets, dict(value_target='monte_carlo', td_correction=5),
   'td_correction = 5 .* value_target'),
  (settings.Targets, dict(value_target='monte_carlo', mixed_value_age=5),
   'mixed_value_age = 5 .* value_target'),
  (settings.Learning, dict(mixed_value_age=5),
   'mixed_value_age = 5 .* reanalyse_fraction'),
  (settings.Learning, dict(
    mixed_value_age=5, reanalyse_fraction=1.0, reanalyse_form='stream'),
   'mixed_value_age = 5 .* reanalyse_form'),
  (settings.Learning, dict(augment_symmetry=True, stack_actions=True),
   'augment_symmetry = True .* stack_actions'),
  (settings.Learning, dict(intensity_scale=0.1, stack_actions=True),
   'intensity_scale = 0.1 .* stack_actions'),
])
def test_a_record_alone_makes_its_own_checks(record, fields, named):
  with pytest.raises(UserError, match=named):
    record(**fields)
  # And so does whatever is composed of it.
  for other in (*RECORDS, Config):
    if issubclass(other, record):
      with pytest.raises(UserError, match=named):
        other(**fields)


def test_records_that_are_right_by_themselves():
  settings.Acting(temperature=(1.0,), temperature_at=(0.0,))
  settings.Architecture(chance_codes=2)
  settings.Sampling(
    num_sampled_actions=2, policy_head='tanh_gaussian',
    proposal_temperature=2.0)
  settings.Targets(mixed_value_age=5)
  settings.Learning(mixed_value_age=5, reanalyse_fraction=1.0)


def test_a_whole_number_beyond_all_floats_is_refused():
  with pytest.raises(UserError, match='learning_rate'):
    config_lib.from_json('{"learning_rate": 1' + 400 * '0' + '}')


@pytest.mark.parametrize('name', [
  'temperature_moves', 'td_correction', 'warmup_updates'])
def test_what_a_compiled_step_compares_has_32_bits(name):
  config = Config(family='classic', env_id='cartpole')
  assert getattr(dataclasses.replace(config, **{name: 2**31 - 1}), name)
  with pytest.raises(UserError, match=name):
    dataclasses.replace(config, **{name: 2**31})
