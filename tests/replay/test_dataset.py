"""Datasets: what is written is read back, and nothing else is."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_dataset
import tiny_run
from helpers import assert_trees_equal

from muzero_jax.errors import UserError
from muzero_jax.replay import dataset, dataset_validation, ring
from muzero_jax.runs import dataset_export, run_dir
from muzero_jax.types import EnvSpec


@pytest.fixture(name='saved')
def _saved(tmp_path):
  rows = tiny_dataset.make_rows()
  dataset.save(tmp_path / 'data', tiny_dataset.SPEC, rows)
  return tmp_path / 'data', rows


def change_facts(directory, **changes):
  """Rewrites dataset.json with other facts."""
  path = directory / dataset.FACTS_FILE
  path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_saved_is_loaded(saved):
  directory, rows = saved
  columns = dataset_validation.COLUMNS
  names = {f'{name}.npy' for name in columns} | {'dataset.json'}
  assert {path.name for path in directory.iterdir()} == names
  assert [path.name for path in directory.parent.iterdir()] == ['data']
  loaded = dataset.load(directory)
  assert_trees_equal(loaded.rows, rows)
  columns = jax.tree.leaves(loaded.rows)
  assert all(isinstance(column, np.memmap) for column in columns)
  assert loaded.spec == tiny_dataset.SPEC._replace(
    observation_dtype=np.dtype('float32'))
  facts = json.loads((directory / 'dataset.json').read_text())
  assert facts == loaded.facts
  assert facts['format'] == 1 and facts['source'] == {}
  reward = facts['columns']['reward']
  assert reward['shape'] == [12, 2] and reward['dtype'] == 'float32'


def test_images_of_bytes_too(tmp_path):
  spec = EnvSpec('test/image', (4, 5, 2), np.uint8, 3, num_players=2)
  rows = tiny_dataset.make_rows(spec=spec)
  dataset.save(tmp_path / 'data', spec, rows, source={'by': 'hand'})
  loaded = dataset.load(tmp_path / 'data', spec=spec)
  assert loaded.rows.frame.dtype == np.uint8
  assert loaded.rows.frame.shape == (12, 2, 4, 5, 2)
  assert loaded.facts['source'] == {'by': 'hand'}


def test_the_newest_rows_are_closed(tmp_path):
  rows = tiny_dataset.make_rows()
  is_last, discount = rows.is_last.copy(), rows.discount.copy()
  is_last[-1], discount[-1] = False, 1.0
  rows = rows._replace(is_last=is_last, discount=discount)
  data = dataset.save(tmp_path / 'data', tiny_dataset.SPEC, rows)
  assert data.rows.is_last[-1].all()
  np.testing.assert_array_equal(data.rows.is_last[:-1], is_last[:-1])
  assert (data.rows.discount[-1] == 1).all()


def test_nothing_is_overwritten(saved):
  directory, rows = saved
  before = tiny_run.snapshot(directory)
  with pytest.raises(UserError, match='output = .*data: it is there already'):
    dataset.save(directory, tiny_dataset.SPEC, rows)
  assert tiny_run.snapshot(directory) == before


def test_returns_of_complete_episodes():
  rows = tiny_dataset.make_rows(num_rows=7, num_envs=2)
  first = np.zeros((7, 2), bool)
  last = np.zeros((7, 2), bool)
  # Environment 0: the end of an episode, one of three rows, the start of one.
  # Environment 1: one episode that does not end.
  first[[2, 5], 0] = last[[1, 4], 0] = True
  first[0, 1] = True
  reward = np.array([[5, 0], [6, 1], [0, 1], [1, 1], [2, 1], [0, 1], [9, 1]],
                    np.float32)
  rows = rows._replace(
    is_first=first, is_last=last, reward=reward,
    to_play=np.zeros((7, 2), np.int32))
  assert dataset.episode_returns(rows) == (3.0, 1)
  # Player 1 opens at row 2; player 0 moves at row 3 and loses 2 by it.
  to_play = np.zeros((7, 2), np.int32)
  to_play[2, 0] = 1
  assert dataset.episode_returns(rows._replace(to_play=to_play)) == (-1.0, 1)
  none = rows._replace(is_last=np.zeros((7, 2), bool))
  assert dataset.episode_returns(none) == (None, 0)


def test_lines_on_a_dataset(saved):
  data = dataset.load(saved[0])
  count = int(data.rows.is_last.sum())
  mean, _ = dataset.episode_returns(data.rows)
  assert dataset.describe(data) == (
    f'12 rows of 2 environments of test/tiny, mean return {mean:.2f} over '
    f'{count} complete episodes')
  none = data._replace(facts={**data.facts, 'num_episodes': 0})
  assert dataset.describe(none).endswith('test/tiny, no complete episode')


@pytest.mark.parametrize('num_added, expected', [
  (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (6, [2, 3, 4, 5]),
])
def test_rings_are_read_from_their_oldest_row(num_added, expected):
  state = ring.init(tiny_dataset.SPEC, 2, 4)
  rows = tiny_dataset.make_rows(num_rows=6)
  for t in range(num_added):
    one = jax.tree.map(lambda x, t=t: jnp.asarray(x[t:t + 1]), rows)
    state = ring.add(state, one)
  assert_trees_equal(
    dataset.in_time_order(state), jax.tree.map(lambda x: x[expected], rows))


# --- What is refused --------------------------------------------------------

def test_no_dataset(tmp_path):
  with pytest.raises(UserError, match='is no dataset: it has no dataset.json'):
    dataset.load(tmp_path)
  (tmp_path / 'dataset.json').write_text('{"format": ')
  with pytest.raises(UserError, match='is not JSON'):
    dataset.load(tmp_path)
  (tmp_path / 'dataset.json').write_text('3')
  with pytest.raises(UserError, match='format is 3, known is 1'):
    dataset.load(tmp_path)


@pytest.mark.parametrize('changes, words', [
  (dict(format=2), 'format is 2, known is 1'),
  (dict(columns={}), 'columns must be frame, reward, .*value'),
  (dict(num_episodes=-1), 'num_episodes = -1'),
  (dict(mean_return='high'), "mean_return = 'high'"),
  (dict(spec={}), 'spec must hold name, observation_shape'),
])
def test_facts_that_are_refused(saved, changes, words):
  change_facts(saved[0], **changes)
  with pytest.raises(UserError, match=words):
    dataset.load(saved[0])


def test_columns_without_hash_are_refused(saved):
  directory, _ = saved
  columns = dataset.load(directory).facts['columns']
  del columns['policy']['sha256']
  change_facts(directory, columns=columns)
  with pytest.raises(UserError, match='column policy has no sha256'):
    dataset.load(directory)


def test_a_flipped_bit_is_noticed(saved):
  path = saved[0] / 'value.npy'
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  with pytest.raises(UserError, match='value.npy has changed since it was'):
    dataset.load(saved[0])


def test_nothing_is_unpickled(saved):
  class Bomb:
    def __reduce__(self):
      return (pytest.fail, ('unpickled',))

  path = saved[0] / 'action.npy'
  np.save(path, np.array([Bomb()], object), allow_pickle=True)
  with pytest.raises(UserError, match='action.npy is no plain array'):
    dataset.load(saved[0])
  path.write_bytes(b'\x80\x04.')
  with pytest.raises(UserError, match='action.npy is no plain array'):
    dataset.load(saved[0])
  path.unlink()
  with pytest.raises(UserError, match='action.npy is missing'):
    dataset.load(saved[0])


def test_too_few_rows_for_a_window(saved):
  assert len(dataset.load(saved[0], window=12).rows.reward) == 12
  with pytest.raises(UserError, match='12 rows .* training window takes 13'):
    dataset.load(saved[0], window=13)


def test_another_environment_is_refused(saved):
  for field, value in (
      ('name', 'test/other'), ('observation_shape', (3,)),
      ('observation_dtype', np.uint8), ('num_actions', 4), ('num_players', 2)):
    wanted = tiny_dataset.SPEC._replace(**{field: value})
    with pytest.raises(UserError, match=f'{field} is .* there and'):
      dataset.load(saved[0], spec=wanted)


def test_broken_rows_are_refused_before_anything_is_written(tmp_path):
  rows = tiny_dataset.make_rows()
  value = rows.value.copy()
  value[3, 1] = np.nan
  with pytest.raises(UserError, match='value is not finite, first in row 3 of '
                     'environment 1'):
    dataset.save(tmp_path / 'data', tiny_dataset.SPEC,
                 rows._replace(value=value))
  assert not list(tmp_path.iterdir())


# --- Of a run ---------------------------------------------------------------


@pytest.mark.parametrize('num_seeds', [1, 2])
def test_the_replay_of_a_run_is_exported(tmp_path, num_seeds):
  config, rows = tiny_dataset.store_run(tmp_path / 'run', num_seeds=num_seeds)
  index = num_seeds - 1
  data = dataset_export.export(tmp_path / 'run', tmp_path / 'data', index=index)
  loaded = dataset.load(tmp_path / 'data')
  assert_trees_equal(loaded.rows, rows)
  assert_trees_equal(data.rows, rows)
  assert loaded.spec.name == 'classic/cartpole'
  source = loaded.facts['source']
  assert source['step'] == 150 and source['agent'] == index
  assert source['config']['num_envs'] == config.num_envs


def test_runs_that_cannot_be_exported(tmp_path):
  run = tmp_path / 'run'
  with pytest.raises(UserError, match='is not a run directory'):
    dataset_export.export(run, tmp_path / 'data')
  run_dir.store(run, tiny_run.config())
  with pytest.raises(UserError, match='has no checkpoint yet'):
    dataset_export.export(run, tmp_path / 'data')
  with pytest.raises(UserError, match='index = 1: the run has 1 agents'):
    dataset_export.export(run, tmp_path / 'data', index=1)
  run_dir.store(run, tiny_run.config(dataset='elsewhere'))
  with pytest.raises(UserError, match="an offline run: .* dataset = 'elsewh"):
    dataset_export.export(run, tmp_path / 'data')
  with pytest.raises(UserError, match='it is there already'):
    dataset_export.export(run, run)


def test_the_command(tmp_path, capsys):
  tiny_dataset.store_run(tmp_path / 'run')
  export = functools.partial(
    tiny_run.answer, capsys, 'dataset', f'--workdir={tmp_path / "run"}')
  done = export()
  assert done.returncode == 2 and '--output is needed' in done.stderr
  done = export(f'--output={tmp_path / "data"}')
  assert done.returncode == 0, done.stderr
  assert '16 rows of 8 environments of classic/cartpole' in done.stdout
  assert dataset.load(tmp_path / 'data').facts['source']['step'] == 150
  done = export(f'--output={tmp_path / "data"}')
  assert done.returncode == 2 and 'it is there already' in done.stderr
