"""Our search against mctx's: the same trees, node for node."""

import functools
import pathlib
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest

from muzero_jax import search
from muzero_jax.errors import UserError
from muzero_jax.search import first_round, selection

WIDTH = 16


def make_params(key, num_actions):
  keys = jax.random.split(key, 4)
  scale = WIDTH**-0.5
  return dict(
    step=scale * jax.random.normal(keys[0], (WIDTH + num_actions, WIDTH)),
    reward=scale * jax.random.normal(keys[1], (WIDTH,)),
    value=scale * jax.random.normal(keys[2], (WIDTH,)),
    policy=jax.random.normal(keys[3], (WIDTH, num_actions)),
  )


def step(params, rng_key, action, state, discount=0.9):
  """A random network; `discount` may differ between transitions."""
  del rng_key
  num_actions = params['policy'].shape[1]
  state = jnp.tanh(
    jnp.concatenate([state, jax.nn.one_hot(action, num_actions)], axis=-1)
    @ params['step']
  )
  if discount == 'mixed':
    discount = jnp.array([1.0, -1.0, 0.0])[action % 3]
  reward = state @ params['reward']
  return mctx.RecurrentFnOutput(
    reward=reward,
    discount=jnp.broadcast_to(jnp.float32(discount), reward.shape),
    prior_logits=state @ params['policy'],
    value=state @ params['value'],
  ), state


def masked_step(params, rng_key, action, state):
  """As `step`; every third action is illegal inside."""
  output, state = step(params, rng_key, action, state)
  illegal = jnp.arange(output.prior_logits.shape[1]) % 3 == 1
  return search.RecurrentFnOutput(
    **output, invalid_actions=jnp.broadcast_to(
      illegal, output.prior_logits.shape)
  ), state


def case(seed, batch_size, num_actions, illegal=0.3):
  """Parameters, roots and root masks; one row allows nothing."""
  key = jax.random.key(seed)
  params = make_params(key, num_actions)
  state = jax.random.normal(jax.random.fold_in(key, 1), (batch_size, WIDTH))
  root = mctx.RootFnOutput(
    prior_logits=state @ params['policy'],
    value=state @ params['value'],
    embedding=state,
  )
  mask = jax.random.uniform(
    jax.random.fold_in(key, 2), (batch_size, num_actions)
  ) < illegal
  mask = mask.at[0].set(True) if illegal else mask
  return params, root, mask.astype(jnp.float32)


def run(policy, seed, sizes, *, illegal=0.3, recurrent_fn=step, **kwargs):
  params, root, mask = case(seed, *sizes, illegal=illegal)
  call = functools.partial(
    policy, recurrent_fn=recurrent_fn,
    invalid_actions=mask if illegal else None, **kwargs
  )
  return jax.jit(call)(params, jax.random.key(seed + 7), root)


def assert_same(found, wanted):
  assert found.search_tree.embeddings.dtype == jnp.float32
  for one, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True
  ):
    assert one.dtype == other.dtype and one.shape == other.shape
    if jnp.issubdtype(one.dtype, jnp.integer):
      np.testing.assert_array_equal(one, other)
    else:
      np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


# batch, actions; simulations; depth limit; discount.
CASES = [
  ((4, 5), 1, None, 1.0),
  ((5, 3), 16, 3, -1.0),
  ((2, 9), 30, 1, 0.0),
  ((7, 6), 40, None, 'mixed'),
  ((3, 4), 200, None, 0.99),
]


@pytest.mark.parametrize('sizes, simulations, depth, discount', CASES)
@pytest.mark.parametrize('name', ['muzero_policy', 'gumbel_muzero_policy'])
def test_trees_are_mctxs(name, sizes, simulations, depth, discount):
  compatible = {'tie_break': 'node'} if name == 'muzero_policy' else {}
  kwargs = dict(
    num_simulations=simulations, max_depth=depth,
    recurrent_fn=functools.partial(step, discount=discount),
  )
  wanted = run(getattr(mctx, name), 3, sizes, **kwargs)
  found = run(getattr(search, name), 3, sizes, **kwargs, **compatible)
  assert_same(found, wanted)


