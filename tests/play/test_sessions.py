"""Whole games and episodes through the page's own calls."""

import functools
import json
import threading

import jax
import numpy as np
import pytest
import tiny_game
from helpers import random_params

from muzero_jax import agent, envs
from muzero_jax import config as config_lib
from muzero_jax.drivers import build, by_environment
from muzero_jax.errors import UserError
from muzero_jax.play import api
from muzero_jax.play import sessions as sessions_lib

pytest.importorskip('starlette')
pytest.importorskip('httpx')
pytest.importorskip('PIL')

from starlette.testclient import TestClient  # noqa: E402

from muzero_jax.play import server  # noqa: E402

TINY = dict(num_blocks=0, num_channels=8, head_hidden=8, num_simulations=4,
            eval_simulations=0)


class Client:
  """A browser's tab."""

  def __init__(self, made, http):
    self.made, self.http, self.session = made, http, None

  def api(self):
    return self.made._api

  def ask(self, verb, status=200, **fields):
    if self.session and verb not in ('new', 'info', 'diagnose'):
      fields = dict(session=self.session, **fields)
    found = self.http.post(
      f'/api/{verb}', json=fields, headers={'X-Token': 't'})
    assert found.status_code == status, found.text
    found = found.json()
    if verb == 'new' and status == 200:
      self.session = found['session']
    return found

  def mistake(self, verb, **fields):
    error = self.ask(verb, 400, **fields)['error']
    assert '\n' not in error
    return error


@functools.cache
def agent_of(preset):
  preset, _, env_id = preset.partition(':')
  config = config_lib.from_preset(
    preset, **TINY, **(dict(env_id=env_id) if env_id else {}))
  spec = envs.spec(config)
  config = by_environment.resolve(config, spec)
  system = build.make_system(config, spec)
  observation = build.example_observation(config, spec)
  init = jax.jit(lambda key: random_params(
    system.model.init(key, observation), key))
  return agent.Agent(config, spec, init(jax.random.key(0)), step=7)


@pytest.fixture(scope='module')
def tab():
  """A function that opens a tab on an agent's page."""
  opened = {}

  def open_tab(preset):
    if preset not in opened:
      made = server.Server(lambda: api.Api(agent_of(preset)), 't')
      opened[preset] = made, TestClient(
        made.app, base_url='http://127.0.0.1').__enter__()
    return Client(*opened[preset])

  yield open_tab
  for made, http in opened.values():
    http.__exit__(None, None, None)
    assert made.close(60)


def test_a_whole_game_of_tic_tac_toe(tab):
  one = tab('tic_tac_toe')
  info = one.ask('info')
  assert info['kind'] == 'board' and info['players'] == 2
  assert info['num_actions'] == 9 and info['step'] == 7
  assert info['opponents'] == ['agent', 'perfect', 'mcts:10', 'mcts:100',
                               'mcts:1000', 'one_ply', 'random']
  assert info['action_names'][:4] == ['a1', 'b1', 'c1', 'a2']
  view = one.ask('new', colour=0, opponent='random', seed=3)
  assert view['turn'] == 'you' and view['legal'] == list(range(9))
  assert view['cells'][4] == dict(action=4, x=0.375, y=0.375, w=0.25, h=0.25)
  assert view['picture']['svg'].startswith('<svg viewBox="0 0 ')
  assert 'your turn' in one.mistake('advance')
  view = one.ask('move', action=4)
  assert (view['index'], view['turn'], view['to_play']) == (1, 'agent', 1)
  assert 4 not in view['legal'] and view['last_action'] == 4
  assert 'not your turn' in one.mistake('move', action=0)
  view = one.ask('advance')
  assert view['turn'] == 'you'
  assert 'not legal' in one.mistake('move', action=4)
  assert 'not legal' in one.mistake('move', action=2.0)
  # Undo takes the opponent's move back too.
  taken = view['last_action']
  view = one.ask('undo')
  assert (view['index'], view['length'], view['turn']) == (0, 0, 'you')
  assert 'no move' in one.mistake('undo')
  one.ask('move', action=4)
  assert one.ask('advance')['last_action'] == taken
  hint = one.ask('hint')
  assert hint['hint'] in hint['legal'] and hint['length'] == 2
  assert hint['curves']['value'][2] is not None
  moves = [4, taken]
  while (view := one.ask('advance' if view['turn'] == 'agent' else 'move', **(
      {} if view['turn'] == 'agent' else dict(action=one.ask('hint')['hint'])
  )))['turn'] != 'over':
    moves.append(view['last_action'])
  moves.append(view['last_action'])
  assert view['is_last'] and view['length'] == len(moves)
  total = sum(view['curves']['reward'])
  assert view['result'] == dict(
    text={1: 'You won', 0: 'Draw', -1: 'You lost'}[int(total)], score=total)
  assert 'over' in one.mistake('move', action=0)
  assert 'over' in one.mistake('analyse')
  assert 'over' in one.mistake('resign')
  record = json.loads(one.ask('record')['text'])
  assert record == dict(
    version=1, game='board/tic_tac_toe', first='user', second='random',
    seed=3, step=7, opening_moves=0, moves=moves, result=int(total))
  assert 'no SGF' in one.mistake('record', format='sgf')
  # Looking back changes nothing until somebody moves from there.
  view = one.ask('goto', index=2)
  assert (view['index'], view['length']) == (2, len(moves))
  assert view['result'] is None and view['turn'] == 'you'
  one.mistake('goto', index=99)
  other = next(a for a in view['legal'] if a != moves[2])
  assert one.ask('move', action=other)['length'] == 3


