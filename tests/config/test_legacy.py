"""Names and values of older versions: read with a notice, or refused."""

import dataclasses
import json

import pytest

from muzero_jax import config as config_lib
from muzero_jax.config import Config, legacy
from muzero_jax.errors import UserError
from muzero_jax.runs import run_dir


def test_old_names_are_read_with_a_notice(capsys):
  config = config_lib.from_fields(dict(
    stem_channels=4, stem_heads=2, average_decay=0.5))
  assert config == Config(stem_channels=4, attention_heads=2, ema_decay=0.5)
  out, err = capsys.readouterr()
  assert out == ''
  assert err.splitlines() == [
    'notice: stem_heads is called attention_heads now',
    'notice: average_decay is called ema_decay now']


@pytest.mark.parametrize('old, new', [
  ('lines', 'rotation_equivariant'), ('windows', 'k_in_a_row')])
def test_old_values_are_read_with_a_notice(old, new, capsys):
  assert config_lib.from_fields(dict(network=old)) == Config(network=new)
  assert capsys.readouterr().err == (
    f'notice: network = {old} is called {new} now\n')


def test_an_old_name_of_a_default_gives_no_notice(capsys):
  default = Config().ema_decay
  assert config_lib.from_fields(dict(average_decay=default)) == Config()
  assert capsys.readouterr().err == ''


def test_names_of_today_give_no_notice(capsys):
  config_lib.from_fields(dict(network='k_in_a_row', ema_decay=0.5))
  assert capsys.readouterr().err == ''


@pytest.mark.parametrize('old', legacy.RENAMED)
def test_an_old_name_beside_the_new_one_is_refused(old):
  new = legacy.RENAMED[old]
  value = getattr(Config(), new)
  with pytest.raises(UserError, match=f'{old} .*{new}'):
    config_lib.from_fields({old: value, new: value})


@pytest.mark.parametrize('fields', [
  dict(gumbel_min_share=0), dict(gumbel_min_share=0.0),
  dict(gumbel_keep_prior=False), dict(proposal_share=1.0),
  dict(action_bins=7),
])
def test_what_is_gone_and_did_nothing_is_forgotten(fields):
  assert {*fields} <= {*legacy.REMOVED}
  assert config_lib.from_fields(fields) == Config()


@pytest.mark.parametrize('name, value', [
  ('gumbel_min_share', 0.5), ('gumbel_keep_prior', True),
  ('proposal_share', 0.25), ('action_bins', 9), ('gumbel_min_share', None),
  ('gumbel_min_share', [0]),
])
def test_what_is_gone_and_did_something_is_refused(name, value):
  with pytest.raises(UserError, match=f'^{name} = ') as refusal:
    config_lib.from_fields({name: value})
  assert repr(value) in str(refusal.value)


def test_values_that_are_gone_are_refused():
  with pytest.raises(UserError, match="^policy_head = 'factored_categorical'"):
    config_lib.from_fields(dict(
      num_sampled_actions=4, policy_head='factored_categorical'))
  # Only what was a network is taken for one.
  with pytest.raises(UserError, match='^network = '):
    config_lib.from_fields(dict(network=['lines']))


def test_unknown_names_are_refused_as_ever():
  with pytest.raises(UserError, match="'num_env'.*num_envs"):
    config_lib.from_fields(dict(num_env=2))


def test_the_names_of_older_versions_are_no_fields_of_today():
  gone = {*legacy.RENAMED, *legacy.REMOVED}
  assert not gone & {*config_lib.FIELDS}
  assert {*legacy.RENAMED.values()} <= {*config_lib.FIELDS}
  for name, values in legacy.RENAMED_VALUES.items():
    choices = config_lib.FIELDS[name].metadata['choices']
    assert {*values.values()} <= {*choices} and not {*values} & {*choices}


def old_text(**changes):
  """config.json as a version before these changes wrote it."""
  old = {new: old for old, new in legacy.RENAMED.items()}
  fields = {
    old.get(name, name): value
    for name, value in dataclasses.asdict(Config()).items()}
  fields |= dict(
    gumbel_min_share=0.0, gumbel_keep_prior=False, proposal_share=1.0,
    action_bins=7)
  return json.dumps(fields | changes, indent=2) + '\n'


def test_a_run_directory_of_an_older_version(tmp_path, capsys):
  path = tmp_path / run_dir.CONFIG_FILE
  text = old_text(network='windows', average_decay=0.25, seed=3)
  path.write_text(text)
  expected = Config(network='k_in_a_row', ema_decay=0.25, seed=3)
  assert run_dir.read_config(tmp_path) == expected
  assert 'notice: average_decay is called ema_decay now' in (
    capsys.readouterr().err)
  # It is resumed, and only once it goes on is it rewritten.
  assert run_dir.resolve(tmp_path, dict(seed=3), Config()) == expected
  with pytest.raises(UserError, match='ema_decay is 0.25 there and 0.5 here'):
    run_dir.resolve(tmp_path, dict(ema_decay=0.5), Config())
  assert path.read_text() == text
  run_dir.store(tmp_path, expected)
  capsys.readouterr()
  assert run_dir.read_config(tmp_path) == expected
  assert capsys.readouterr().err == ''


def test_a_run_that_cannot_be_read_any_more(tmp_path):
  path = tmp_path / run_dir.CONFIG_FILE
  path.write_text(old_text(gumbel_keep_prior=True))
  with pytest.raises(UserError, match='config.json: gumbel_keep_prior = True'):
    run_dir.read_config(tmp_path)
