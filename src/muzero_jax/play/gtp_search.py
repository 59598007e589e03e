"""The agent's searches of one position, with what they found of each move.

One function for each number of simulations, compiled once. The search is the
one that `Agent.act` makes: with the agent's own number of simulations it
returns the same action.
"""

import collections
import dataclasses
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import agent as agent_lib
from muzero_jax.agent import Agent, AgentState
from muzero_jax.drivers import build
from muzero_jax.play.gtp_game import Position
from muzero_jax.types import Array, Params, TimeStep

# The fewest simulations that an analysis shows.
_FIRST_SHOWN = 16
# How many of the latest searches say how long one takes.
_MEMORY = 5


class Move(NamedTuple):
  """What a search found of one move at the root."""

  action: int
  visits: int
  value: float  # For who makes it, as the search scales it: -1 to 1.
  prior: float  # 0 to 1, over the legal moves.
  line: tuple[int, ...]  # The move, and the most visited ones behind it.


class Found(NamedTuple):
  """What a search found."""

  action: int
  value: float  # For who is to move.
  simulations: int
  moves: tuple[Move, ...]  # That were visited, the chosen one first.


class _Arrays(NamedTuple):
  """What the device returns of a search of one position."""

  action: Array  # []
  value: Array  # []
  prior: Array  # [A]
  qvalues: Array  # [A]
  children: Array  # [N + 1, A] i32, numbers of nodes, below 0 for none.
  visits: Array  # [N + 1, A] i32
  candidates: Array | None  # [A] actions, where actions are candidates.


class Searcher:
  """The searches of one agent, and how long they take."""

  def __init__(
    self, agent: Agent, simulations: int, most_shown: int
  ) -> None:
    """Take an agent.

    Args:
      agent: to play.
      simulations: of each move; 0 for those of the agent.
      most_shown: simulations of the largest search of an analysis.
    """
    self._agent = agent
    config = agent.config
    self.simulations = (
      simulations or config.eval_simulations or config.num_simulations)
    # Under a clock: its own search, halved again and again.
    self.levels = _halvings(self.simulations)
    shown = []
    number = min(_FIRST_SHOWN, max(most_shown, self.simulations))
    while number < max(most_shown, self.simulations):
      shown.append(number)
      number *= 2
    self.shown = sorted({*shown, self.simulations, most_shown})
    self._compiled: dict[int, Any] = {}
    self._seconds: dict[int, collections.deque[float]] = {}
    # What the first call of `Agent.act` has after `reset`.
    self._rng_key = jax.random.split(jax.random.key(0))[1]

  def seconds(self, simulations: int) -> float | None:
    """Return what the slowest of the latest searches took, None of none."""
    times = self._seconds.get(simulations)
    return max(times) if times else None

  def warm(self, position: Position, legal: np.ndarray) -> None:
    """Compile and time the searches that a clock chooses from."""
    for level in self.levels:
      while len(self._seconds.get(level, ())) < 2:
        self.search(position, legal, level)

  def within(self, seconds: float | None) -> int:
    """Return the most simulations that take at most so long.

    Args:
      seconds: None for no limit.

    Returns:
      The fewest that there are, if nothing is that fast.
    """
    if seconds is None:
      return self.simulations
    fits = [
      level for level in self.levels
      if (took := self.seconds(level)) is not None and took <= seconds]
    return max(fits, default=self.levels[-1])

  def search(
    self, position: Position, legal: np.ndarray, simulations: int
  ) -> Found:
    """Return what a search finds.

    Args:
      position: to search from.
      legal: [A] bool, the moves to choose from; at least one.
      simulations: their number; the first call compiles.
    """
    is_new = simulations not in self._compiled
    if is_new:
      self._compiled[simulations] = self._compile(simulations)
    start = time.monotonic()
    arrays = jax.device_get(self._compiled[simulations](
      self._agent.params, position.memory, self._rng_key, position.row,
      legal[None]))
    if not is_new:
      self._seconds.setdefault(
        simulations, collections.deque(maxlen=_MEMORY)).append(
          time.monotonic() - start)
    return _found(arrays, legal, simulations)

  def _compile(self, simulations: int) -> Any:
    agent = self._agent
    config = dataclasses.replace(agent.config, eval_simulations=simulations)
    search = build.make_search(
      config, agent.spec, agent.system, 'evaluation', keeps_tree=True)
    act = functools.partial(
      agent_lib.act, search, agent.spec.num_actions, config.stack_actions)
    return jax.jit(functools.partial(_arrays, act, agent.spec.num_actions))


def _halvings(number: int) -> tuple[int, ...]:
  found = [number]
  while found[-1] > 1:
    found.append(found[-1] // 2)
  return tuple(found)


def _arrays(
  act: Any,
  num_actions: int,
  params: Params,
  memory: AgentState,
  rng_key: Array,
  row: TimeStep,
  legal: Array,
) -> _Arrays:
  """Return what a search of one position found, on the device."""
  _, found = act(
    params, memory, rng_key, row.observation, legal, row.is_first)
  tree = found.tree
  # With chance nodes, outcomes have edges too, behind those of the actions.
  edges = min(num_actions, tree.children_index.shape[-1])
  if found.candidates is not None:
    edges = found.candidates.shape[1]
  prior = jax.nn.softmax(tree.children_prior_logits[0, 0, :edges])
  qvalues = tree.qvalues(jnp.zeros(1, jnp.int32))[0, :edges]
  return _Arrays(
    action=found.action[0],
    value=found.value[0],
    prior=prior,
    qvalues=qvalues,
    children=tree.children_index[0],
    visits=tree.children_visits[0],
    candidates=None if found.candidates is None else found.candidates[0],
  )


def _found(
  arrays: _Arrays, legal: np.ndarray, simulations: int
) -> Found:
  """Return what a search found, in the environment's own actions."""
  edges = len(arrays.prior)
  names = np.arange(edges) if arrays.candidates is None else arrays.candidates
  # Candidates and outcomes of chance are no actions below the root.
  is_plain = arrays.candidates is None and arrays.visits.shape[1] == edges
  action = int(arrays.action)
  moves = [
    Move(
      action=int(names[edge]),
      visits=int(arrays.visits[0, edge]),
      value=float(arrays.qvalues[edge]),
      prior=float(arrays.prior[edge]),
      line=(int(names[edge]), *(
        _line(arrays, int(arrays.children[0, edge])) if is_plain else ())),
    )
    for edge in np.flatnonzero(arrays.visits[0, :edges])
    if legal[names[edge]]]
  moves.sort(key=lambda x: (-x.visits, x.action != action, -x.prior))
  return Found(action, float(arrays.value), simulations, tuple(moves))


def _line(arrays: _Arrays, node: int) -> tuple[int, ...]:
  """Return the most visited actions from a node on."""
  line = []
  while node >= 0 and arrays.visits[node].any():
    action = int(np.argmax(arrays.visits[node]))
    line.append(action)
    node = int(arrays.children[node, action])
  return tuple(line)
