"""Config refuses what cannot run, and says why."""

import dataclasses

import pytest

from muzero_jax import config as config_lib
from muzero_jax.config import Config, presets
from muzero_jax.errors import UserError

BAD = [
  ('num_envs', 0),
  ('num_envs', 2.0),
  ('num_envs', True),
  ('num_envs', '8'),
  ('num_envs', 2**21),
  ('num_envs', None),
  ('grayscale', 1),
  ('grayscale', 'true'),
  ('discount', 1.01),
  ('discount', -0.1),
  ('discount', float('nan')),
  ('discount', True),
  ('learning_rate', float('inf')),
  ('learning_rate', '0.1'),
  ('support_max', 0),
  ('optimiser', 'sdg'),
  ('optimiser', 3),
  ('env_id', ''),
  ('temperature', -1.0),
  ('temperature', ()),
  ('temperature', (1.0, 'a', 0.2)),
  ('temperature', (1.0, -1.0, 0.2)),
  ('temperature', (1.0, True, 0.2)),
  ('temperature_at', (0.0, 0.5, 1.5)),
  ('stage_blocks', (1, 1.0, 1)),
  ('num_steps', 2**53 + 1),
  ('dataset', 3),
  ('reanalyse_form', 'streams'),
]


@pytest.mark.parametrize('name, value', BAD)
def test_bad_value_names_field_value_and_what_is_allowed(name, value):
  with pytest.raises(UserError) as refusal:
    Config(**{name: value})
  message = str(refusal.value)
  assert message.startswith(f'{name} = {value!r} is not ')
  assert message.endswith(config_lib.allowed(name)) or 'did you' in message
  assert '\n' not in message


@pytest.mark.parametrize('fields, named', [
  (dict(support_bins=600), 'support_bins = 600'),
  (dict(head='scalar', support_mean='scalar'), "support_mean = 'scalar'"),
  (dict(temperature=(1.0, 0.0)), 'temperature_at'),
  (dict(temperature_at=(0.1, 0.5, 0.75)), 'temperature_at'),
  (dict(temperature_at=(0.0, 0.5, 0.5)), 'temperature_at'),
  (dict(min_replay=100_001), 'min_replay = 100001'),
  (dict(noise_steps=17), r'noise_steps = \(17,\)'),
  (dict(noise_steps=(1, 2, 4), num_seeds=2), 'equal shares of num_envs = 64'),
  (dict(stage_blocks=(1, 1)), 'stage_blocks'),
  (dict(attention_heads=2), 'attention_heads = 2'),
  (dict(num_devices=3), 'num_envs = 64 .* num_devices = 3'),
  (dict(actor_threads=3), 'num_envs = 64 .* actor_threads = 3'),
  (dict(driver='sebulba'), "driver = 'sebulba'"),
  (dict(driver='anakin', family='gymnasium'), "driver = 'anakin'"),
  (dict(num_devices=2, batch_size=7), 'batch_size = 7'),
  (dict(num_devices=2, batch_size=7, dataset='d'), 'batch_size = 7'),
  (dict(dataset='d', updates_per_iteration=0), 'updates_per_iteration = 0'),
  (dict(augment_symmetry=True, family='board', stack_actions=True),
   'augment_symmetry = True .* stack_actions'),
  (dict(intensity_scale=0.05, stack_actions=True),
   'intensity_scale = 0.05 .* stack_actions'),
  (dict(td_correction=100, value_target='monte_carlo'),
   'td_correction = 100 .* value_target'),
  (dict(mixed_value_age=100, reanalyse_fraction=0.99),
   'mixed_value_age = 100 .* reanalyse_fraction'),
  (dict(mixed_value_age=100, reanalyse_fraction=1.0,
        value_target='monte_carlo'),
   'mixed_value_age = 100 .* value_target'),
  (dict(proposal_temperature=2.0),
   'proposal_temperature = 2.0 .* num_sampled_actions'),
  (dict(entropy_weight=0.5), 'entropy_weight = 0.5 .*'),
  (dict(mixed_value_age=100, reanalyse_fraction=1.0, dataset='d'),
   'mixed_value_age = 100 .* dataset'),
  (dict(mixed_value_age=100, reanalyse_fraction=1.0, reanalyse_form='stream'),
   'mixed_value_age = 100 .* reanalyse_form'),
])
def test_fields_that_do_not_fit_together(fields, named):
  with pytest.raises(UserError, match=named):
    Config(**fields)


