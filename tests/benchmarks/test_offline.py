"""The benchmark of offline runs: made once, and recorded beside the data."""

import json

import pytest
import tiny_run
from tiny_dataset import store_run

from benchmarks import learning
from benchmarks import offline as benchmark
from muzero_jax import config as config_lib
from muzero_jax import train
from muzero_jax.replay import dataset

SOURCE = benchmark.Source('cartpole', tiny_run.FIELDS, 'offline/cartpole.flags')


@pytest.mark.parametrize('which', list(benchmark.SOURCES))
def test_sources_fit_their_flagfiles(which):
  source = benchmark.SOURCES[which]
  online = config_lib.from_preset(source.preset, **source.fields)
  offline = learning.read_flagfile(learning.FLAGFILES / source.flagfile)
  assert offline.dataset
  # Unplugged's share learns CartPole; on MinAtar it learns nothing.
  share = {'cartpole': 1, 'minatar_breakout': 0}[which]
  assert offline.reanalyse_fraction == share
  assert not offline.priority_alpha
  for name in ('family', 'env_id', 'num_channels', 'discount'):
    assert getattr(offline, name) == getattr(online, name)
  assert online.capacity_rows_per_env >= offline.window_rows


def test_what_is_there_is_not_made_again(tmp_path, monkeypatch):
  runs, path = tmp_path / 'runs', tmp_path / 'offline_cartpole.json'
  asked, statuses = [], [143, 0, 0]

  def fake_run(config, workdir):
    asked.append((workdir.name, config))
    if workdir.name == 'online':
      status = statuses.pop(0)
      if not status:
        store_run(workdir)
      return status
    return 0

  row = dict(
    seed=0, agent=0, num_agents=1, step=4_000, updates=4_000, mean=9.0,
    environment='classic/cartpole')
  monkeypatch.setattr(train, 'run', fake_run)
  monkeypatch.setattr(
    learning, 'read_run', lambda workdir: (asked[-1][1], [row]))

  def run():
    return benchmark.run(SOURCE, path, runs, command='x', num_seeds=2)

  assert run() == 143 and not path.exists()
  assert run() == 0 and run() == 0
  assert [name for name, _ in asked] == ['online'] * 2 + ['offline'] * 2
  assert asked[0][1].eval_episodes == 0
  assert asked[-1][1].dataset == str(runs / 'data')
  assert asked[-1][1].num_seeds == 2
  record = json.loads(path.read_text())
  facts = dataset.load(runs / 'data').facts
  assert record['data'] == dict(
    mean_return=facts['mean_return'], num_episodes=facts['num_episodes'],
    step=150)
  assert record['command'] == 'x' and record['seeds'][0]['mean'] == 9.0
