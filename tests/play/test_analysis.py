"""What is shown of a search is what `agent.act` and `search` find."""

import functools

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest
from helpers import random_params

from muzero_jax import agent, search
from muzero_jax import config as config_lib
from muzero_jax.drivers import build
from muzero_jax.play import analysis, halving
from muzero_jax.replay import frame_stack
from muzero_jax.search import model_functions
from muzero_jax.types import EnvSpec, TimeStep

SIMULATIONS = 12
ACTIONS = 5
SMALL = dict(
  network='mlp', num_blocks=0, num_channels=8, head_hidden=8, support_bins=5,
  support_max=2.0, num_simulations=SIMULATIONS, stacked_frames=2,
  max_considered_actions=4, gumbel_min_range=0.5, discount=0.9)
KINDS = {
  'gumbel': dict(search='gumbel', stack_actions=True),
  'puct': dict(search='muzero'),
  'chance': dict(search='gumbel', chance_codes=3),
  'chance, puct': dict(search='muzero', chance_codes=3),
  'sampled': dict(search='gumbel', num_sampled_actions=4),
  'continuous': dict(
    search='gumbel', num_sampled_actions=4, policy_head='tanh_gaussian'),
}
# Each is compiled twice, which takes seconds.
EVERY = [
  pytest.param(kind, marks=pytest.mark.thorough)
  if kind in ('chance', 'chance, puct', 'sampled', 'continuous') else kind
  for kind in KINDS]


def spec_of(kind):
  bounds = {}
  if kind == 'continuous':
    bounds = dict(action_low=(-1.0, -2.0), action_high=(1.0, 2.0))
  return EnvSpec(
    'test/rows', (3,), np.dtype(np.float32),
    2 if bounds else ACTIONS, 1 if bounds else 2, **bounds)


@functools.cache
def agent_of(kind):
  config = config_lib.from_preset('cartpole', **{**SMALL, **KINDS[kind]})
  spec = spec_of(kind)
  system = build.make_system(config, spec)
  observation = build.example_observation(config, spec)
  init = jax.jit(lambda key: random_params(
    system.model.init(key, observation), key))
  return agent.Agent(config, spec, init(jax.random.key(1)))


@functools.cache
def looked(kind):
  """Two steps of an episode: rows, keys, memories, and what was found."""
  player, looker = agent_of(kind), analysis.Looker(agent_of(kind))
  rng = np.random.default_rng(0)
  state, found = player.init_state(1), []
  for step in range(2):
    legal = np.ones((1, player.spec.num_actions), bool)
    if not player.spec.is_continuous:
      legal[0, step] = False
    row = TimeStep(
      observation=rng.normal(size=(1, 3)).astype(np.float32),
      reward=np.zeros(1, np.float32), discount=np.ones(1, np.float32),
      is_first=np.array([step == 0]), is_last=np.array([False]),
      legal_actions=legal, to_play=np.array([step], np.int32))
    key = jax.random.key(step)
    after, searched = looker.look(
      player.params, state, key, row, SIMULATIONS)
    found.append((row, key, state, searched))
    state = after
  return found


@pytest.mark.parametrize('kind', EVERY)
def test_the_search_is_that_of_the_agent(kind):
  player = agent_of(kind)
  for row, key, state, searched in looked(kind):
    _, expected = player.jitted_act(
      player.params, state, key, row.observation, row.legal_actions,
      row.is_first)
    assert searched.found.tree is None
    for name, value in expected._asdict().items():
      got = getattr(searched.found, name)
      if value is None:
        assert got is None
      elif name == 'action' and not player.spec.is_continuous:
        np.testing.assert_array_equal(got, value)
      else:
        np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-5)


def test_keys_and_memory_are_those_of_act():
  player = agent_of('gumbel')
  player.reset(seed=7)
  looker, state = analysis.Looker(player), player.init_state(1)
  rng_key = jax.random.key(7)
  for row, _, _, _ in looked('gumbel'):
    rng_key, key = jax.random.split(rng_key)
    state, searched = looker.look(
      player.params, state, key, row, SIMULATIONS)
    action = player.act(row.observation[0], row.legal_actions[0])
    assert action == searched.found.action[0]


