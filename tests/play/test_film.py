"""Films of episodes: as many frames as steps, whichever the environment."""

import types
import xml.etree.ElementTree

import numpy as np
import pytest
import tiny_player
import tiny_run
from decoding import decode

from muzero_jax.commands import start
from muzero_jax.errors import UserError
from muzero_jax.evaluation import opponents
from muzero_jax.play import film, pictures, svg_files
from muzero_jax.play.drawings import panel
from muzero_jax.runs import checkpoint, run_dir
from muzero_jax.types import EnvSpec

pytest.importorskip('PIL')


def test_cartpole_by_the_command(tmp_path, capsys, monkeypatch):
  config = tiny_run.config()
  tiny_run.store(tmp_path / 'run', config, [64])
  path = tmp_path / 'films/cartpole.gif'
  done = tiny_run.answer(
    capsys, 'evaluate', f'--workdir={tmp_path / "run"}', f'--video={path}',
    '--num_episodes=0')
  assert done.returncode == 0, done.stderr
  frames, durations = decode(path)
  num_steps = int(done.stderr.split(': ')[1].split(' steps')[0])
  assert len(frames) == num_steps > 5
  assert {one.shape for one in frames} == {(240, 480, 3)}
  assert durations == [30] * num_steps
  # What is wrong is told before jax is made ready.
  monkeypatch.setattr(start, 'prepare', lambda: 1 / 0)
  for flags in (['--video=x.avi'], ['--svg=x.svg'], ['--num_episodes=0'],
                [f'--video={tmp_path / "run/config.json/x.gif"}']):
    done = tiny_run.answer(
      capsys, 'evaluate', f'--workdir={tmp_path / "run"}', *flags)
    assert done.returncode == 2 and tiny_run.is_plain_line(done.stderr)


def test_breakout_with_what_the_search_found(tmp_path):
  pytest.importorskip('pgx')
  player = tiny_player.make('minatar', 'breakout')
  path = tmp_path / 'breakout.webp'
  found = film.record(player, video=path, shows_search=True)
  frames, durations = decode(path)
  assert len(frames) == found.num_steps > 3
  assert frames[0].shape == (240, 480, 3) and set(durations) == {100}
  # The picture changes, and so does the panel beside it.
  for half in (slice(0, 240), slice(240, 480)):
    assert (frames[0][:, half] != frames[-1][:, half]).any()


