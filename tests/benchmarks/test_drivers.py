"""Both drivers on the same environment."""

from benchmarks import drivers
from muzero_jax.config import from_preset


def test_a_driver_is_timed_once_it_learns(monkeypatch):
  monkeypatch.setattr(drivers, '_REPEATS', 1)
  monkeypatch.setattr(drivers, '_ITERATIONS', 2)
  config = from_preset(
    'cartpole', num_blocks=0, num_channels=8, head_hidden=8, num_simulations=2,
    max_considered_actions=2, num_envs=8, rollout_length=4, min_replay=40,
    replay_capacity=256, batch_size=8, updates_per_iteration=1, unroll_steps=1,
    td_steps=2, num_devices=1)
  row = drivers._measure(config)
  assert row['iteration_seconds'] > 0 and row['compile_seconds'] > 0
  assert row['rows_per_second'] == 8 * 4 / row['iteration_seconds']
  assert row['simulations_per_second'] == 2 * row['rows_per_second']
