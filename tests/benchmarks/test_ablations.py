"""Ablations: variants run once, and go on where they were interrupted."""

import json

import pytest
import stored_run

from benchmarks import ablations, report
from muzero_jax import train

_TINY = ablations.Ablation(
  'Is it worth it?', 'cartpole',
  dict(num_steps=2_000, eval_episodes=4),
  {'as trained': dict(eval_simulations=0), 'two': dict(eval_simulations=2)},
)


@pytest.mark.parametrize('which', list(ablations.ABLATIONS))
def test_all_variants_can_be_configured(which):
  found = ablations.configs(ablations.ABLATIONS[which], num_seeds=3)
  assert len(set(found.values())) == len(found) > 1


def test_interrupted_and_gone_on(tmp_path, monkeypatch):
  path, runs = tmp_path / 'ablation_tiny.json', tmp_path / 'runs'

  def run(**kwargs):
    return ablations.run(
      _TINY, path, runs, command='x', num_seeds=2, **kwargs)

  assert run(seconds=0) == 0 and not path.exists()
  started = []

  def second_is_stopped(config, workdir):
    started.append(config.eval_simulations)
    if len(started) == 2:
      return 143
    stored_run.store(workdir, config)
    return 0

  monkeypatch.setattr(train, 'run', second_is_stopped)
  assert run() == 143
  stored = json.loads(path.read_text())
  assert list(stored['variants']) == ['as trained']
  path.write_text(json.dumps(dict(stored, learnt='A little.')))
  assert run() == 0 and run() == 0
  assert started == [0, 2, 2]
  stored = json.loads(path.read_text())
  assert stored['learnt'] == 'A little.'
  assert [one['varied'] for one in stored['variants'].values()] == list(
    _TINY.variants.values())
  for one in stored['variants'].values():
    assert [row['agent'] for row in one['seeds']] == [0, 1]
    assert all(row['training_return_by_step'] for row in one['seeds'])
  text = report.page(
    {**report.read_results(), 'ablation_tiny': stored},
    report.TEMPLATE.read_text(encoding='utf-8'))
  assert '### Tiny\n\nIs it worth it? classic/cartpole, `x`' in text


def test_other_settings_start_anew(tmp_path, monkeypatch):
  path = tmp_path / 'ablation_tiny.json'
  path.write_text(json.dumps(dict(variants={'two': dict(configuration={})})))
  monkeypatch.setattr(train, 'run', lambda config, workdir: 130)
  assert ablations.run(_TINY, path, tmp_path, command='x') == 130