def test_connect_four_against_itself_and_as_svg(tmp_path):
  pytest.importorskip('pgx')
  pytest.importorskip('av')
  player = tiny_player.make('board', 'connect_four')
  path, svg = tmp_path / 'game.mp4', tmp_path / 'game.svg'
  found = film.record(player, video=path, svg=svg)
  frames, durations = decode(path)
  assert found.is_over and 7 <= found.num_steps <= 42
  assert len(frames) == found.num_steps and set(durations) == {500}
  # The last frame has as many discs as there were moves.
  discs = frames[-1][30:280:44, 30:320:44].astype(int)
  reds = (discs[..., 0] > 180) & (discs[..., 1] < 120)
  yellows = (discs[..., 0] > 200) & (discs[..., 2] < 120) & ~reds
  assert reds.sum() == -(-found.num_steps // 2)
  assert yellows.sum() == found.num_steps // 2
  tree = xml.etree.ElementTree.parse(svg).getroot()
  shown = [x for x in tree if x.get('class') == 'frame']
  assert len(shown) == found.num_steps


@pytest.mark.thorough
def test_an_opponent_moves_second():
  pytest.importorskip('pgx')
  player = tiny_player.make('board', 'connect_four')
  # By the true state of the game, or as an agent.
  env = pictures.make_env(player.config, seed=1)
  against = {
    name: [moment.step for moment in film.episode(player, env, opponent=other)]
    for name, other in (
      ('nobody', None), ('one_ply', opponents.make('one_ply', env.spec.name)),
      ('itself', player.with_params(player.params, 0)))}
  moves = {
    name: [int(step.action[0]) for step in steps]
    for name, steps in against.items()}
  assert moves['one_ply'][0] == moves['nobody'][0]
  assert moves['one_ply'] != moves['nobody']
  # Two such agents differ in nothing but the keys of their searches.
  assert moves['itself'][0] == moves['nobody'][0]
  for steps in against.values():
    assert all(
      step.row.legal_actions[0, int(step.action[0])] for step in steps)
    assert steps[-1].next_row.is_last[0]


@pytest.mark.parametrize('family, env_id, size, fps, steps', [
  ('minatar', 'breakout', (240, 240), 10, 12),
  ('board', 'connect_four', (280, 324), 2, 8),
  pytest.param(
    'stochastic', '2048', (296, 296), 8, 20, marks=pytest.mark.thorough),
  pytest.param(
    'atari', 'kung_fu_master', (420, 320), 15, 30,
    marks=pytest.mark.thorough),
])
def test_one_flag_films_it(tmp_path, capsys, family, env_id, size, fps, steps):
  pytest.importorskip('ale_py' if family == 'atari' else 'pgx')
  player = tiny_player.make(family, env_id, env_threads=1)
  workdir, path = tmp_path / 'run', tmp_path / 'film.webp'
  run_dir.store(workdir, player.config)
  checkpoint.save(workdir, 64, {'learner': {'params': player.params}})
  done = tiny_run.answer(
    capsys, 'evaluate', f'--workdir={workdir}', f'--video={path}',
    '--num_episodes=0', f'--video_steps={steps}', f'--fps={fps}')
  assert done.returncode == 0, done.stderr
  told = int(done.stderr.split('film.webp: ')[1].split(' steps')[0])
  frames, durations = decode(path)
  assert len(frames) == told <= steps
  assert told == steps or 'cut off' not in done.stderr
  assert frames[0].shape == (*size, 3)
  assert set(durations) == {round(1000 / fps)}


def test_drawings_are_one_for_each_step(tmp_path):
  pytest.importorskip('pgx')
  player = tiny_player.make('stochastic', '2048')
  folder = tmp_path / 'drawings'
  folder.mkdir()
  found = film.record(
    player, svg=svg_files.check('stochastic', folder), most_steps=20)
  assert found.num_steps == 20 and not found.is_over
  assert sorted(x.name for x in folder.iterdir()) == [
    f'step_{i:04d}.svg' for i in range(1, 21)]
  with pytest.raises(UserError, match='already'):
    svg_files.check('stochastic', folder)


def test_what_has_no_opponent_is_told():
  spec = EnvSpec('test/one', (4,), np.float32, 2)
  env = types.SimpleNamespace(spec=spec)
  with pytest.raises(UserError, match='one player'):
    next(film.episode(
      None, env, opponent=opponents.random))  # type: ignore


def test_svg_is_of_pgx_alone():
  with pytest.raises(UserError, match='board and stochastic'):
    svg_files.check('classic', 'x.svg')


def test_bars_have_the_action_that_was_taken():
  spec = EnvSpec('test/many', (4,), np.float32, 20, action_names=('up',))
  policy = np.linspace(0, 1, 20) / 10
  found = panel.bars(spec, policy, np.int32(0), None)
  assert [bar.name for bar in found] == [
    '19', '18', '17', '16', '15', '14', '13', 'up']
  assert [bar.is_taken for bar in found] == [False] * 7 + [True]
  # Of continuous actions the policy is of candidates.
  candidates = np.float32([[0.5, -1], [0.25, 1]])
  found = panel.bars(spec, np.float32([0.2, 0.8]), candidates[0], candidates)
  assert [bar.name for bar in found] == ['0.2 1.0', '0.5 -1.0']
  assert [bar.is_taken for bar in found] == [False, True]


def test_a_curve_has_an_end():
  curve = panel.Curve(most=10)
  for value in range(1000):
    curve.add(value)
  assert len(curve.values) <= 10 and curve.values[0] == 0
  assert np.ptp(np.diff(curve.values)) == 0


def test_a_panel_and_a_picture_are_of_one_height():
  picture = np.full((300, 100, 3), 9, np.uint8)
  drawn = panel.draw('step 1', [1.0], [panel.Bar('up', 1.0, True)], 100)
  assert drawn.shape == (240, 240, 3)
  assert panel.beside(picture, drawn).shape == (300, 340, 3)
