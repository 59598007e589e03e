"""Runs and datasets of an older version: they load, resume and evaluate.

`tests/data/old_runs.tar.gz` was made by the version before modules moved to
packages (40695fe): a CartPole run with a snapshot, its replay as a dataset, and
a run of Stochastic MuZero on 2048. Its configurations have the old names of
fields and networks, its counters one 32-bit word.
"""

import dataclasses
import json
import pathlib
import tarfile

import numpy as np
import pytest
import tiny_run

from muzero_jax import agent, config, train
from muzero_jax.evaluation import report
from muzero_jax.replay import dataset
from muzero_jax.runs import checkpoint, policy_checkpoints, run_dir

ARCHIVE = pathlib.Path(__file__).parents[1] / 'data' / 'old_runs.tar.gz'


@pytest.fixture
def old(tmp_path):
  """The folder of the old runs."""
  with tarfile.open(ARCHIVE) as archive:
    archive.extractall(tmp_path, filter='data')
  return tmp_path


def test_a_run_resumes_with_its_counters(old, capsys):
  stored = json.loads((old / 'run' / 'config.json').read_text())
  assert 'average_decay' in stored
  [before] = checkpoint.steps(old / 'run')
  rows = tiny_run.rows(old / 'run')
  longer = dataclasses.replace(
    run_dir.read_config(old / 'run'), num_steps=before + 100)
  assert longer.ema_decay == stored['average_decay']
  assert train.run(longer, old / 'run') == 0
  assert f'resumed from the checkpoint at step {before}' in (
    capsys.readouterr().out)
  after = tiny_run.rows(old / 'run')
  assert after[:len(rows)] == rows
  assert after[-1]['step'] >= before + 100
  assert after[-1]['updates'] > rows[-1]['updates'] > 0


def test_an_agent_and_a_snapshot_play(old):
  last = agent.load(old / 'run')
  [step, *_] = policy_checkpoints.steps(old / 'run')
  snapshot = agent.load(old / 'run', snapshot=step)
  assert last.step > snapshot.step > 0
  observation = np.ones((2, 4), np.float32)
  for one in (last, snapshot):
    assert one.act(observation).shape == (2,)
  found = report.report(last, num_episodes=2)
  assert found['num_episodes'] == 2 and found['mean'] > 0


def test_a_stochastic_run_with_a_renamed_network_loads(old, capsys):
  stored = json.loads((old / 'run_2048' / 'config.json').read_text())
  assert stored['network'] == 'lines'
  pytest.importorskip('pgx')
  found = agent.load(old / 'run_2048')
  assert found.config.network == 'rotation_equivariant'
  assert 'notice: network = lines' in capsys.readouterr().err
  assert found.act(np.zeros((4, 4, 31), bool)) in range(4)


def test_a_dataset_trains(old):
  data = dataset.load(old / 'data')
  assert data.spec.name == 'classic/cartpole'
  offline = dataclasses.replace(
    run_dir.read_config(old / 'run'), dataset=str(old / 'data'),
    offline_updates=4, num_devices=1)
  assert train.run(offline, old / 'offline') == 0
  assert checkpoint.steps(old / 'offline') == [4]
  assert isinstance(offline, config.Config)