def test_without_a_mask():
  for name, extra in (
    ('muzero_policy', {'tie_break': 'node'}), ('gumbel_muzero_policy', {})
  ):
    kwargs = dict(illegal=0, num_simulations=12)
    assert_same(
      run(getattr(search, name), 1, (3, 4), **kwargs, **extra),
      run(getattr(mctx, name), 1, (3, 4), **kwargs),
    )


@pytest.mark.parametrize('qtransform', [
  mctx.qtransform_by_min_max, mctx.qtransform_by_parent_and_siblings,
])
def test_one_draw_a_search_decides_between_equals_only(qtransform):
  """Random networks have no ties, so the default is mctx's tree as well."""
  if qtransform is mctx.qtransform_by_min_max:
    qtransform = functools.partial(qtransform, min_value=-3.0, max_value=3.0)
  kwargs = dict(num_simulations=30, qtransform=qtransform)
  assert_same(
    run(search.muzero_policy, 5, (4, 6), **kwargs),
    run(mctx.muzero_policy, 5, (4, 6), **kwargs),
  )


def noisy_step(params, rng_key, action, state):
  """As `step`, with values that only the right key can repeat."""
  output, state = step(params, rng_key, action, state)
  noise = jax.random.normal(rng_key, output.value.shape)
  return output.replace(value=output.value + noise), state


@pytest.mark.parametrize('at_once, mask, simulations', [
  (1, None, 20), (2, None, 20), (6, 'some', 20), (6, None, 6),
])
def test_an_opening_in_one_call_is_that_of_one_by_one(
  monkeypatch, at_once, mask, simulations
):
  """Also in parts, with a model that draws, and where nothing is left to do.

  Six candidates of nine actions of which at most two are illegal.
  """
  monkeypatch.setattr(first_round, '_per_call', lambda num: at_once)
  params, root, _ = case(8, 4, 9)
  if mask:
    mask = jnp.zeros((4, 9)).at[0, 3].set(1).at[2, 5:7].set(1)
  count = []

  def counted(*args):
    jax.debug.callback(lambda: count.append(1))
    return noisy_step(*args)

  def build(library, model):
    return jax.jit(lambda: library.gumbel_muzero_policy(
      params, jax.random.key(4), root, model, simulations,
      invalid_actions=mask, max_num_considered_actions=6,
    ))()

  found = jax.block_until_ready(build(search, counted))
  assert_same(found, build(mctx, noisy_step))
  jax.effects_barrier()
  assert len(count) == 6 // at_once + simulations - 6


def test_a_loop_of_the_users_own_runs_all_simulations():
  params, root, _ = case(8, 2, 3)
  asked = []

  def loop(lower, upper, body, carry):
    asked.append((lower, upper))
    return jax.lax.fori_loop(lower, upper, body, carry)

  build = lambda library: jax.jit(lambda: library.gumbel_muzero_policy(
    params, jax.random.key(4), root, step, 3, loop_fn=loop
  ))()
  assert_same(build(search), build(mctx))
  assert asked == [(0, 3), (0, 3)]


def test_models_that_cannot_be_vmapped_and_wrong_shapes():
  params, root, _ = case(8, 2, 3)

  def on_the_host(params, rng_key, action, state):
    output, state = step(params, rng_key, action, state)
    reward = jax.pure_callback(
      lambda x: np.asarray(x), output.reward, output.reward
    )
    return output.replace(reward=reward), state

  def too_deep(params, rng_key, action, state):
    output, state = step(params, rng_key, action, state)
    return output.replace(reward=output.reward[:, None]), state

  build = lambda model: jax.jit(lambda: search.gumbel_muzero_policy(
    params, jax.random.key(4), root, model, 5
  ))()
  assert_same(build(on_the_host), build(step))
  with pytest.raises(AssertionError, match='shape'):
    build(too_deep)