def test_a_whole_game_of_connect_four(tab):
  one = tab('connect_four')
  view = one.ask('new', colour=1, seed=5)
  assert view['turn'] == 'agent' and view['names']['0'] == 'column 1'
  assert [c['action'] for c in view['cells']] == list(range(7))
  while view['turn'] != 'over':
    if view['turn'] == 'agent':
      view = one.ask('advance')
      # The agent has said what its own positions are worth.
      assert view['curves']['value'][view['index'] - 1] is not None
    else:
      view = one.ask('move', action=view['legal'][-1])
  assert json.loads(one.ask('record')['text'])['second'] == 'user'
  assert view['result']['text'] in ('You won', 'You lost', 'Draw')


def test_a_game_of_go_as_sgf(tab):
  one = tab('tic_tac_toe:go_9x9')
  one.ask('new', colour=0, opponent='random', seed=1)
  view = one.ask('move', action=0)
  assert view['last_action'] == 0 and len(view['cells']) == 81
  view = one.ask('advance')
  text = one.ask('record', format='sgf')['text']
  assert text.startswith('(;FF[4]GM[1]') and 'SZ[9]' in text
  assert 'RE[?]' in text and 'broken' not in text and ';B[aa];W[' in text
  one.ask('resign')
  text = one.ask('record', format='sgf')['text']
  assert 'RE[W+R]' in text and 'user resigned' in text
  assert 'broken' not in text


@pytest.mark.parametrize('name, players', [('minatar', 1), *(
  pytest.param(*one, marks=pytest.mark.thorough) for one in (
    ('tic_tac_toe:othello', 2), ('backgammon', 2), ('2048', 1),
    ('gymnasium:CartPole-v1', 1), ('gymnasium:Pendulum-v1', 1),
    ('atari_tiny', 1)))])
def test_every_kind_of_environment_is_played(tab, name, players):
  one = tab(name)
  info = one.ask('info')
  assert info['players'] == players
  view = one.ask('new', colour=0 if players == 2 else None, seed=1)
  for _ in range(3):
    if view['turn'] == 'you':
      view = one.ask('move', action=view['legal'][0])
    else:
      view = one.ask('advance')
  assert view['length'] >= 3 and view['picture']
  assert one.ask('analyse')['actions']
  imagined = one.ask('imagine', steps=2)
  assert all(bool(x['policy']) != bool(x['note']) for x in imagined)
  assert ('likeliest' in imagined[0]['note']) == info['continuous']
  assert json.loads(one.ask('record')['text'])


@pytest.mark.thorough
def test_values_are_compared_where_episodes_end(tab):
  found = tab('gymnasium:CartPole-v1').ask('diagnose')['diagnose']
  assert found['value, searched']['rows'] > 0 and 'note' not in found


def test_resigning(tab):
  one = tab('tic_tac_toe')
  one.ask('new', colour=0, seed=1)
  one.ask('move', action=0)
  view = one.ask('resign')
  assert view['turn'] == 'over' and view['legal'] == []
  assert view['result'] == dict(text='You resigned', score=-1.0)
  record = json.loads(one.ask('record')['text'])
  assert record['result'] == -1 and record['reason'] == 'user resigned'
  view = one.ask('undo')
  assert view['turn'] == 'you' and view['index'] == 0
  one.ask('new', colour=None)
  assert 'watching' in one.mistake('resign')


