"""The agents that come with the package: small, sound, as good as they say."""

import math
import pathlib
import shutil
import time

import pytest

from benchmarks import agents
from muzero_jax import agent, envs
from muzero_jax.errors import MissingPackageError, UserError
from muzero_jax.evaluation import opponents, random_play, report
from muzero_jax.runs import agent_file, agent_source

NAMES = agent.shipped()
QUICK_EPISODES, EPISODES = 8, 100


def _found(name):
  return agent_file.read(agent_source.find_file(name))


def test_there_are_some():
  assert 'cartpole' in NAMES


@pytest.mark.parametrize('name', NAMES)
def test_each_is_small_and_says_what_it_is(name):
  path = pathlib.Path(agent_source.find_file(name))
  assert path.stat().st_size < agents.MAX_BYTES
  found = _found(name)
  assert found.config.num_seeds == 1 and found.step > 0
  card = found.card
  assert card.environment == found.environment['name']
  assert card.environment_licence == envs.package(found.config.family).licence
  assert card.scores and card.commit and 'dirty' not in card.commit
  assert all(score.num_episodes >= 50 for score in card.scores)
  if found.environment['num_players'] == 1:
    score, = card.scores
    assert score.low > card.random_play[0]
  # No path of a machine.
  assert '/home' not in str(card) and '/tmp' not in str(found.config)


def _agrees(score, mean, standard_error):
  """Whether a new mean is within three standard errors of a card's score.

  Where all episodes have scored the same, these are 0, although an episode may
  end otherwise where another processor rounds otherwise: 1 % is allowed.
  """
  noise = math.hypot(score.standard_error, standard_error)
  return abs(mean - score.mean) <= max(3 * noise, 0.01 * abs(score.mean))


def _replay(name, score, num_episodes):
  """Mean and standard error of other episodes than those of the card."""
  try:
    player = agent.load(name)
  except MissingPackageError as error:
    pytest.skip(str(error))
  result = report.report(
    player, num_episodes=num_episodes, seed=score.seed + 1,
    opponent_names=[score.opponent] if score.opponent else ())
  if not score.opponent:
    return result['mean'], result['standard_error']
  low, high = result[score.opponent]['interval']
  return result['mean'], (high - low) / 1.959964


# In the tests that always run, whom it costs next to nothing to play.
SCORES = [
  pytest.param(
    name, score, QUICK_EPISODES, id=f'{name}-{score.opponent or "return"}')
  for name in NAMES for score in _found(name).card.scores
  if not score.opponent
  or score.opponent in opponents.defaults(_found(name).card.environment)]


@pytest.mark.slow
@pytest.mark.parametrize('name, score, num_episodes', SCORES)
def test_each_is_as_good_as_its_card(name, score, num_episodes):
  start = time.process_time()
  assert _agrees(score, *_replay(name, score, num_episodes))
  # At most 20 seconds by the clock on two cores that have nothing else to do.
  assert time.process_time() - start < 40


@pytest.mark.thorough
@pytest.mark.parametrize('name', NAMES)
def test_each_is_as_good_as_its_card_over_many_episodes(name):
  for score in _found(name).card.scores:
    assert _agrees(score, *_replay(name, score, EPISODES))


def test_the_page_is_written_from_the_files():
  assert agents.PAGE.read_text(encoding='utf-8') == agents.page()


def test_a_page_of_two(tmp_path):
  for name in ('one', 'two'):
    shutil.copy(
      agent_source.find_file('cartpole'), tmp_path / f'{name}.safetensors')
  text = agents.page(tmp_path)
  assert text.count('\n## ') == 2 and "agent.load('one')" in text
  assert text.index('| `one` |') < text.index('| `two` |')


@pytest.mark.parametrize('given', ['cartpole', '=runs/x', '../x=runs/x', 'a='])
def test_arguments_that_are_refused(given):
  with pytest.raises(UserError, match='NAME=RUN'):
    agents._split(given)


def test_what_is_too_large_is_rounded_or_refused(tmp_path, monkeypatch):
  """By parameters alone: whether anything is played is not the question."""
  exported = []

  def export(workdir, output, *, dtype, **kwargs):
    del kwargs
    exported.append(dtype)
    pathlib.Path(output).write_bytes(b'file')
    return agents.Exported(output, 4, '', _found('cartpole'), 0.0, False)

  monkeypatch.setattr(agents.agent_export, 'export', export)
  num_parameters = _found('cartpole').card.num_parameters
  for most, dtypes in (
      (10**6, ['float32']), (3 * num_parameters, ['float16']),
      (num_parameters, [])):
    exported.clear()
    monkeypatch.setattr(agents, 'MAX_BYTES', most)
    if dtypes:
      done = agents.make('mine', 'cartpole', tmp_path)
      assert pathlib.Path(done.path).read_bytes() == b'file'
    else:
      with pytest.raises(UserError, match='even in float16'):
        agents.make('mine', 'cartpole', tmp_path)
    assert exported == dtypes


def test_a_run_that_has_not_ended_is_refused(tmp_path, monkeypatch):
  player = agent.load('cartpole')
  monkeypatch.setattr(
    agents.agent, 'load', lambda workdir: player.with_params(
      player.params, player.config.total_steps - 1))
  with pytest.raises(UserError, match='not at its end'):
    agents.make('mine', 'runs/x', tmp_path)
  assert not [*tmp_path.iterdir()]


def test_sources_have_to_be_committed(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(
    agents.agent_export, 'commit_of_sources', lambda: 'abc-dirty')
  with pytest.raises(SystemExit) as ended:
    agents.main(['mine=cartpole', f'--folder={tmp_path}'])
  assert 'abc-dirty' in str(ended.value) and not [*tmp_path.iterdir()]


def test_random_play_needs_no_run_directory():
  assert random_play.stored('cartpole', 'classic/cartpole') is None