@pytest.mark.parametrize('kwargs', [
  dict(rescale_values=False, value_scale=0.3),
  dict(use_mixed_value=False, maxvisit_init=5.0),
  dict(epsilon=0.5),
])
def test_options_of_the_mixed_value(kwargs):
  qtransform = functools.partial(
    mctx.qtransform_completed_by_mix_value, **kwargs
  )
  kwargs = dict(
    num_simulations=20, qtransform=qtransform, max_num_considered_actions=3,
    gumbel_scale=0.5,
  )
  assert_same(
    run(search.gumbel_muzero_policy, 2, (3, 5), **kwargs),
    run(mctx.gumbel_muzero_policy, 2, (3, 5), **kwargs),
  )


def test_a_floor_is_the_same_for_one_tree_and_for_many():
  kwargs = dict(
    num_simulations=20, max_num_considered_actions=3, gumbel_scale=0.5,
    qtransform=functools.partial(
      search.qtransform_above_noise, epsilon=0.1
    ),
  )
  assert_same(
    run(search.gumbel_muzero_policy, 2, (3, 5), **kwargs),
    run(mctx.gumbel_muzero_policy, 2, (3, 5), **kwargs),
  )


def test_search_takes_functions_of_one_tree():
  """A swap of `mctx.search` for ours, with mctx's own rules."""
  params, root, mask = case(4, 4, 5)

  def first(key, tree, node):
    return mctx.muzero_action_selection(key, tree, node, 0)

  def build(function):
    return jax.jit(lambda key: function(
      params, key, root=root, recurrent_fn=step,
      root_action_selection_fn=first,
      interior_action_selection_fn=mctx.muzero_action_selection,
      num_simulations=15, invalid_actions=mask, extra_data=mask[:, 0],
    ))(jax.random.key(0))

  found, wanted = build(search.search), build(mctx.search)
  for one, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True
  ):
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
  assert isinstance(found, mctx.Tree)


def test_equals_are_broken_at_random_and_alike_in_a_search():
  zeros = jnp.zeros((256, 4))
  root = mctx.RootFnOutput(
    prior_logits=zeros, value=zeros[:, 0], embedding=zeros
  )

  def flat(params, rng_key, action, state):
    return mctx.RecurrentFnOutput(
      reward=state[:, 0], discount=state[:, 0] + 1, prior_logits=state,
      value=state[:, 0],
    ), state

  found = jax.jit(functools.partial(
    search.muzero_policy, recurrent_fn=flat, num_simulations=1,
    dirichlet_fraction=0.0,
  ))((), jax.random.key(0), root)
  counts = np.bincount(np.asarray(found.action), minlength=4)
  # Binomial(256, 1/4): mean 64, standard deviation 7.
  assert (np.abs(counts - 64) < 35).all()


