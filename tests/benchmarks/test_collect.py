"""Run directories to benchmarks/results/<name>.json."""

import json

import pytest
import stored_run

from benchmarks import collect, learning
from muzero_jax import config as config_lib


def _store(workdir, *, num_rows=3, evaluated=True, **fields):
  config = config_lib.from_preset('cartpole', **fields)
  stored_run.store(workdir, config, num_rows=num_rows, evaluated=evaluated)
  return str(workdir)


def _collect(tmp_path, *workdirs, name='mine'):
  collect.main([
    *(f'--workdir={workdir}' for workdir in workdirs), f'--name={name}',
    '--note=alone', f'--results={tmp_path / "results"}'])
  return json.loads((tmp_path / 'results' / f'{name}.json').read_text())


def test_seeds_that_were_run_apart(tmp_path):
  runs = [
    _store(tmp_path / f'{seed}', seed=seed, num_rows=1000, log_period=seed + 1)
    for seed in (0, 3)
  ]
  record = _collect(tmp_path, *runs)
  assert record['environment'] == 'classic/cartpole'
  assert record['command'] == (
    'python -m experiments.classic --preset=cartpole')
  assert record['configuration'] == learning.configuration(
    config_lib.from_preset('cartpole'))
  assert record['note'] == 'alone'
  assert record['hardware']['cores'] and record['versions']['jax']
  first, second = record['seeds']
  assert (first['seed'], second['seed']) == (0, 3)
  assert (first['updates'], first['training_seconds']) == (3996, 1000.5)
  assert first['mean'] == 5.0 and first['returns'] == [1.0, 9.0]
  curve = first['training_return_by_step']
  assert len(curve) == learning.MOST_POINTS
  assert curve[-1] == [1000, 999.0]
  # Again, in its own place.
  assert _collect(tmp_path, *runs) == record


def test_agents_side_by_side(tmp_path):
  record = _collect(tmp_path, _store(tmp_path / 'run', num_seeds=2, seed=5))
  assert [row['agent'] for row in record['seeds']] == [0, 1]
  assert [row['mean'] for row in record['seeds']] == [0.0, 1.0]
  assert record['seeds'][1]['training_return_by_step'] == [
    [980, 100.0], [990, 101.0], [1000, 102.0]]
  assert record['command'].endswith('--preset=cartpole --num_seeds=2 --seed=5')


def _ladder(last, **fields):
  ratings = [
    dict(player='random', elo=0.0, step=None),
    dict(player=f'step {last}', elo=90.0, step=last)]
  return dict(
    environment='classic/cartpole', num_games=8, opening_moves=2, seed=0,
    index=1, num_simulations=4, anchor='random',
    opponents=['random', 'one_ply'], ratings=ratings, matches=[], **fields)


def test_a_ladder_goes_with_its_run(tmp_path):
  runs = [_store(tmp_path / f'{seed}', seed=seed) for seed in (0, 1)]
  (tmp_path / '1' / 'ladder.json').write_text(json.dumps(_ladder(1000)))
  record = _collect(tmp_path, *runs)
  assert record['ladder']['ratings'] == _ladder(1000)['ratings']
  assert record['ladder']['command'] == (
    f'python -m experiments.ladder --workdir={runs[1]} '
    '--opponent=random,one_ply --num_games=8 --opening_moves=2 --index=1')


def _without(name):
  return {key: x for key, x in _ladder(1000).items() if key != name}


@pytest.mark.parametrize('found, line', [
  (_ladder(900), 'step 900, the run to step 1,000'),
  (_ladder(1000) | dict(environment='board/x'), 'a ladder of board/x, not'),
  (_without('matches'), 'not a whole one of classic/cartpole'),
  (_without('ratings'), r"ladder\.json: not what experiments\.ladder writes"),
  (_ladder(1000) | dict(ratings=[]), 'not what experiments.ladder writes'),
  (_ladder('a'), 'not what experiments.ladder writes'),
  ([], 'not what experiments.ladder writes'),
])
def test_ladders_that_are_none_of_this_run(tmp_path, found, line):
  runs = [_store(tmp_path / f'{seed}', seed=seed) for seed in (0, 1)]
  (tmp_path / '0' / 'ladder.json').write_text(json.dumps(_ladder(1000)))
  (tmp_path / '1' / 'ladder.json').write_text(json.dumps(found))
  with pytest.raises(SystemExit, match=line):
    _collect(tmp_path, *runs)
  assert not (tmp_path / 'results').exists()


def test_the_command_is_that_of_the_nearest_flagfile():
  values = dict(
    family='gymnax', env_id='Acrobot-v1', discount=0.99, support_max=10.0,
    gumbel_min_range=0.3, gumbel_prior_weight=0.8, priority_alpha=0.0,
    temperature=(1.0, 0.5), temperature_at=(0.0, 0.5), noise_steps=8,
    batch_size=64, num_steps=1_000_000, num_seeds=3,
    eval_episodes=100, eval_envs=100)
  config = config_lib.from_preset('cartpole', **values)
  assert learning.training_command(config, tell_seed=True) == (
    'python -m experiments.classic '
    '--flagfile=experiments/flagfiles/classic/acrobot.flags')
  config = config_lib.from_preset(
    'cartpole', **values | dict(augment_symmetry=True, temperature=(1.0, 0.25)))
  assert learning.training_command(config, tell_seed=False).endswith(
    'acrobot.flags --temperature=1.0,0.25 --augment_symmetry=true')


@pytest.mark.parametrize('fields, line', [
  ([dict(evaluated=False)], 'has no evaluation.json'),
  ([dict(num_rows=0)], 'is of step 1,000, but the run went to step 0'),
  ([dict(), dict(seed=1, discount=0.5)],
   'different configuration: discount is 0.997 and 0.5'),
  ([dict(), dict()], 'seeds 0, 0: every run needs another seed'),
])
def test_refusals(tmp_path, fields, line):
  runs = [_store(tmp_path / f'{i}', **one) for i, one in enumerate(fields)]
  with pytest.raises(SystemExit) as error:
    _collect(tmp_path, *runs)
  assert str(error.value).startswith('error: ') and line in str(error.value)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'results').exists()


def test_a_name_of_another_environment_is_refused(tmp_path):
  run = _store(tmp_path / 'run')
  path = tmp_path / 'results' / 'mine.json'
  path.parent.mkdir()
  path.write_text('{"environment": "board/go_9x9"}')
  with pytest.raises(SystemExit, match='mine.json holds board/go_9x9, not '):
    _collect(tmp_path, run)
  with pytest.raises(SystemExit, match='is not a run directory'):
    _collect(tmp_path, str(tmp_path / 'nowhere'))


@pytest.mark.parametrize('text', [
  '{', '[]', '{"a": 1}', '{"step": "x", "mean": 1}', '{"agents": []}'])
def test_evaluations_that_are_none(tmp_path, text):
  run = _store(tmp_path / 'run')
  (tmp_path / 'run' / 'evaluation.json').write_text(text)
  with pytest.raises(SystemExit, match=r'evaluation\.json: not what an eval'):
    _collect(tmp_path, run)


def test_records_go_where_they_belong(tmp_path):
  run = _store(tmp_path / 'run')
  with pytest.raises(SystemExit, match='--name=a/b: must be a name, without'):
    _collect(tmp_path, run, name='a/b')
  (tmp_path / 'results').write_text('mine')
  with pytest.raises(SystemExit, match='cannot be written'):
    _collect(tmp_path, run)
  assert (tmp_path / 'results').read_text() == 'mine'
