"""Snapshots: kept for good, loaded by step, never taken for sound if not."""

import functools
import json

import jax
import jax.numpy as jnp
import pytest
import tiny_game
import tiny_run
from helpers import assert_trees_equal

from muzero_jax import agent, envs
from muzero_jax.errors import UserError
from muzero_jax.evaluation import game_records, opponents
from muzero_jax.evaluation import report as report_lib
from muzero_jax.runs import array_files, checkpoint, policy_checkpoints


def test_they_are_kept_and_never_overwritten(tmp_path):
  assert policy_checkpoints.steps(tmp_path) == []
  for step in (10, 5, 300):
    assert policy_checkpoints.save(tmp_path, step, {'x': jnp.full(3, step)})
  before = tiny_run.snapshot(tmp_path)
  assert not policy_checkpoints.save(tmp_path, 5, {'x': jnp.zeros(3)})
  assert tiny_run.snapshot(tmp_path) == before
  assert policy_checkpoints.steps(tmp_path) == [5, 10, 300]
  assert checkpoint.steps(tmp_path) == []
  abstract = {'x': jax.ShapeDtypeStruct((3,), jnp.int32)}
  for step in (5, 10, 300):
    found = policy_checkpoints.restore(tmp_path, step, abstract)
    assert found['x'].tolist() == [step] * 3


def test_what_is_not_there_or_not_sound(tmp_path):
  abstract = {'x': jnp.zeros(3)}
  with pytest.raises(UserError, match='snapshot_period'):
    policy_checkpoints.restore(tmp_path, 5, abstract)
  for step in (5, 900):
    policy_checkpoints.save(tmp_path, step, abstract)
  with pytest.raises(UserError, match=(
      'snapshot = 700: .* none of that step; the nearest of its 2 is 900')):
    policy_checkpoints.restore(tmp_path, 700, abstract)
  with pytest.raises(UserError, match="'params/x' is float32.3. there and"):
    policy_checkpoints.restore(tmp_path, 5, {'x': jnp.zeros(4)})
  directory = tmp_path / 'snapshots' / '000000000005'
  for path in [p for p in directory.rglob('*') if p.is_file()]:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match='000000000005 is damaged: .*changed'):
      policy_checkpoints.restore(tmp_path, 5, abstract)
    path.write_bytes(data)
  policy_checkpoints.restore(tmp_path, 5, abstract)


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
  write = array_files.write

  def fail(*args):
    write(*args)
    raise OSError('disk full')

  with monkeypatch.context() as patch:
    patch.setattr(array_files, 'write', fail)
    with pytest.raises(OSError, match='disk full'):
      policy_checkpoints.save(tmp_path, 5, {'x': jnp.zeros(3)})
  assert policy_checkpoints.steps(tmp_path) == []
  assert policy_checkpoints.save(tmp_path, 5, {'x': jnp.zeros(3)})
  assert [p.name for p in (tmp_path / 'snapshots').iterdir()] == [
    '000000000005']


def test_agents_of_other_steps_and_runs_are_opponents(tmp_path):
  # With a history, which each of the two has to keep by itself.
  config = tiny_game.config(
    stacked_frames=3, augment_symmetry=False, stack_actions=True)
  tiny_game.store(tmp_path / 'run', config, snapshot_steps=(3, 8), step=9)
  player = agent.load(tmp_path / 'run', snapshot=8)
  assert player.step == 8
  assert_trees_equal(player.params, tiny_game.params(config, 8))
  assert_trees_equal(
    agent.load(tmp_path / 'run').params, tiny_game.params(config, 9))
  names = ['snapshot:3', f'run:{tmp_path / "run"}']
  folder = tmp_path / 'games'
  report = report_lib.report(
    player, num_episodes=8, opponent_names=names, workdir=tmp_path / 'run',
    records_folder=folder)
  for name in names:
    match = report[name]
    assert sum(match['first']) == sum(match['second']) == 4
    assert match['opening_moves'] == report_lib.OPENING_MOVES
  _check_opponents_moves(folder / 'snapshot-3.jsonl', config, 8, 3)


def _check_opponents_moves(path, config, step, other_step):
  """Plays the recorded games again, through `Agent.act` alone."""
  spec = envs.spec(config)
  players = {
    name: agent.Agent(config, spec, tiny_game.params(config, seed))
    for name, seed in (('agent', step), ('snapshot:3', other_step))}
  rules = envs.make(config, num_envs=1)
  step_fn = jax.jit(rules.step)
  for game in game_records.read(path):
    state, row = rules.init(jax.random.key(0))
    for player in players.values():
      player.reset()
    for i, move in enumerate(game.moves):
      who = game.first if i % 2 == 0 else game.second
      for name, player in players.items():
        action = int(player.act(row.observation[0], row.legal_actions[0]))
        if name == who and i >= game.opening_moves:
          assert action == move, (game, i)
        player._state = player._state._replace(
          action=jnp.full(1, move, jnp.int32))
      mover = i % 2 == 0
      state, row = step_fn(state, jnp.full(1, move), jax.random.key(0))
    assert bool(row.is_last[0])
    assert int(row.reward[0]) * (1 if mover else -1) == game.result


def test_the_script_names_what_is_not_there(tmp_path, capsys):
  config = tiny_game.config()
  tiny_game.store(tmp_path, config, snapshot_steps=(3,), step=9)
  tiny_run.store(
    tmp_path / 'cartpole', tiny_run.config(ema_decay=0.0), steps=(64,))
  with pytest.raises(UserError, match='plays classic/cartpole, not board/ti'):
    opponents.make(f'run:{tmp_path / "cartpole"}', 'board/tic_tac_toe')
  evaluate = functools.partial(
    tiny_run.answer, capsys, 'evaluate', f'--workdir={tmp_path}',
    '--num_episodes=2')
  status, out, error = evaluate('--opponent=snapshot:4')
  assert status == 2 and tiny_run.is_plain_line(error)
  assert 'snapshot = 4: ' in error and out == ''
  folder = tmp_path / 'games'
  status, out, error = evaluate(
    '--opponent=snapshot:3', f'--records={folder}', '--json')
  assert status == 0, error
  assert list(json.loads(out)['snapshot:3'])[-1] == 'opening_moves'
  assert [path.name for path in folder.iterdir()] == ['snapshot-3.jsonl']
  status, _, error = evaluate('--opponent=snapshot:3', f'--records={folder}')
  assert status == 2 and tiny_run.is_plain_line(error)
  assert '-3.jsonl is there already; choose another folder' in error
