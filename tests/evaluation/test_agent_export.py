"""Runs made files: the card's score, the command, and the Hub's folder."""

import json
import pathlib
import sys
import types

import jax
import numpy as np
import pytest
import tiny_run
from helpers import assert_trees_equal

from muzero_jax import agent, envs, files
from muzero_jax import config as config_lib
from muzero_jax.drivers import build, by_environment
from muzero_jax.errors import MissingPackageError, RunError, UserError
from muzero_jax.evaluation import agent_export, hub
from muzero_jax.runs import agent_file, checkpoint, run_dir


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The directory of a run of two agents, of random parameters."""
  workdir = tmp_path_factory.mktemp('run')
  config = tiny_run.config(num_seeds=2, ema_decay=0.0, seed=5)
  spec = envs.spec(config)
  abstract = build.abstract_params(
    config, spec, build.make_system(config, spec))
  draw = np.random.default_rng(0).normal
  params = jax.tree.map(
    lambda x: (0.3 * draw(size=(2, *x.shape))).astype(x.dtype), abstract)
  run_dir.store(workdir, config)
  checkpoint.save(workdir, 64, {'learner': {'params': params}})
  return workdir


@pytest.fixture(scope='module')
def exported(run):
  return agent_export.export(
    run, run.parent / 'out' / 'a.safetensors', index=1, num_episodes=4,
    commit='abc')


def test_the_file_is_the_agent_of_the_run(run, exported):
  ours, theirs = agent.load(exported.path), agent.load(run, index=1)
  assert_trees_equal(ours.params, theirs.params)
  assert ours.step == theirs.step == 64
  assert config_lib.diff(ours.config, theirs.config) == {'num_seeds': (1, 2)}
  for player in (ours, theirs):
    player.reset()
  frames = np.random.default_rng(0).normal(size=(4, 4))
  assert [int(ours.act(x)) for x in frames] == [
    int(theirs.act(x)) for x in frames]


def test_the_card_says_how_well_it_plays(run, exported):
  card = exported.found.card
  score, = card.scores
  assert (score.num_episodes, score.seed, score.opponent) == (4, 1, '')
  assert score.low <= score.mean <= score.high and 8 < score.mean < 200
  assert not exported.is_stored_score and exported.rounding == 0
  assert (card.environment, card.environment_licence, card.licence) == (
    'classic/cartpole', 'Apache-2.0', 'Apache-2.0')
  assert (card.agent, card.commit, card.unit) == ('2 of 2', 'abc', 'steps')
  assert 15 < card.random_play[0] < 30
  assert card.num_simulations == 4 and card.versions['jax'] == jax.__version__
  assert card.num_parameters == sum(
    x.size for x in jax.tree.leaves(agent.load(run, index=1).params))


def test_the_command_trains_it_again(exported):
  words = exported.found.card.command.split()
  assert words[:3] == ['muzero-jax', 'train', '--preset=cartpole']
  assert '--num_seeds=2' in words and '--seed=5' in words
  offline = config_lib.from_preset(
    'cartpole', dataset='/home/me/data/cart', eval_episodes=7)
  # The environment chooses the network, which the command leaves to it.
  spec = envs.spec(offline)
  assert agent_export.training_command(
    by_environment.resolve(offline, spec), spec) == (
    'muzero-jax train --preset=cartpole --dataset=cart')


def test_paths_of_this_machine_stay_here():
  config = config_lib.from_preset('cartpole', dataset='/home/me/data/cart/')
  assert agent_export._of_one(config).dataset == 'cart'


def _evaluation(**changes):
  return {**dict(
    environment='classic/cartpole', step=64, num_episodes=4, num_simulations=4,
    mean=33.0, standard_error=2.0, returns=[33.0] * 4), **changes}


@pytest.mark.parametrize('changes, fits', [
  ({}, True), (dict(num_episodes=3), False), (dict(step=63), False),
  (dict(num_simulations=5), False), (dict(mean='33'), False),
  (dict(mean=float('nan')), False), (dict(environment='classic/x'), False),
])
def test_the_runs_own_evaluation_is_taken_if_it_fits(run, changes, fits):
  path = run / 'evaluation.json'
  files.write_json(
    path, dict(agents=[_evaluation(mean=1.0), _evaluation(**changes)]))
  try:
    found = agent_export._stored(run, agent.load(run, index=1), 1, 4, ())
  finally:
    path.unlink()
  assert (found is not None) is fits
  if fits:
    assert agent_export._scores(found, 1)[0].mean == 33.0


def test_scores_of_matches():
  result = dict(
    environment='board/tic_tac_toe', num_episodes=10, mean=1.0,
    random=dict(wins=5, draws=5, losses=0, mean=0.5, interval=(0.4, 0.95)),
    perfect=dict(wins=10, draws=0, losses=0, mean=1.0,
                 interval=(0.7, 0.9999999)),
    broken=dict(wins=0, draws=0, losses=0, mean=None))
  first, second = agent_export._scores(result, 3)
  assert (first.opponent, first.mean, first.wins, first.draws) == (
    'random', 0.5, 5, 5)
  np.testing.assert_allclose((first.low, first.high), (-0.2, 0.9))
  assert second.high == 1.0 and second.num_episodes == 10


def test_rounded_agents_are_scored_as_they_are(run, tmp_path, monkeypatch):
  played = []
  monkeypatch.setattr(
    agent_export.report_lib, 'report',
    lambda player, **kwargs: played.append(player) or _evaluation())
  monkeypatch.setattr(
    agent_export.random_play, 'add', lambda results, *args, **kwargs: results)
  done = agent_export.export(
    run, tmp_path / 'a.safetensors', dtype='bfloat16', num_episodes=4)
  assert 0 < done.rounding < 2**-7 and done.found.dtype == 'bfloat16'
  assert_trees_equal(agent.load(done.path).params, played[0].params)


@pytest.mark.parametrize('output, words', [
  ('a.bin', 'must end in .safetensors'), ('x://a.safetensors', 'URL'),
  ('', 'must end in'),
])
def test_outputs_that_are_refused(run, output, words):
  with pytest.raises(UserError, match=words):
    agent_export.export(run, output)


def test_a_shipped_agent_is_a_file_already(tmp_path, capsys):
  done = tiny_run.answer(
    capsys, 'export', '--workdir=cartpole',
    f'--output={tmp_path / "a.safetensors"}')
  assert done.returncode == 2 and tiny_run.is_plain_line(done.stderr)
  assert "workdir = 'cartpole' is an agent in one file already" in done.stderr


def test_the_command(run, tmp_path, capsys, monkeypatch):
  files.write_json(run / 'evaluation.json', dict(
    agents=[_evaluation(num_episodes=64), _evaluation()]))
  output = tmp_path / 'cart.safetensors'
  done = tiny_run.answer(
    capsys, 'export', f'--workdir={run}', f'--output={output}',
    f'--hub_folder={tmp_path / "hub"}')
  (run / 'evaluation.json').unlink()
  assert done.returncode == 0, done.stderr
  told = files.flush_and_hash(output)
  assert f'{told["size"]:,} bytes, SHA-256 {told["sha256"]}' in done.stdout
  assert "the run's own evaluation" in done.stdout
  card = (tmp_path / 'cart.md').read_text()
  for words in ('classic/cartpole', 'Apache-2.0', '33.00', told['sha256'],
                '64 episodes', 'muzero-jax train --preset=cartpole'):
    assert words in card
  # The Hub's folder: front matter, and the same file.
  assert {x.name for x in (tmp_path / 'hub').iterdir()} == {
    'README.md', 'agent.safetensors'}
  assert (tmp_path / 'hub/agent.safetensors').read_bytes() == (
    output.read_bytes())
  text = (tmp_path / 'hub/README.md').read_text()
  _, front, page = text.split('---\n', 2)
  assert 'license: apache-2.0\nt' in front and 'muzero_jax\n' in front
  assert 'type: mean_reward' in front and page.strip().startswith('# cart')
  yaml = pytest.importorskip('yaml')
  found = yaml.safe_load(front)
  result, = found['model-index'][0]['results']
  assert result['dataset']['name'] == 'classic/cartpole'
  assert result['metrics'][0]['value'] == 33.0
  # Evaluated by file.
  done = tiny_run.answer(
    capsys, 'evaluate', f'--workdir={output}', '--num_episodes=4', '--json')
  assert done.returncode == 0 and json.loads(done.stdout)['num_episodes'] == 4


def test_the_hub_is_told_what_lies_in_the_folder(exported, tmp_path,
                                                 monkeypatch):
  calls = []

  class Api:
    def create_repo(self, repository, **kwargs):
      calls.append((repository, kwargs['exist_ok']))

    def upload_folder(self, **kwargs):
      if kwargs['repo_id'] == 'me/broken':
        raise OSError('no network\nat all')
      calls.append((kwargs['repo_id'], kwargs['folder_path']))

  monkeypatch.setitem(
    sys.modules, 'huggingface_hub', types.SimpleNamespace(HfApi=Api))
  folder = hub.write_folder(tmp_path / 'hub', exported, name='it')
  hub.check_repository('me/it')
  assert hub.push(folder, 'me/it') == 'https://huggingface.co/me/it'
  assert calls == [('me/it', True), ('me/it', str(tmp_path / 'hub'))]
  with pytest.raises(RunError, match='no network at all'):
    hub.push(folder, 'me/broken')


@pytest.mark.parametrize('name', ['it', 'me/', 'a/b/c', '../x/y', 'me/i t'])
def test_repositories_that_are_none(name):
  with pytest.raises(UserError, match='user/name'):
    hub.check_repository(name)


def test_without_the_hubs_package(monkeypatch):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(MissingPackageError, match=r'muzero_jax\[hub\]'):
    hub.check_repository('me/it')


def test_what_is_written_is_read_back(exported):
  assert agent_file.read(exported.path).sha256 == exported.found.sha256
  data = pathlib.Path(exported.path).read_bytes()
  assert len(data) == exported.num_bytes
