"""The agent's search of one position with its tree, and both as plain records.

The search is that of `agent.act`: made by the same functions, called with the
same keys, so that what is shown is what the agent plays by.
"""

import dataclasses
import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import agent as agent_lib
from muzero_jax.agent import Agent, AgentState
from muzero_jax.drivers import build
from muzero_jax.errors import UserError
from muzero_jax.play import halving, names
from muzero_jax.types import Array, Params, SearchOutput, TimeStep

MAX_SIMULATIONS = 800
# Numbers of simulations whose searches stay compiled.
_KEPT = 8
_CHILDREN = 8  # Of a node, where nobody asks for more.


class Edges(NamedTuple):
  """The root's edges: E actions, or candidates of Sampled MuZero."""

  prior: Array  # [E]
  visits: Array  # [E] i32
  qvalues: Array  # [E] 0 where not visited.
  rewards: Array  # [E] likewise.
  gumbel: Array  # [E] noise and logits, by which candidates are chosen.
  legal: Array  # [E] bool


class Nodes(NamedTuple):
  """N nodes of a tree, in the order in which simulations made them.

  What is said of a node's edge is said of the one that leads to it.
  """

  parent: Array  # [N] i32, -1 for none.
  edge: Array  # [N] i32, below A actions, from there on outcomes of chance.
  visits: Array  # [N] i32, 0 of nodes that were never made.
  value: Array  # [N] searched, for who moves there.
  network_value: Array  # [N]
  reward: Array  # [N] of the edge.
  discount: Array  # [N] of the edge, below 0 where the turn passes.
  prior: Array  # [N] of the edge.
  action: Array  # [N] or [N, A]: what the edge means to the environment.


class Searched(NamedTuple):
  """What a search of one position found."""

  found: SearchOutput  # [1, ...]
  edges: Edges
  nodes: Nodes


class Looker:
  """Searches positions of one environment with all that is to be seen."""

  def __init__(self, agent: Agent) -> None:
    self.agent = agent
    self._searches: OrderedDict[int, Callable[..., Any]] = OrderedDict()

  @property
  def simulations(self) -> int:
    """Return the simulations of the agent's own searches."""
    config = self.agent.config
    return config.eval_simulations or config.num_simulations

  def look(
    self,
    params: Params,
    state: AgentState,
    rng_key: Array,
    row: TimeStep,
    simulations: int,
  ) -> tuple[AgentState, Searched]:
    """Search one position as `Agent.act` does.

    Args:
      params: the agent's, or another's of the same network.
      state: what it remembers of the episode before this row.
      rng_key: for the search.
      row: [1] the position.
      simulations: of the search.

    Returns:
      What the agent remembers afterwards, and what it found, as NumPy arrays.
    """
    found = self._search(simulations)(
      params, state, rng_key, row.observation, row.legal_actions,
      row.is_first)
    return jax.device_get(found)

  def _search(self, simulations: int) -> Callable[..., Any]:
    """Return the compiled search of so many simulations."""
    if simulations not in self._searches:
      self._searches[simulations] = jax.jit(make(self.agent, simulations))
      if len(self._searches) > _KEPT:
        self._searches.popitem(last=False)
    self._searches.move_to_end(simulations)
    return self._searches[simulations]


def make(agent: Agent, simulations: int) -> Callable[..., Any]:
  """Make a function like `Agent.act_fn` that returns `Searched`.

  Args:
    agent: all of it but its parameters.
    simulations: of the search.
  """
  config = dataclasses.replace(agent.config, eval_simulations=simulations)
  search = build.make_search(
    config, agent.spec, agent.system, 'evaluation', keeps_tree=True)
  act = functools.partial(
    agent_lib.act, search, agent.spec.num_actions, config.stack_actions)

  def look(
    params: Params, state: AgentState, rng_key: Array, observation: Array,
    legal_actions: Array, is_first: Array,
  ) -> tuple[AgentState, Searched]:
    state, found = act(
      params, state, rng_key, observation, legal_actions, is_first)
    return state, _without_tree(agent, found, legal_actions)

  return look