def test_offline_the_replay_is_the_dataset():
  config = Config(dataset='d', num_envs=100_000, num_devices=3, batch_size=3,
                  offline_updates=7)
  assert config.total_steps == 7
  assert Config(num_steps=9).total_steps == 9
  assert config_lib.from_json(config_lib.to_json(config)) == config
  assert config_lib.check('dataset', '') == ''
  assert config_lib.allowed('dataset') == 'a path, or nothing'


def test_replay_holds_whole_rollouts_and_at_least_one_window():
  fields = dict(num_envs=4, rollout_length=5, unroll_steps=5, td_steps=5,
                stacked_frames=4, min_replay=0)
  config = Config(replay_capacity=4 * 17 + 3, **fields)
  assert config.capacity_rows_per_env == 15
  assert config.replay_rows == 60
  with pytest.raises(UserError, match='at least 60 is needed'):
    Config(replay_capacity=4 * 14, **fields)
  with pytest.raises(UserError, match='at least 160 is needed'):
    Config(**{**fields, 'rollout_length': 40}, replay_capacity=100)


def test_numbers_are_converted_to_the_type_of_the_field():
  config = Config(discount=1, temperature=[1, 0, 0])
  assert config.discount == 1.0 and type(config.discount) is float
  assert config.temperature == (1.0, 0.0, 0.0)
  assert all(type(entry) is float for entry in config.temperature)


def test_every_default_and_preset_is_valid_and_round_trips():
  for config in [Config(), *map(config_lib.from_preset, presets.PRESETS)]:
    assert config_lib.from_json(config_lib.to_json(config)) == config
    hash(config)


def test_presets_give_the_published_ratio_of_updates_to_steps():
  def updates(config):
    rows = config.num_envs * config.rollout_length
    return config.num_steps * config.updates_per_iteration / rows

  preset = config_lib.from_preset
  assert updates(preset('atari_100k')) == 120_000
  assert updates(preset('atari_100k_v2')) == 120_000
  assert updates(preset('atari_muzero')) == 100_000
  assert updates(preset('board_muzero')) == 1_000_000


def test_preset_overrides_and_unknown_names():
  config = config_lib.from_preset('atari_tiny', env_id='boxing')
  assert (config.family, config.env_id) == ('atari', 'boxing')
  with pytest.raises(UserError, match='did you mean atari_tiny'):
    config_lib.from_preset('atari_tinny')
  with pytest.raises(UserError, match="no field 'num_env'.*num_envs"):
    config_lib.from_preset('cartpole', num_env=3)


@pytest.mark.parametrize('text, words', [
  ('', 'not a configuration'),
  ('[1]', 'a JSON object'),
  ('{"num_env": 3}', 'did you mean num_envs'),
  ('{"num_envs": "__import__(\'os\')"}', 'num_envs = '),
  ('{"discount": NaN}', 'it holds NaN'),
])
def test_from_json_refuses(text, words):
  with pytest.raises(UserError, match=words):
    config_lib.from_json(text)


def test_diff():
  a, b = Config(), Config(seed=3, temperature=(1, 0.5, 0))
  assert config_lib.diff(a, a) == {}
  assert config_lib.diff(a, b) == {
    'seed': (0, 3), 'temperature': ((1.0, 0.5, 0.25), (1.0, 0.5, 0.0))}


def test_resumable_fields_exist_and_the_config_is_frozen():
  assert config_lib.RESUMABLE_FIELDS <= set(config_lib.FIELDS)
  with pytest.raises(dataclasses.FrozenInstanceError):
    Config().seed = 1  # type: ignore[misc]
