"""Whole runs: what they write, how they resume, what ends them."""

import json
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from helpers import assert_trees_equal

from muzero_jax import agent, envs, train
from muzero_jax.drivers import memory_check
from muzero_jax.envs import base
from muzero_jax.errors import NotFiniteError, UserError
from muzero_jax.runs import (
  best,
  checkpoint,
  lock,
  plots,
  policy_checkpoints,
  run_dir,
)
from muzero_jax.types import EnvSpec


def test_a_run_and_one_that_is_stopped_twice(tmp_path, monkeypatch, capsys):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  once = tiny_run.config(
    checkpoint_period=1e6, eval_episodes=4, snapshot_period=3000,
    eval_period=4000)
  assert train.run(once, whole) == 0
  files = {path.name for path in whole.iterdir()}
  assert files >= {
    'config.json', 'checkpoints', 'metrics.jsonl', 'evaluation.json',
    'curves.png', 'tensorboard'}
  assert run_dir.read_config(whole) == once
  out = capsys.readouterr().out
  # In the first iteration that ends at or after each whole period.
  assert [step // 3000 for step in policy_checkpoints.steps(whole)] == [1, 2, 3]
  assert all(step % 3000 < 64 for step in policy_checkpoints.steps(whole))
  for words in ('saved the snapshot of step 3,0', 'snapshots/',
                'compiling the training step', 'resumes', 'left 0:00:00',
                'saved the checkpoint', 'no noise: ', 'return '):
    assert (words in out) == (words != 'resumes'), words
  rows = tiny_run.rows(whole)
  # On the way, and at the end; the best of them is kept.
  evaluated = {
    row['step']: row['eval_return'] for row in rows if 'eval_return' in row}
  assert [step // 4000 for step in evaluated] == [1, 2, 2]
  kept = best.find(whole)
  assert kept.score == max(evaluated.values()) == evaluated[kept.step]
  assert agent.load(whole, snapshot='best').step == kept.step
  assert 'the best so far' in out and 'best/' in out
  last_step = rows[-1]['step']
  assert 9600 <= last_step < 9600 + 64
  assert checkpoint.steps(whole) == [last_step]
  assert rows[-1]['eval_return'] > 0
  assert {'loss', 'grad_norm', 'return', 'steps_per_second'} <= {
    *rows[-2], 'return'}
  report = json.loads((whole / 'evaluation.json').read_text())
  assert report['num_episodes'] == 4 and len(report['returns']) == 4
  assert report['step'] == last_step
  assert (whole / 'curves.png').read_bytes().startswith(b'\x89PNG')

  # Stopped before its first update, and in the middle.
  stopped = tiny_run.config()
  monkeypatch.setattr(plots, 'plot_curves', lambda workdir: None)
  for num_saves in (1, 5):
    with monkeypatch.context() as patch:
      tiny_run.interrupt_after(patch, num_saves)
      assert train.run(stopped, parts) == 128 + signal.SIGTERM
    assert 'stopped by SIGTERM' in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  assert policy_checkpoints.steps(parts) == []
  stopped = tiny_run.config(checkpoint_period=1e6, snapshot_period=3000)
  assert train.run(stopped, parts) == 0
  for step in policy_checkpoints.steps(whole):
    assert_trees_equal(*(
      agent.load(path, snapshot=step).params for path in (whole, parts)))
  assert 'resumed from the checkpoint at step' in capsys.readouterr().out
  state = tiny_run.restore(whole, once)
  assert int(state.learner.num_updates) > 200
  assert tiny_run.num_leaves(state) > 40
  # Everything: parameters, target, optimiser, replay, actors, keys, counters.
  assert_trees_equal(state, tiny_run.restore(parts, stopped))
  steps = [row['step'] for row in tiny_run.rows(parts)]
  assert steps == sorted(set(steps)) and steps[-1] == last_step
  assert [r['loss'] for r in tiny_run.rows(parts) if 'loss' in r] == [
    r['loss'] for r in rows if 'loss' in r]


def test_another_configuration_leaves_the_directory_alone(tmp_path):
  run_dir.store(tmp_path, tiny_run.config())
  before = tiny_run.snapshot(tmp_path)
  with pytest.raises(UserError, match='seed is 0 there and 3 here'):
    train.run(tiny_run.config(seed=3, num_steps=7000), tmp_path)
  after = tiny_run.snapshot(tmp_path)
  assert after.pop(lock.LOCK_FILE) == b'' and after == before


def test_a_second_trainer_is_refused(tmp_path):
  workdir = tmp_path / 'run'
  with lock.hold(workdir):
    with pytest.raises(UserError, match='run is in use'):
      train.run(tiny_run.config(), workdir)
    assert [*tiny_run.snapshot(workdir)] == [lock.LOCK_FILE]
  with lock.hold(workdir):
    pass


def test_a_replay_that_cannot_fit_leaves_nothing_behind(tmp_path, monkeypatch):
  monkeypatch.setattr(memory_check, 'free_bytes', lambda: 1000)
  with pytest.raises(UserError, match='replay_capacity = 1024'):
    train.run(tiny_run.config(), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


class Walk(NamedTuple):
  """State of an environment that breaks."""

  step: jax.Array


def broken_env(num_envs, *, bad_step, bad_reward):
  """Episodes of 500 steps; what step `bad_step` leads to is not finite."""

  def step(state, action, rng_key):
    del action, rng_key
    state = Walk(state.step + 1)
    bad = bad_reward & (state.step == bad_step)
    return base.Transition(
      state, jnp.where(bad, jnp.inf, 1.0), state.step >= 500)

  def observe(state):
    bad = (not bad_reward) & (state.step == bad_step)
    return jnp.stack([jnp.where(bad, jnp.nan, 0.0), state.step / 500])

  return base.make_environment(
    EnvSpec('test/broken', (2,), np.float32, 2, max_episode_steps=500),
    num_envs, reset=lambda key: Walk(jnp.int32(0)), step=step,
    observe=observe)


# Step 16 is the row that the third iteration of 8 rows opens with: it is the
# last one's actors that stand there.
@pytest.mark.parametrize('bad_step, bad_reward', [(16, False), (19, True)])
def test_rows_that_are_not_finite_end_the_run(tmp_path, bad_step, bad_reward):
  run_config = tiny_run.config(
    env_id='mine', updates_per_iteration=0, num_simulations=1)

  def make_env(run_config, *, num_envs, **unused):
    return broken_env(num_envs, bad_step=bad_step, bad_reward=bad_reward)

  # All 8 environments take each step, so 64 steps an iteration.
  found = 128 if bad_step == 16 else 192
  with pytest.raises(NotFiniteError, match=(
      f'step {found}: 8 rows of the environment .* not finite')):
    train.run(run_config, tmp_path, make_env=make_env)
  good = checkpoint.steps(tmp_path)
  assert good == [64] if bad_step == 16 else [64, 128]


def test_arrays_that_change_shape_are_named(tmp_path):
  run_config = tiny_run.config(env_id='mine')

  def make_env(run_config, *, num_envs, **unused):
    env = envs.make(tiny_run.config(), num_envs=num_envs)

    def step(state, action, rng_key):
      state, row = env.step(state, action, rng_key)
      return state, row._replace(observation=row.observation[:, :3])

    return env._replace(step=step)

  with pytest.raises(UserError, match=(
      r'observation is float32\[1, 3\], expected float32\[1, 4\]')):
    train.run(run_config, tmp_path / 'run', make_env=make_env)
  assert not (tmp_path / 'run').exists()


