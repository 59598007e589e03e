"""Memory: counted to the byte before any of it is taken."""

import re

import jax
import numpy as np
import pytest
import tiny_dataset
import tiny_run

from muzero_jax.drivers import build, memory_check
from muzero_jax.errors import UserError
from muzero_jax.replay import dataset, reanalyse_buffer
from muzero_jax.types import EnvSpec

CARTPOLE = EnvSpec('classic/cartpole', (4,), np.float32, 2)
# 4 floats of observation, 2 of policy, reward, discount, value, priority;
# action and player; 2 flags and 2 legal actions.
ROW_BYTES = 4 * (4 + 2 + 4 + 2) + 4


def test_a_replay_is_counted(monkeypatch):
  config = tiny_run.config()
  monkeypatch.setattr(memory_check, 'free_bytes', lambda: 10**9)
  assert memory_check.check_replay(config, CARTPOLE) == (
    'replay: 1,024 rows of classic/cartpole take 0.00 GB of 1.00 GB free, '
    'and as much in a checkpoint')
  many = tiny_run.config(num_seeds=3)
  assert 'GB for 3 agents of' in memory_check.check_replay(many, CARTPOLE)
  monkeypatch.setattr(memory_check, 'free_bytes', lambda: None)
  assert memory_check.check_replay(config, CARTPOLE).endswith('take 0.00 GB')
  free = 1024 * ROW_BYTES
  monkeypatch.setattr(memory_check, 'free_bytes', lambda: free)
  # 80 % of as many rows as would fill all of it.
  with pytest.raises(UserError, match=(
      'replay_capacity = 1024: .* may take 80%: at most 819 rows')):
    memory_check.check_replay(config, CARTPOLE)


def test_the_second_ring_counts_too(monkeypatch):
  config = tiny_run.config(reanalyse_fraction=0.5, reanalyse_form='stream')
  plan = build.stream_plan(config)
  second = reanalyse_buffer.num_bytes(CARTPOLE, plan, 1)
  assert second > 100 * ROW_BYTES
  needed = 1024 * ROW_BYTES + 4 + second
  monkeypatch.setattr(
    memory_check, 'free_bytes', lambda: int(needed / 0.8) + 10)
  memory_check.check_replay(config, CARTPOLE)
  monkeypatch.setattr(
    memory_check, 'free_bytes', lambda: int(needed / 0.8) - 10)
  with pytest.raises(UserError, match='replay_capacity = 1024'):
    memory_check.check_replay(config, CARTPOLE)


def test_a_dataset_is_counted(monkeypatch):
  rows = jax.tree.map(np.asarray, tiny_dataset.make_rows(40, 8))
  data = dataset.Dataset(tiny_dataset.SPEC, rows, {})
  config = tiny_run.config(dataset='d', num_seeds=2)
  # One more action than CartPole has; the priorities of two agents.
  needed = 40 * 8 * (ROW_BYTES + 4 + 1 + 4)
  monkeypatch.setattr(
    memory_check, 'free_bytes', lambda: int(needed / 0.8) + 10)
  assert re.fullmatch(
    'the dataset takes 0.00 GB of 0.00 GB free',
    memory_check.check_dataset(config, data))
  monkeypatch.setattr(
    memory_check, 'free_bytes', lambda: int(needed / 0.8) - 10)
  with pytest.raises(UserError, match="dataset = 'd'"):
    memory_check.check_dataset(config, data)
  monkeypatch.setattr(memory_check, 'free_bytes', lambda: None)
  assert memory_check.check_dataset(config, data) == 'the dataset takes 0.00 GB'


def test_this_machine_has_some():
  assert memory_check.free_bytes() > 10**6