def test_what_is_watched_is_what_the_agent_plays(tab):
  """Both colours: the same moves as `Agent.act` makes, with the same seed."""
  one, player = tab('tic_tac_toe'), agent_of('tic_tac_toe')
  view = one.ask('new', colour=None, seed=11)
  player.reset(seed=11)
  session = sessions_lib.Session(
    one.api()._tools, sessions_lib.Settings(None, 4, 'agent', 11))
  while view['turn'] != 'over':
    shown = one.ask('analyse')
    row = session.row
    expected = int(player.act(
      row.observation[0], row.legal_actions[0], row.is_first[0]))
    view = one.ask('advance')
    assert view['last_action'] == expected == shown['action']
    first = len(view['curves']['value']) % 2 == 0
    value = view['curves']['value'][view['index'] - 1]
    np.testing.assert_allclose(
      value if first else -value, shown['value'], rtol=1e-6)
    session.advance(1)
  assert session.is_over() and view['index'] == session.index


def test_the_tree_is_walked_and_the_future_imagined(tab):
  one = tab('tic_tac_toe')
  one.ask('new', colour=0, seed=2)
  assert 'nothing was searched' in one.mistake('node', node=0)
  shown = one.ask('analyse', simulations=8)
  assert shown['simulations'] == 8
  assert sum(x['visits'] for x in shown['actions']) == 8
  child = shown['root']['children'][0]
  found = one.ask('node', node=child['id'], limit=2)
  assert found['id'] == child['id'] and found['visits'] == child['visits']
  assert 'not in the tree' in one.mistake('node', node=9)
  best = one.ask('imagine', steps=2, line='best')
  assert best[0]['action'] == one.ask('analyse')['action']
  # The rules tell what really follows.
  assert best[0]['real']['reward'] == 0
  np.testing.assert_allclose(sum(best[0]['policy']), 1, rtol=1e-4)
  node = one.ask('node', node=one.ask('analyse')['line'][0]['node'])
  np.testing.assert_allclose(
    (best[0]['reward'], best[0]['value']),
    (node['reward'], node['network_value']), rtol=1e-3, atol=1e-4)
  assert one.ask('imagine', line='played') == []
  one.ask('move', action=4)
  one.ask('advance')
  one.ask('goto', index=0)
  played = one.ask('imagine', line='played')
  assert [x['name'] for x in played][0] == 'b2' and len(played) == 2
  real = played[0]['real']
  assert real['is_searched'] and not played[1]['real']['is_searched']


def test_two_tabs_do_not_disturb_each_other(tab):
  some, other = tab('tic_tac_toe'), tab('tic_tac_toe')
  some.ask('new', colour=0, seed=1)
  other.ask('new', colour=0, seed=1)
  some.ask('move', action=0)
  other.ask('move', action=8)
  some.ask('advance')
  shown = some.ask('analyse')
  other.ask('undo')
  assert other.ask('goto', index=0)['length'] == 0
  assert some.ask('goto', index=2)['last_action'] is not None
  assert some.ask('node', node=0)['visits'] == shown['root']['visits']
  assert 'nothing was searched' in other.mistake('node', node=0)
  other.session = 'another'
  assert 'no such game' in other.ask('undo', 404)['error']


def test_a_diagnosis_keeps_no_other_tab_waiting(tab, monkeypatch):
  some, other = tab('tic_tac_toe'), tab('tic_tac_toe')
  started, goes_on = threading.Event(), threading.Event()

  def slow(*unused, **fields):
    started.set()
    assert goes_on.wait(60)
    raise UserError('was slow')

  monkeypatch.setattr(api.diagnose, 'diagnose', slow)
  found = []
  measuring = threading.Thread(
    target=lambda: found.append(some.mistake('diagnose')))
  measuring.start()
  try:
    assert started.wait(60)
    other.ask('new', colour=0, seed=1)
    assert other.ask('move', action=8)['last_action'] == 8
    assert not found
  finally:
    goes_on.set()
    measuring.join(60)
  assert found == ['was slow']


