"""What is missing, linked or changed in a run directory is told, not mended."""

import dataclasses
import json
import shutil

import pytest
import tiny_run

from muzero_jax import agent, train
from muzero_jax import config as config_lib
from muzero_jax.errors import RunError, UserError
from muzero_jax.runs import (
  checkpoint,
  metrics,
  policy_checkpoints,
  record,
  run_dir,
)

CONFIG = tiny_run.config(num_steps=200, checkpoint_period=1e6)
WRITTEN = ('checkpoints', 'snapshots', 'tensorboard', 'config.json',
           'metrics.jsonl', 'evaluation.json', 'curves.png')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A short run that came to its end."""
  workdir = tmp_path_factory.mktemp('runs') / 'whole'
  config = dataclasses.replace(CONFIG, snapshot_period=100)
  assert train.run(config, workdir) == 0
  return workdir


@pytest.fixture
def run(whole, tmp_path):
  """A copy of it."""
  return shutil.copytree(whole, tmp_path / 'run')


def _longer(num_steps=400, **changes):
  return dataclasses.replace(CONFIG, num_steps=num_steps, **changes)


def _remove(run, name):
  path = run / name
  shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize('gone, words', [
  (['checkpoints'], 'holds metrics.jsonl, snapshots but no checkpoints/'),
  (['checkpoints', 'metrics.jsonl'], 'holds snapshots but no checkpoints/'),
  (['checkpoints/*'], 'no checkpoint, but one of step .* was saved there'),
])
def test_a_run_without_its_checkpoints_is_refused_or_restarted(
    run, gone, words):
  last = record.last_saved(run)
  assert [last] == checkpoint.steps(run)
  for pattern in gone:
    for path in list(run.glob(pattern)):
      _remove(run, path.relative_to(run))
  before = tiny_run.snapshot(run)
  with pytest.raises(UserError, match=f'{words}.*--restart'):
    train.run(_longer(), run)
  assert tiny_run.snapshot(run) == before


def test_a_restart_sets_the_old_record_aside(run, capsys):
  before = tiny_run.snapshot(run)
  assert train.run(CONFIG, run, restart=True) == 0
  out = capsys.readouterr().out
  assert 'starts anew: the old record is in ' in out and 'resumed' not in out
  after = tiny_run.snapshot(run)
  for name, data in before.items():
    if name not in ('.lock', 'config.json'):
      assert after[f'before-restart/{name}'] == data, name
  assert tiny_run.rows(run)[0]['step'] == 64
  # The newer one has a place of its own; a new directory has nothing.
  assert record.set_aside(run).name == 'before-restart-2'
  assert record.set_aside(run) is None


def test_killed_before_its_first_checkpoint_it_starts_anew(run, capsys):
  for name in ('checkpoints', 'snapshots', '.saved.json'):
    _remove(run, name)
  (run / 'checkpoints').mkdir()
  assert train.run(CONFIG, run) == 0
  assert 'resumed' not in capsys.readouterr().out


def test_a_newer_checkpoint_that_is_gone_is_told(run, capsys):
  [step] = checkpoint.steps(run)
  record.note_saved(run, step + 64)
  assert train.run(CONFIG, run) == 0
  assert f'of step {step + 64:,}, which was saved, is not used' in (
    capsys.readouterr().out)


@pytest.mark.parametrize('name', WRITTEN)
def test_links_are_refused(run, tmp_path, name):
  outside = tmp_path / 'outside'
  if (run / name).exists():
    (run / name).rename(outside)
  (run / name).symlink_to(outside)
  with pytest.raises(UserError, match=f'{name} is a symbolic link'):
    train.run(_longer(), run)
  if name == 'config.json':  # Read through a link, but never written.
    assert run_dir.read_config(run).num_steps == 200


@pytest.mark.parametrize('field, new', [
  ('learning_rate', 0.401), ('discount', 0.5), ('seed', 1)])
def test_a_configuration_that_was_changed_is_refused(run, field, new):
  path = run / 'config.json'
  fields = json.loads(path.read_text())
  there, fields[field] = fields[field], new
  path.write_text(json.dumps(fields))
  words = (f'config.json has changed since the run was saved: {field} is {new} '
           f'there, but the checkpoint was trained with {there}')
  changed = run_dir.read_config(run)
  before = tiny_run.snapshot(run)
  step = policy_checkpoints.steps(run)[0]
  for call in (lambda: train.run(changed, run), lambda: agent.load(run),
               lambda: agent.load(run, snapshot=step)):
    with pytest.raises(UserError, match=words):
      call()
  assert tiny_run.snapshot(run) == before
  # What may differ when a run is resumed may differ.
  fields[field], fields['num_steps'] = there, 500
  path.write_text(json.dumps(fields))
  assert agent.load(run).config.num_steps == 500


def test_facts_of_a_configuration_are_checked_themselves(tmp_path):
  check = run_dir.check_trained_with(tmp_path, CONFIG)
  check({})  # As older versions have it.
  check(run_dir.facts(CONFIG))
  check(run_dir.facts(_longer(num_devices=2)))
  for facts in ({'config': 3}, {'config_sha256': 'x'},
                {'config': {'num_envs': 'x'}},
                {'config': {'stem_heads': 1, 'attention_heads': 1}}):
    with pytest.raises(run_dir.DamageError):
      check(facts)
  old = {'config': {'average_decay': CONFIG.ema_decay}}
  with pytest.raises(UserError, match='num_channels is 16 there'):
    check(old)
  assert config_lib.RESUMABLE_FIELDS >= {'num_devices', 'num_steps'}


def test_another_environment_of_the_same_name_is_told(tmp_path):
  check = run_dir.check_trained_with(tmp_path, CONFIG, 'classic/cartpole')
  check(run_dir.facts(CONFIG))  # As older versions have it.
  check(run_dir.facts(CONFIG, 'classic/cartpole'))
  with pytest.raises(UserError, match='trained on own/grid.*make_env'):
    check(run_dir.facts(CONFIG, 'own/grid'))
  with pytest.raises(run_dir.DamageError):
    check({'environment': 3})


BAD_ROWS = [
  '{"step": null}', '{"step": "5"}', '{"step": true}', '{"step": -1}',
  '{"step": 1e3}', '{"step": 1' + '0' * 30 + '}', '{"step": NaN}',
  '{"step": 1, "seconds": null}', '{"step": 1, "seconds": "x"}',
  '{"step": 1, "seconds": -1}', '{"step": 1, "seconds": 1e300}',
  '{"step": 1, "seconds": Infinity}', '{"step": 1, "loss": NaN}',
  '{"step": 1, "loss": 1e999}', '{"step": 1, "loss": [1]}',
  '{"step": 1, "step": 2}', '[' * 10**5, '{"step": 1, "x": "\\ud800"}', '3',
  '{"step": 1, "loss": 1' + '0' * 5000 + '}', '\x00', '']


def test_rows_that_no_run_wrote_are_kept_aside(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  good = [dict(step=i, seconds=i / 2, loss=None) for i in (1, 2)]
  lines = [json.dumps(good[0]), *BAD_ROWS, json.dumps(good[1]), '{"step": 3']
  text = '\n'.join(lines)
  path.write_text(text)
  assert metrics.read_metrics(tmp_path) == good
  assert metrics.drop_rows_after(path, 5) == good
  assert (tmp_path / 'damaged-metrics.jsonl').read_text() == text
  # A row that a crash tore is no damage.
  path.write_text(json.dumps(good[0]) + '\n{"step": 3')
  assert metrics.drop_rows_after(path, 5) == good[:1]
  assert not (tmp_path / 'damaged-metrics.jsonl-2').exists()


def test_metrics_that_are_no_file(tmp_path):
  (tmp_path / 'metrics.jsonl').mkdir()
  with pytest.raises(RunError, match='metrics.jsonl cannot be read'):
    metrics.read_metrics(tmp_path)


def test_a_manifest_says_what_its_checkpoint_was_trained_with(run):
  [step] = checkpoint.steps(run)
  manifest = checkpoint.manifest_lib.verify(
    run / 'checkpoints' / f'{step:012d}')
  assert manifest['config']['num_envs'] == CONFIG.num_envs
  assert len(manifest['config_sha256']) == 64