def test_an_element_does_not_depend_on_the_others():
  params, root, mask = case(6, 6, 5)
  gumbel = jnp.zeros(())  # Noise is drawn for the batch as a whole.

  def build(policy, part, **kwargs):
    some = jax.tree.map(lambda x: x[part], (root, mask))
    return jax.jit(lambda: policy(
      params, jax.random.key(0), some[0], step, 25, some[1], **kwargs
    ).search_tree)()

  for policy, kwargs in (
    (search.gumbel_muzero_policy, dict(gumbel_scale=gumbel)),
    (search.muzero_policy, dict(dirichlet_fraction=0.0)),
  ):
    whole = build(policy, slice(None), **kwargs)
    part = build(policy, slice(2, 4), **kwargs)
    for one, other in zip(
      jax.tree.leaves(part), jax.tree.leaves(whole), strict=True
    ):
      np.testing.assert_allclose(one, other[2:4], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('extreme', [1e30, -1e30, 0.0, 1e-42])
def test_extreme_numbers_give_no_nan(extreme):
  def wild(params, rng_key, action, state):
    output, state = step(params, rng_key, action, state)
    one = jnp.where(action % 2 == 0, extreme, 0.0)
    return output.replace(
      reward=one, value=one, discount=jnp.ones_like(one),
      prior_logits=output.prior_logits * extreme,
    ), state

  for policy in (search.muzero_policy, search.gumbel_muzero_policy):
    found = run(policy, 8, (4, 5), recurrent_fn=wild, num_simulations=20)
    chex.assert_tree_all_finite(found.action_weights)
    visits = found.search_tree.node_visits[:, 0]
    np.testing.assert_array_equal(visits, 21)


def test_illegal_actions_of_interior_nodes_are_never_taken():
  for policy in (search.muzero_policy, search.gumbel_muzero_policy):
    found = run(
      policy, 9, (5, 6), recurrent_fn=masked_step, num_simulations=40,
      interior_masks=True,
    )
    inside = np.asarray(found.search_tree.children_visits)[:, 1:]
    illegal = np.arange(6) % 3 == 1
    assert (inside[..., illegal] == 0).all()
    assert (inside[..., ~illegal] > 0).any()


@pytest.mark.parametrize('function, masks, words', [
  (masked_step, False, 'interior_masks=False'),
  (step, True, 'interior_masks=True'),
])
def test_masks_that_are_not_announced_are_refused(function, masks, words):
  with pytest.raises(UserError, match=words):
    run(
      search.muzero_policy, 0, (2, 3), recurrent_fn=function,
      num_simulations=2, interior_masks=masks,
    )


@pytest.mark.parametrize('kwargs, words', [
  (dict(num_simulations=0), 'num_simulations=0'),
  (dict(num_simulations=1, max_depth=0), 'max_depth=0'),
  (dict(num_simulations=1, tie_break='never'), "tie_break='never'"),
])
def test_bad_arguments(kwargs, words):
  with pytest.raises(UserError, match=words):
    run(search.muzero_policy, 0, (2, 3), **kwargs)


def test_gumbel_with_puct_inside():
  """Root visits follow the halving, whatever the rule inside."""
  kwargs = dict(num_simulations=32, max_num_considered_actions=4, illegal=0)
  tie_break = jnp.zeros((3, 5))
  found = run(
    search.gumbel_muzero_policy, 4, (3, 5),
    interior_selection=search.puct(
      mctx.qtransform_by_parent_and_siblings, tie_break=tie_break
    ), **kwargs,
  )
  full = run(search.gumbel_muzero_policy, 4, (3, 5), **kwargs)
  root = lambda out: np.sort(out.search_tree.children_visits[:, 0], axis=-1)
  np.testing.assert_array_equal(root(found), root(full))
  assert (
    found.search_tree.children_index != full.search_tree.children_index
  ).any()


def test_extremes_of_the_tree_are_those_that_backups_saw():
  """A walk over the same tree, by hand, reaches the same choices."""
  kwargs = dict(num_simulations=25, dirichlet_fraction=0.0, illegal=0)
  found = run(
    search.muzero_policy, 11, (2, 4), qtransform=search.qtransform_by_tree,
    **kwargs,
  ).search_tree
  params, root, _ = case(11, 2, 4, illegal=0)
  for b in range(2):
    wanted = _puct_by_hand(params, root, b, 25)
    np.testing.assert_array_equal(found.children_visits[b, 0], wanted)


def _puct_by_hand(params, root, b, simulations, discount=0.9):
  """Root visits of a recursive pUCT with running extremes (MuZero, app. B)."""
  probabilities = lambda logits: np.asarray(jax.nn.softmax(logits))
  advance = jax.jit(step)

  class Node:
    def __init__(self, state, logits, value):
      self.state, self.prior = state, probabilities(logits)
      self.visits, self.mean = 1, float(value)
      self.children, self.rewards = {}, {}

    def quality(self, a):
      return self.rewards[a] + discount * self.children[a].mean

  top = Node(root.embedding[b], root.prior_logits[b], root.value[b])
  low, high = np.inf, -np.inf
  for _ in range(simulations):
    node, path = top, []
    while True:
      factor = np.sqrt(node.visits) * (
        1.25 + np.log((node.visits + 19_653) / 19_652)
      )
      scores = []
      for a in range(4):
        child = node.children.get(a)
        scaled = 0.0
        if child is not None:
          scaled = (node.quality(a) - low) / max(high - low, 1e-8)
        count = child.visits if child else 0
        scores.append(scaled + factor * node.prior[a] / (1 + count))
      action = int(np.argmax(scores))
      path.append((node, action))
      if action not in node.children:
        break
      node = node.children[action]
    output, state = advance(
      params, None, jnp.array([action]), node.state[None]
    )
    node.children[action] = Node(
      state[0], output.prior_logits[0], output.value[0]
    )
    node.rewards[action] = float(output.reward[0])
    value = float(output.value[0])
    for parent, action in reversed(path):
      value = parent.rewards[action] + discount * value
      parent.mean = (parent.mean * parent.visits + value) / (parent.visits + 1)
      parent.visits += 1
      quality = parent.quality(action)
      low, high = min(low, quality), max(high, quality)
  return [
    top.children[a].visits if a in top.children else 0 for a in range(4)
  ]


def test_memory_is_as_stated():
  batch_size, num_actions, simulations = 3, 5, 9
  _, root, _ = case(0, batch_size, num_actions)
  tree = run(
    search.gumbel_muzero_policy, 0, (batch_size, num_actions),
    num_simulations=simulations,
  ).search_tree
  arrays = jax.tree.leaves(tree.replace(extra_data=None))
  assert sum(x.nbytes for x in arrays) == search.num_bytes(
    batch_size, num_actions, simulations, root.embedding
  )
  assert search.num_bytes(
    batch_size, num_actions, simulations, root.embedding
  ) == 3 * 10 * (20 + 24 * 5 + 4 * WIDTH) + 4 * 3 * 5


def test_stochastic_trees_are_mctxs():
  batch_size, num_actions, num_outcomes = 3, 4, 3
  params, root, mask = case(12, batch_size, num_actions)
  mix = jax.random.normal(jax.random.key(2), (WIDTH + num_outcomes, WIDTH))

  def decide(params, rng_key, action, state):
    output, state = step(params, rng_key, action, state)
    return mctx.DecisionRecurrentFnOutput(
      chance_logits=state[:, :num_outcomes], afterstate_value=output.value
    ), {'after': state}

  def happen(params, rng_key, outcome, after):
    chosen = jax.nn.one_hot(outcome, num_outcomes)
    state = jnp.tanh(
      jnp.concatenate([after['after'], chosen], axis=-1) @ mix / WIDTH**0.5
    )
    reward = state @ params['reward']
    return mctx.ChanceRecurrentFnOutput(
      action_logits=state @ params['policy'], value=state @ params['value'],
      reward=reward, discount=jnp.full_like(reward, 0.9),
    ), state

  def build(policy, **kwargs):
    return jax.jit(lambda: policy(
      params, jax.random.key(1), root, decide, happen, 40, mask, **kwargs
    ))()

  wanted = build(mctx.stochastic_muzero_policy)
  found = build(search.stochastic_muzero_policy, tie_break='node')
  np.testing.assert_array_equal(found.action, wanted.action)
  np.testing.assert_allclose(
    found.action_weights, wanted.action_weights, rtol=1e-6
  )
  for name in (
    'node_visits', 'parents', 'action_from_parent', 'children_index',
    'children_visits', 'node_values', 'raw_values', 'children_values',
    'children_rewards', 'children_discounts', 'children_prior_logits',
  ):
    np.testing.assert_allclose(
      getattr(found.search_tree, name), getattr(wanted.search_tree, name),
      rtol=1e-6, atol=1e-6, err_msg=name,
    )
  # Both kinds of nodes are there, and so were leaves of both at a time.
  kinds = np.asarray(found.search_tree.embeddings.is_decision_node)
  assert (kinds.any(axis=0) & ~kinds.all(axis=0)).any()


@pytest.mark.parametrize('policy', ['muzero', 'gumbel'])
@pytest.mark.parametrize('likely, best', [(0.75, 1), (0.65, 0)])
def test_the_optimum_where_chance_decides(policy, likely, best):
  """0.4 for sure, or a bet of 1 against -1; two such rounds, then the end.

  pUCT with the paper's scaling: over siblings, a difference of 0.1 looks like
  one of everything, and the first bad luck decides for good (in mctx as well).
  The Gumbel rule does not look again at what it takes for bad: it is given
  true values.
  """
  batch_size, sure = 2, 0.4
  exact = float(policy == 'gumbel')
  round_value = exact * max(sure, 2 * likely - 1)

  def decide(params, rng_key, action, state):
    del rng_key
    chance = jnp.log(jnp.array([params, 1 - params]))
    now = exact * jnp.where(action == 1, 2 * params - 1, sure)
    return mctx.DecisionRecurrentFnOutput(
      chance_logits=jnp.broadcast_to(chance, (batch_size, 2)),
      afterstate_value=(now + (1 - state) * round_value) * (state < 2),
    ), (state, action)

  def happen(params, rng_key, outcome, after):
    del params, rng_key
    state, action = after
    bet = jnp.where(outcome == 0, 1.0, -1.0)
    reward = jnp.where(action == 1, bet, sure) * (state < 2)
    return mctx.ChanceRecurrentFnOutput(
      action_logits=jnp.zeros((batch_size, 2)),
      value=(1 - state) * round_value,
      reward=reward, discount=jnp.where(state < 1, 1.0, 0.0),
    ), state + 1

  root = mctx.RootFnOutput(
    prior_logits=jnp.zeros((batch_size, 2)), value=jnp.zeros(batch_size),
    embedding=jnp.zeros(batch_size, jnp.int32),
  )
  if policy == 'muzero':
    plan = functools.partial(
      search.stochastic_muzero_policy,
      dirichlet_fraction=0.0, temperature=0.0,
      qtransform=search.qtransform_by_tree,
    )
  else:
    plan = functools.partial(
      search.gumbel_stochastic_muzero_policy,
      gumbel_scale=0.0, qtransform=functools.partial(
        mctx.qtransform_completed_by_mix_value, epsilon=1.0
      ),
    )
  found = jax.jit(lambda params: plan(
    params, jax.random.key(0), root, decide, happen, 1_500
  ))(jnp.float32(likely))
  np.testing.assert_array_equal(found.action, best)
  qvalues = found.search_tree.summary().qvalues[:, best]
  optimum = 2 * max(sure, 2 * likely - 1)
  # Means of a search that goes on exploring stay below.
  np.testing.assert_allclose(qvalues, optimum, atol=0.1)


@pytest.mark.thorough
def test_mctxs_own_tests_pass():
  script = pathlib.Path(__file__).with_name('mctx_tests.py')
  done = subprocess.run(
    [sys.executable, str(script)], text=True, capture_output=True
  )
  assert done.returncode == 0, done.stderr
  assert int(done.stdout.split()[-1]) == 15


def test_an_argmax_is_jaxs():
  rows = jnp.array([
    [1.0, 3.0, 3.0], [jnp.nan, 5.0, -jnp.inf], [-jnp.inf] * 3,
    [2.0, jnp.nan, jnp.nan],
  ])
  np.testing.assert_array_equal(
    selection.argmax(rows), jnp.argmax(rows, axis=-1)
  )


def test_extremes_for_the_roots_rule_alone():
  found = run(
    search.gumbel_muzero_policy, 4, (3, 5), num_simulations=9,
    qtransform=search.qtransform_by_tree,
    interior_selection=search.puct(
      mctx.qtransform_by_parent_and_siblings, tie_break=jnp.zeros((3, 5))
    ),
  )
  chex.assert_tree_all_finite(found.action_weights)


def test_searches_under_x64():
  jax.config.update('jax_enable_x64', True)
  try:
    for name, extra in (
      ('muzero_policy', {'tie_break': 'node'}), ('gumbel_muzero_policy', {})
    ):
      kwargs = dict(num_simulations=9)
      found = run(getattr(search, name), 2, (3, 4), **kwargs, **extra)
      wanted = run(getattr(mctx, name), 2, (3, 4), **kwargs)
      np.testing.assert_array_equal(
        found.search_tree.node_visits, wanted.search_tree.node_visits
      )
      np.testing.assert_allclose(
        found.search_tree.node_values, wanted.search_tree.node_values,
        rtol=1e-6, atol=1e-6,
      )
  finally:
    jax.config.update('jax_enable_x64', False)