def test_a_cartpole_episode_to_its_end_and_back(tab):
  one = tab('cartpole')
  info = one.ask('info')
  assert info['kind'] == 'single' and info['opponents'] == []
  assert info['keys'] == {'ArrowLeft': 0, 'ArrowRight': 1}
  view = one.ask('new', seed=4)
  assert view['colour'] is None and view['cells'] is None
  assert view['picture']['png']
  view = one.ask('advance', count=3)
  assert view['index'] == 3 and view['return'] == 3.0
  while view['turn'] != 'over':
    view = one.ask('advance', count=50)
  length = view['length']
  assert view['is_last'] and view['return'] == length
  assert view['result']['score'] == length
  assert view['curves']['return'][-1] == length
  values = view['curves']['value']
  assert None not in values[:-1] and values[-1] is None
  picture = one.ask('goto', index=2)['picture']
  assert one.ask('goto', index=2)['picture'] == picture
  assert one.ask('undo')['index'] == 1
  # The same again from there, since the agent and its keys are the same.
  again = one.ask('advance')
  assert again['length'] == 2 and again['picture'] == picture
  view = one.ask('move', action=1)  # Taken over by hand.
  assert view['last_action'] == 1 and view['curves']['value'][2] is None
  record = json.loads(one.ask('record')['text'])
  assert len(record['actions']) == len(record['rewards']) == 3
  assert record['actions'][2] == 1 and record['seed'] == 4
  one.ask('goto', index=0)
  played = one.ask('imagine', steps=3, line='played')
  assert [x['real']['reward'] for x in played] == [1, 1, 1]


@pytest.mark.parametrize('verb, fields', [
  ('new', dict(colour=2)), ('new', dict(colour=True)),
  ('new', dict(simulations=801)), ('new', dict(simulations=0)),
  ('new', dict(simulations=2.0)), ('new', dict(simulations=10**30)),
  ('new', dict(seed=-1)), ('new', dict(workdir='/etc')),
  ('new', dict(opponent='run:/etc')), ('new', dict(opponent='snapshot:../x')),
  ('new', dict(opponent='mcts:0')), ('new', dict(opponent='mcts:99999')),
  ('new', dict(opponent='mcts:٣')), ('new', dict(opponent='gnugo')),
  ('new', dict(opponent=['agent'])), ('new', dict(opponent='x' * 1000)),
  ('advance', dict(count=51)), ('goto', dict(index=-1)),
  ('goto', {}), ('imagine', dict(line='other')), ('record', dict(format='exe')),
  ('node', dict(node='0')), ('move', dict(action=None)),
  ('move', dict(action=[1])), ('move', dict(action=10**400)),
])
def test_fields_that_are_not_allowed(tab, verb, fields):
  one = tab('tic_tac_toe')
  one.ask('new', seed=0)
  assert one.mistake(verb, **fields)
  found = one.http.post('/api/new', content='[]', headers={
    'X-Token': 't', 'Content-Type': 'application/json'})
  assert found.status_code == 400


def test_games_are_dropped_when_there_are_too_many(tab, monkeypatch):
  monkeypatch.setattr(sessions_lib, '_MOST_SESSIONS', 2)
  tabs = [tab('tic_tac_toe') for _ in range(3)]
  for one in tabs:
    one.ask('new', seed=0)
  assert 'start a new one' in tabs[0].ask('goto', 404, index=0)['error']
  assert tabs[2].ask('goto', index=0)['index'] == 0
  monkeypatch.setattr(sessions_lib, '_MOST_BYTES', 10)
  assert 'more than are kept' in tabs[2].mistake('move', action=0)


@pytest.mark.thorough
def test_snapshots_play_too(tmp_path):
  config = tiny_game.config(num_simulations=4)
  tiny_game.store(tmp_path, config, snapshot_steps=(10, 20), step=30)
  made = api.Api(agent.load(tmp_path), workdir=tmp_path)
  assert made.info()['opponents'][:3] == [
    'agent', 'snapshot:20', 'snapshot:10']
  view = made.call('new', dict(opponent='snapshot:20', colour=1, seed=0))
  view = made.call('advance', dict(session=view['session']))
  expected = agent.load(tmp_path, snapshot=20)
  expected.reset(seed=0)
  row = made._sessions.get(view['session']).positions[0].moment.row
  assert view['last_action'] == expected.act(
    row.observation[0], row.legal_actions[0])
  with pytest.raises(ValueError, match='is not one of'):
    made.call('options', dict(
      session=view['session'], opponent='snapshot:30'))