def _without_tree(
  agent: Agent, found: SearchOutput, legal_actions: Array
) -> Searched:
  """Return what is shown of a search; the rest of its tree is not made."""
  tree = found.tree
  if tree is None:
    raise UserError(
      "the agent's own search returns no tree: there is nothing to show")
  tree = jax.tree.map(lambda x: x[0], tree)
  parent = jnp.maximum(tree.parents, 0)
  edge = jnp.maximum(tree.action_from_parent, 0)
  prior = jax.nn.softmax(tree.children_prior_logits)
  action: Array = edge
  legal = legal_actions[0]
  if found.candidates is not None:
    embedding = tree.embeddings
    if agent.system.model.prefix_steps:
      embedding = embedding.state
    action = embedding.candidates[parent, edge]
    legal = tree.root_invalid_actions <= 0
  size = len(legal)
  root = lambda x: x[0, :size]
  gumbel = root(tree.children_prior_logits)
  if tree.extra_data is not None:
    gumbel = gumbel + tree.extra_data.root_gumbel
  return Searched(
    found=found._replace(tree=None),
    edges=Edges(
      prior=root(prior), visits=root(tree.children_visits),
      qvalues=root(
        tree.children_rewards
        + tree.children_discounts * tree.children_values),
      rewards=root(tree.children_rewards), gumbel=gumbel, legal=legal),
    nodes=Nodes(
      parent=tree.parents, edge=tree.action_from_parent,
      visits=tree.node_visits, value=tree.node_values,
      network_value=tree.raw_values,
      reward=tree.children_rewards[parent, edge],
      discount=tree.children_discounts[parent, edge],
      prior=prior[parent, edge], action=action))


