"""Noise-free play in host environments: each episode to its end, no other."""

import itertools

import host_envs
import jax
import numpy as np
import pytest

from muzero_jax import agent, config, errors
from muzero_jax.acting import host_worker
from muzero_jax.drivers import build
from muzero_jax.evaluation import diagnose, host_play
from muzero_jax.evaluation import report as report_lib

CONFIG = config.Config(
  num_channels=8, num_blocks=0, head_hidden=4, support_bins=11,
  support_max=10.0, num_simulations=2, max_considered_actions=2,
  unroll_steps=2, td_steps=2, eval_envs=2, worker_timeout=20.0)


def make_agent(*faults):
  made = host_envs.Factory(*faults)
  system = build.make_system(CONFIG, host_envs.SPEC)
  params = system.model.init(
    jax.random.key(0), build.example_observation(CONFIG, host_envs.SPEC))
  return made, agent.Agent(
    CONFIG, host_envs.SPEC, params, 7, make_env=made)


def test_each_environment_plays_as_many_episodes():
  """Environment 0 gets 3 episodes of 4 steps, environment 1 of 5."""
  made, player = make_agent()
  actions, act = [], player.jitted_act

  def noted(*args):
    memory, found = act(*args)
    actions.append(np.asarray(found.action))
    return memory, found

  player.jitted_act = noted
  returns, lengths = host_play.play(
    player, made(None, num_envs=2), num_envs=2, num_episodes=6)
  assert lengths.tolist() == [[4, 5]] * 3
  # A step pays 1 and the action, which at each fifth and sixth row is ignored.
  paid = 1 + np.array(actions[:17], np.float32)
  np.testing.assert_array_equal(
    returns[:, 0], [paid[i:i + 4, 0].sum() for i in (0, 5, 10)])
  np.testing.assert_array_equal(
    returns[:, 1], [paid[i:i + 5, 1].sum() for i in (0, 6, 12)])
  assert len(actions) == 17 and made.made[0].is_closed


def test_an_episode_without_an_end_is_cut_off(monkeypatch):
  monkeypatch.setattr(host_play, 'LONGEST_EPISODE', 3)
  made, player = make_agent()
  returns, lengths = host_play.play(
    player, made(None, num_envs=2), num_envs=2, num_episodes=4)
  # What is left of the episode counts as another one.
  assert lengths.tolist() == [[3, 3], [1, 2]]
  assert (returns[0] >= 3).all() and (returns[1] < returns[0]).all()


def test_an_evaluation_is_reported_as_of_any_environment():
  made, player = make_agent()
  report = report_lib.report(player, num_episodes=4)
  assert report['environment'] == 'test/host' and report['step'] == 7
  assert report['num_episodes'] == 4 and report['mean_length'] == 4.5
  assert len(report['returns']) == 4
  assert 4.5 <= report['mean'] <= 9
  assert report_lib.report(player, num_episodes=4) == report
  assert len(made.made) == 2


def test_the_search_is_traced_once_for_all_evaluations(monkeypatch):
  traces, act = [], agent.act

  def traced(*args):
    traces.append(args)
    return act(*args)

  monkeypatch.setattr(agent, 'act', traced)
  made, player = make_agent()
  for seed, one in enumerate((player, player, player.with_params(
      player.params, step=9))):
    host_play.play(
      one, made(None, num_envs=2), num_envs=2, num_episodes=4, seed=seed)
  assert len(traces) == 1


def test_steps_tell_what_was_seen_and_what_was_really_done():
  """Whoever decides may change an action; the agent remembers what was done."""
  made, player = make_agent()
  remembered, act = [], player.jitted_act

  def noted(params, memory, *args):
    remembered.append(np.asarray(memory.action))
    return act(params, memory, *args)

  player.jitted_act = noted
  asked = []

  def decide(row, action):
    asked.append(action.copy())
    action[0] = 1 - action[0]
    return action

  with host_play.stepping(
      made(None, num_envs=2), num_envs=2, timeout=20.0, name='test'
  ) as stepper:
    played = host_play.steps(
      player, stepper, jax.random.key(0), num_envs=2, decide=decide)
    steps = list(itertools.islice(played, 4))
  assert made.made[0].is_closed
  for t, step in enumerate(steps):
    assert step.row.observation[:, 1].tolist() == [t, t]
    assert step.next_row.observation[:, 1].tolist() == [t + 1, t + 1]
    np.testing.assert_array_equal(step.found.action, asked[t])
    np.testing.assert_array_equal(
      step.action, [1 - asked[t][0], asked[t][1]])
    np.testing.assert_array_equal(step.next_row.reward, 1 + step.action)
  np.testing.assert_array_equal(
    remembered[1:], [step.action for step in steps[:-1]])


def test_a_hang_or_an_error_ends_it():
  made, player = make_agent([(3, 'raise')])
  with pytest.raises(host_worker.WorkerError):
    report_lib.report(player, num_episodes=4)
  assert made.made[0].is_closed


def test_episodes_that_cannot_be_shared_out():
  made, player = make_agent()
  with pytest.raises(errors.UserError, match='num_episodes=3'):
    host_play.play(
      player, made(None, num_envs=2), num_envs=2, num_episodes=3)


def test_a_model_is_diagnosed_on_the_host_too():
  made, player = make_agent()
  found = diagnose.diagnose(
    player, made(None, num_envs=2), num_envs=2, num_steps=12, num_samples=16)
  # 12 rows each: environment 0 terminates after rows 4 and 9; those after
  # are unknown, and environment 1 is truncated.
  assert found.search_value.num_rows > 0
  assert len(found.values) == 3 and np.isfinite(found.values[0].error)
  assert made.made[0].is_closed
