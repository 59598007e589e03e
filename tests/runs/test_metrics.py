"""Metrics between two progress lines: over iterations and agents."""

import sys

import numpy as np
import pytest

from muzero_jax.acting import actor
from muzero_jax.drivers import iteration
from muzero_jax.learning import total_loss
from muzero_jax.runs.metrics import MetricAverager

STEPS = {'num_steps': (4, 6), 'num_episodes': (0, 2), 'return_sum': (0., 9.),
         'length_sum': (0, 8), 'policy_entropy_sum': (2., 3.),
         'value_sum': (1., 1.), 'network_value_gap': (5., 0.),
         'num_bad': (0, 0)}


def metrics(number, *, has_learnt=True, plays=True, **changes):
  """Of two agents; every metric of the learner is `number` and number + 1."""
  each = np.array([number, number + 1.0])
  at = np.stack([each, 10 * each], axis=1)
  by_name = {name: each for name in total_loss.Metrics._fields}
  by_name |= {
    'value_error_at': at, 'reward_error_at': at, 'target_age': None,
    'extra': None}
  rollout = actor.RolloutStats(**{k: np.array(v) for k, v in STEPS.items()})
  count = np.array([1, 1])
  return iteration.IterationMetrics(
    rollout=rollout if plays else None,
    learner=total_loss.Metrics(**by_name | changes),
    has_learnt=np.array([has_learnt] * 2), num_steps=count, num_updates=count,
    num_skipped=np.array([1, 2]), skips_in_a_row=count)


def test_means_of_iterations_and_agents():
  taken = MetricAverager()
  assert taken.take() == {}
  taken.add(metrics(1.0))
  taken.add(metrics(4.0))
  taken.add(metrics(99.0, has_learnt=False))
  row = taken.take()
  assert row['loss'] == (1 + 2 + 4 + 5) / 4
  assert row['value_error_at/0'] == 3 and row['value_error_at/1'] == 30
  assert 'target_age' not in row and 'extra' not in row
  assert row['return_of_agent/1'] == 4.5 and 'return_of_agent/0' not in row
  assert row['episode_length'] == 4 and row['search_entropy'] == 0.5
  assert row['search_value'] == 0.2 and row['search_value_gap'] == 0.5
  assert row['skipped_updates'] == 3
  assert taken.take() == {}


def test_a_long_time_takes_no_more_memory():
  taken, added = MetricAverager(), []
  for number in range(1000):
    added.append(metrics(float(number), value_target_max=np.array(
      [7.0, 5.0 if number else 2000.0])))
    taken.add(added[-1])
  # Of all that was added few are held any longer.
  held = [one for one in added if sys.getrefcount(one) > 3]
  assert len(held) < 100
  row = taken.take()
  assert row['loss'] == 500.0 and row['value_target_max'] == 2000.0
  assert row['episode_length'] == 4 and row['search_value'] == 0.2
  assert row['return_of_agent/1'] == 4.5


def test_extremes_are_those_of_all_iterations_and_agents():
  taken = MetricAverager()
  taken.add(metrics(1.0, value_target_max=np.array([2.0, 7.0]),
                    weight_min=np.array([0.5, 0.9])))
  taken.add(metrics(4.0, value_target_max=np.array([3.0, 1.0]),
                    weight_min=np.array([0.4, 0.25])))
  taken.add(metrics(9.0, value_target_max=np.array([99.0, 99.0]),
                    weight_min=np.array([0.0, 0.0]), has_learnt=False))
  row = taken.take()
  assert row['value_target_max'] == 7.0
  assert row['weight_min'] == 0.25
  assert row['value_target'] == 3.0  # A mean, as all others are.


def test_extremes_over_the_updates_of_an_iteration():
  each = np.array([1.0, 2.0, 6.0])  # Of three updates.
  by_name = {name: each for name in total_loss.Metrics._fields}
  by_name |= dict(
    value_error_at=np.stack([each, 10 * each], axis=1), reward_error_at=each,
    value_target_max=np.array([4.0, 9.0, 5.0]),
    weight_min=np.array([0.5, 0.75, 0.25]),
    afterstate_loss=None, extra={'mine': np.array([0.0, 0.0, 3.0])})
  found = total_loss.over_updates(total_loss.Metrics(**by_name))
  assert found.value_target_max == 9.0
  assert found.weight_min == 0.25
  assert found.loss == 3.0
  np.testing.assert_allclose(found.value_error_at, [3.0, 30.0])
  assert found.afterstate_loss is None
  assert found.extra == {'mine': 1.0}


def test_metrics_of_extra_terms_are_recorded_by_their_names():
  taken = MetricAverager()
  taken.add(metrics(1.0, extra={'mine': np.array([2.0, 4.0])}))
  taken.add(metrics(1.0, extra={'mine': np.array([6.0, 8.0])}))
  row = taken.take()
  assert row['mine'] == 5.0
  assert 'extra' not in row


@pytest.mark.parametrize('plays', [True, False])
def test_a_stream_and_a_run_that_plays_nothing(plays):
  taken = MetricAverager()
  taken.add(metrics(1.0, target_age=np.array([2.0, 4.0]), plays=plays))
  row = taken.take()
  assert row['target_age'] == 3 and row['skipped_updates'] == 3
  of_play = {'search_value', 'episode_length', 'return_of_agent/1'}
  assert of_play & {*row} == (of_play if plays else set())