@functools.cache
def tree_of_the_policy():
  """The tree of a search that is called as programs written for mctx do."""
  player = agent_of('gumbel')
  row, key, state, searched = looked('gumbel')[1]
  system, config = player.system, player.config
  seen = frame_stack.push(
    state.history, row.observation, state.action, row.is_first)
  observation = frame_stack.observe(seen, ACTIONS, True)
  steps = model_functions.recurrent_fns(
    system.model, system.value_transform, system.reward_transform,
    -config.discount)

  @jax.jit
  def run(params):
    return search.gumbel_muzero_policy(
      params, key,
      model_functions.root(
        system.model, system.value_transform, params, observation),
      steps['recurrent_fn'], SIMULATIONS, invalid_actions=~row.legal_actions,
      qtransform=functools.partial(
        search.qtransform_above_noise, value_scale=0.1, maxvisit_init=50.0,
        epsilon=0.5),
      max_num_considered_actions=4, gumbel_scale=0.0)

  return searched, run(player.params)


def test_nodes_are_those_of_the_tree():
  searched, output = tree_of_the_policy()
  tree, close = output.search_tree, functools.partial(
    np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  view = analysis.View(
    searched, analysis.Looker(agent_of('gumbel')), 1, SIMULATIONS)
  prior = jax.nn.softmax(tree.children_prior_logits[0])
  for number in range(SIMULATIONS + 1):
    node = view.node(number, limit=ACTIONS)
    assert node['id'] == number
    assert node['visits'] == tree.node_visits[0, number]
    close(node['value'], tree.node_values[0, number])
    close(node['network_value'], tree.raw_values[0, number])
    children = {x['action']: x for x in node['children']}
    expected = {
      action: int(child)
      for action, child in enumerate(tree.children_index[0, number])
      if child != mctx.Tree.UNVISITED}
    assert {a: x['id'] for a, x in children.items()} == expected
    assert node['num_children'] == len(expected) and node['more'] == 0
    visits = [x['visits'] for x in node['children']]
    assert visits == sorted(visits, reverse=True)
    for action, child in children.items():
      at = 0, number, action
      assert child['visits'] == tree.children_visits[at]
      assert child['to_play'] == 1 - node['to_play']
      assert child['name'] == str(action) and child['outcome'] is None
      close(child['prior'], prior[number, action])
      close(child['reward'], tree.children_rewards[at])
      close(child['discount'], tree.children_discounts[at])
      close(child['q'], tree.children_rewards[at] + (
        tree.children_discounts[at] * tree.children_values[at]))


def test_the_root_is_that_of_the_search():
  searched, output = tree_of_the_policy()
  tree = output.search_tree
  summary = tree.summary()
  shown = analysis.View(
    searched, analysis.Looker(agent_of('gumbel')), 1, SIMULATIONS).analysis()
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  assert shown['action'] == output.action[0]
  assert shown['simulations'] == SIMULATIONS
  close(shown['value'], searched.found.value[0])
  close(shown['network_value'], tree.raw_values[0, 0])
  # Action 1 is illegal.
  assert [x['action'] for x in shown['actions']] == [0, 2, 3, 4]
  prior = jax.nn.softmax(tree.children_prior_logits[0, 0])
  for each in shown['actions']:
    action = each['action']
    assert each['legal'] and each['visits'] == summary.visit_counts[0, action]
    close(each['prior'], prior[action])
    close(each['policy'], output.action_weights[0, action])
    if each['visits']:
      close(each['q'], summary.qvalues[0, action])
      close(each['reward'], tree.children_rewards[0, 0, action])
    else:
      assert each['q'] is None and each['reward'] is None
  assert shown['root'] == analysis.View(
    searched, analysis.Looker(agent_of('gumbel')), 1, SIMULATIONS).node(0)
  # Candidates are the likeliest, without noise; all are visited at first.
  order = np.argsort(-np.where(row_legal(), prior, -1))[:4]
  gumbel = shown['gumbel']
  assert gumbel['candidates'] == order.tolist()
  assert gumbel['rounds'][0]['actions'] == order.tolist()
  counted = dict.fromkeys(gumbel['candidates'], 0)
  for one in gumbel['rounds']:
    for action in one['actions']:
      counted[action] += one['visits_each']
  assert counted == {
    x['action']: x['visits'] for x in shown['actions'] if x['visits']}
  line = shown['line']
  assert line[0]['action'] == shown['action']
  node = 0
  for number, step in enumerate(line):
    children = analysis.View(
      searched, analysis.Looker(agent_of('gumbel')), 1, SIMULATIONS,
    ).node(node, 64)['children']
    if number:
      assert step['node'] == children[0]['id']
    assert step['node'] in [x['id'] for x in children]
    node = step['node']


def row_legal():
  return looked('gumbel')[1][0].legal_actions[0]


@pytest.mark.parametrize('kind', EVERY)
def test_values_are_means_of_what_lies_below(kind):
  _, _, _, searched = looked(kind)[1]
  is_alone = kind == 'continuous'
  view = analysis.View(
    searched, analysis.Looker(agent_of(kind)), None if is_alone else 1,
    SIMULATIONS)
  shown = view.analysis()
  assert sum(x['visits'] for x in shown['actions']) == SIMULATIONS
  np.testing.assert_allclose(
    sum(x['policy'] for x in shown['actions']), 1, rtol=1e-3)
  for number in range(SIMULATIONS + 1):
    node = view.node(number, 64)
    total = node['network_value'] + sum(
      x['visits'] * x['q'] for x in node['children'])
    assert node['visits'] == 1 + sum(x['visits'] for x in node['children'])
    np.testing.assert_allclose(
      node['value'], total / node['visits'], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('kind', EVERY[2:4])
def test_chance_has_nodes_of_its_own(kind):
  _, _, _, searched = looked(kind)[1]
  view = analysis.View(
    searched, analysis.Looker(agent_of(kind)), 1, SIMULATIONS)
  root = view.node(0, 64)
  after = root['children'][0]
  assert after['reward'] == 0 and after['discount'] == 1
  assert after['to_play'] == 1 and after['action'] is not None
  outcome = view.node(after['id'], 64)['children'][0]
  assert outcome['action'] is None
  assert outcome['name'] == f'outcome {outcome["outcome"]}'
  assert 0 <= outcome['outcome'] < 3 and outcome['to_play'] == 0
  steps = view.edges_of_line()
  assert steps[0][0] == view.analysis()['action']
  assert steps[0][1] in range(3)


@pytest.mark.thorough
def test_candidates_of_continuous_actions_have_names():
  _, _, _, searched = looked('continuous')[1]
  shown = analysis.View(
    searched, analysis.Looker(agent_of('continuous')), None, SIMULATIONS
  ).analysis()
  chosen = searched.found.action[0]
  named = {x['action']: x['name'] for x in shown['actions']}
  assert named[shown['action']] == f'({chosen[0]:.2f}, {chosen[1]:.2f})'
  assert shown['line'][0]['name'] == named[shown['action']]
  assert shown['root']['to_play'] is None


def test_children_are_pruned():
  searched, _ = tree_of_the_policy()
  view = analysis.View(
    searched, analysis.Looker(agent_of('gumbel')), 1, SIMULATIONS)
  root = view.node(0, limit=1)
  assert len(root['children']) == 1
  assert root['more'] == root['num_children'] - 1 == 3
  with pytest.raises(Exception, match='node = 99 is not in the tree'):
    view.node(99)
  with pytest.raises(Exception, match='node = -1 is not in the tree'):
    view.node(-1)


def test_rounds_of_sequential_halving():
  # 4 candidates and 16 simulations: two visits each, then four of two each.
  assert halving.rounds([6, 2, 6, 2], 16) == [
    ([0, 1, 2, 3], 2), ([0, 2], 4)]
  assert halving.rounds([8], 8) == [([0], 8)]
  assert halving.rounds([1, 1, 1], 3) == [([0, 1, 2], 1)]
  assert halving.rounds([], 3) == []
  # The last round ends early.
  assert halving.rounds([3, 2], 5) == [([0, 1], 2), ([0], 1)]


def test_actions_that_are_not_finite_numbers_are_none():
  assert analysis._number(jnp.inf) is None
  assert analysis._number(jnp.float32(0.5)) == 0.5
