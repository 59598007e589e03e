"""Means between two progress lines: over iterations and agents."""

import numpy as np

from muzero_jax.acting import actor
from muzero_jax.drivers import iteration
from muzero_jax.learning import learner
from muzero_jax.runs import metrics as metrics_lib

STEPS = {'num_steps': (4, 6), 'num_episodes': (0, 2), 'return_sum': (0., 9.),
         'length_sum': (0, 8), 'policy_entropy_sum': (2., 3.),
         'value_sum': (1., 1.), 'network_value_gap': (5., 0.),
         'num_bad': (0, 0)}


def metrics(number, *, has_learnt=True, target_age=None, plays=True):
  """Of two agents; every mean of the learner is `number` and number + 1."""
  each = np.array([number, number + 1.0])
  at = np.stack([each, 10 * each], axis=1)
  by_name = {name: each for name in learner.Metrics._fields}
  by_name |= {
    'value_error_at': at, 'reward_error_at': at, 'target_age': target_age}
  rollout = actor.RolloutStats(**{k: np.array(v) for k, v in STEPS.items()})
  count = np.array([1, 1])
  return iteration.IterationMetrics(
    rollout=rollout if plays else None,
    learner=learner.Metrics(**by_name),
    has_learnt=np.array([has_learnt] * 2), num_steps=count, num_updates=count,
    num_skipped=np.array([1, 2]), skips_in_a_row=count)


def test_means_of_iterations_and_agents():
  taken = metrics_lib.Means()
  assert taken.take() == {}
  taken.add(metrics(1.0))
  taken.add(metrics(4.0))
  taken.add(metrics(99.0, has_learnt=False))
  row = taken.take()
  assert row['loss'] == (1 + 2 + 4 + 5) / 4
  assert row['value_error_at/0'] == 3 and row['value_error_at/1'] == 30
  assert 'target_age' not in row
  assert row['return_of_agent/1'] == 4.5 and 'return_of_agent/0' not in row
  assert row['episode_length'] == 4 and row['search_entropy'] == 0.5
  assert row['search_value'] == 0.2 and row['search_value_gap'] == 0.5
  assert row['skipped_updates'] == 3
  assert taken.take() == {}


def test_a_stream_and_a_run_that_plays_nothing():
  taken = metrics_lib.Means()
  taken.add(metrics(1.0, target_age=np.array([2.0, 4.0]), plays=False))
  row = taken.take()
  assert row['target_age'] == 3 and row['skipped_updates'] == 3
  assert not {'search_value', 'episode_length', 'return_of_agent/1'} & {*row}