class View:
  """A search as plain records, its nodes on demand.

  `to_play` is 0 or 1 of who opened the game and who did not, None with one
  player.
  """

  def __init__(
    self, searched: Searched, looker: Looker, to_play: int | None,
    simulations: int,
  ) -> None:
    self._searched, self._agent = searched, looker.agent
    self._to_play, self._simulations = to_play, simulations
    nodes = searched.nodes
    self._made = np.flatnonzero(nodes.visits > 0)
    self._children: dict[int, list[int]] = {}
    for node in self._made[1:]:
      self._children.setdefault(int(nodes.parent[node]), []).append(int(node))
    for children in self._children.values():
      children.sort(key=lambda node: (-int(nodes.visits[node]), node))

  def analysis(self) -> dict[str, Any]:
    """Return what the search found, and the root of its tree."""
    found = self._searched.found
    return dict(
      action=self._chosen(), value=_number(found.value[0]),
      network_value=_number(found.network_value[0]),
      simulations=self._simulations,
      actions=[self._edge(number) for number in self._considered()],
      gumbel=self._gumbel(),
      line=[
        dict(action=self._action(node), name=self._name(node),
             visits=int(self._searched.nodes.visits[node]), node=node)
        for node in self.line()],
      root=self.node(0))

  def node(self, node: int, limit: int = _CHILDREN) -> dict[str, Any]:
    """Return a node with its most visited children.

    Args:
      node: its number.
      limit: most children that are returned.

    Raises:
      UserError: there is no such node.
    """
    nodes = self._searched.nodes
    if not 0 <= node < len(nodes.visits) or not nodes.visits[node]:
      raise UserError(
        f'node = {node} is not in the tree: it has {len(self._made)} nodes')
    children = self._children.get(node, [])
    shown = children[:limit]
    return self._node(node) | dict(
      children=[self._node(child) for child in shown],
      more=len(children) - len(shown))

  def line(self) -> list[int]:
    """Return the nodes of the most visited line, without the root."""
    found, edges = self._searched.found, self._searched.edges
    line: list[int] = []
    edge = int(self._edge_of_choice(found, edges))
    children = [
      node for node in self._children.get(0, [])
      if int(self._searched.nodes.edge[node]) == edge]
    while children:
      line.append(children[0])
      children = self._children.get(children[0], [])
    return line

  def edges_of_line(self) -> list[tuple[Any, int | None]]:
    """Return the actions of the line, each with the outcome of chance after it.

    The outcome is None where the model has none, or the line ends before it.
    """
    nodes, num_actions = self._searched.nodes, self._agent.spec.num_actions
    steps: list[tuple[Any, int | None]] = []
    for node in self.line():
      if self._is_outcome(node):
        steps[-1] = steps[-1][0], int(nodes.edge[node]) - num_actions
      else:
        steps.append((nodes.action[node], None))
    return steps

  def _considered(self) -> list[int]:
    """Return the root's edges that may be taken."""
    return [int(x) for x in np.flatnonzero(self._searched.edges.legal)]

  def _edge(self, number: int) -> dict[str, Any]:
    edges, found = self._searched.edges, self._searched.found
    is_visited = bool(edges.visits[number])
    return dict(
      action=self._action_of_edge(number),
      name=self._named(self._raw_action(number), 0),
      prior=_number(edges.prior[number]),
      policy=_number(found.policy[0, number]),
      visits=int(edges.visits[number]),
      q=_number(edges.qvalues[number]) if is_visited else None,
      reward=self._reward(number) if is_visited else None,
      legal=True)

  def _reward(self, number: int) -> float | None:
    # With chance the reward comes with its outcome.
    if self._agent.system.model.afterstate is not None:
      return None
    return _number(self._searched.edges.rewards[number])

  def _raw_action(self, number: int) -> Any:
    """Return what an edge of the root means to the environment."""
    candidates = self._searched.found.candidates
    return number if candidates is None else candidates[0, number]

  def _action_of_edge(self, number: int) -> int:
    """Return the number of an edge's action; of a vector, the candidate's."""
    if self._agent.spec.is_continuous:
      return number
    return int(self._raw_action(number))

  def _edge_of_choice(self, found: SearchOutput, edges: Edges) -> int:
    """Return the root's edge that the agent takes."""
    if found.candidates is None:
      return int(found.action[0])
    candidates = np.asarray(found.candidates[0])
    same = np.asarray(candidates == np.asarray(found.action[0]))
    if same.ndim > 1:
      same = np.asarray(same.all(axis=-1))
    return int(np.flatnonzero(same & np.asarray(edges.legal))[0])

  def _chosen(self) -> int:
    return self._action_of_edge(
      self._edge_of_choice(self._searched.found, self._searched.edges))

  def _gumbel(self) -> dict[str, Any] | None:
    """Return Gumbel MuZero's candidates and the rounds of their tournament."""
    config, edges = self._agent.config, self._searched.edges
    if config.search != 'gumbel':
      return None
    size = len(edges.legal)
    most = min(config.max_considered_actions, size)
    count = min(most, int(edges.legal.sum()))
    score = np.where(edges.legal, edges.gumbel, -np.inf)
    order = np.argsort(-score, kind='stable')[:count]
    rounds = halving.rounds(
      [int(edges.visits[number]) for number in order], self._simulations)
    named = [self._action_of_edge(int(number)) for number in order]
    return dict(candidates=named, rounds=[
      dict(actions=[named[i] for i in members], visits_each=visits)
      for members, visits in rounds])

  def _node(self, node: int) -> dict[str, Any]:
    nodes = self._searched.nodes
    is_root = node == 0
    is_outcome = not is_root and self._is_outcome(node)
    reward, discount = float(nodes.reward[node]), float(nodes.discount[node])
    value = float(nodes.value[node])
    of_edge = lambda x: None if is_root else _number(x)
    return dict(
      id=node, action=None if is_root else self._action(node),
      name='' if is_root else self._name(node),
      outcome=self._outcome(node) if is_outcome else None,
      prior=of_edge(nodes.prior[node]), visits=int(nodes.visits[node]),
      reward=of_edge(reward), value=_number(value),
      network_value=_number(nodes.network_value[node]),
      q=of_edge(reward + discount * value), discount=of_edge(discount),
      to_play=self._player(node),
      num_children=len(self._children.get(node, [])), children=[],
      more=len(self._children.get(node, [])))

  def _is_outcome(self, node: int) -> bool:
    return (
      self._agent.system.model.afterstate is not None
      and int(self._searched.nodes.edge[node]) >= self._agent.spec.num_actions)

  def _outcome(self, node: int) -> int:
    return int(
      self._searched.nodes.edge[node]) - self._agent.spec.num_actions

  def _action(self, node: int) -> int | None:
    """Return the number of the action that leads to a node."""
    if self._is_outcome(node):
      return None
    if self._agent.spec.is_continuous:
      return int(self._searched.nodes.edge[node])
    return int(self._searched.nodes.action[node])

  def _name(self, node: int) -> str:
    if self._is_outcome(node):
      return f'outcome {self._outcome(node)}'
    nodes = self._searched.nodes
    return self._named(nodes.action[node], int(nodes.parent[node]))

  def _named(self, action: Any, parent: int) -> str:
    return names.name(self._agent.spec, action, self._player(parent) or 0)

  def _player(self, node: int) -> int | None:
    """Return who moves at a node, by the model's own word."""
    if self._to_play is None:
      return None
    nodes, player = self._searched.nodes, self._to_play
    while node > 0:
      player ^= int(nodes.discount[node] < 0)
      node = int(nodes.parent[node])
    return player


def _number(x: Any) -> float | None:
  """Return a number that JSON has, None for what is not finite."""
  number = float(x)
  return number if np.isfinite(number) else None
