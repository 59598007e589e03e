"""The agent's searches of one position, with what they found of each move.

One function of `analysis` for each number of simulations, compiled once. The
search is the one that `Agent.act` makes: with the agent's own number of
simulations it returns the same action.
"""

import collections
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax.agent import Agent
from muzero_jax.play import analysis
from muzero_jax.play.gtp.game import Position

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
      self._compiled[simulations] = jax.jit(
        analysis.make(self._agent, simulations))
    row, start = position.row, time.monotonic()
    _, searched = jax.device_get(self._compiled[simulations](
      self._agent.params, position.memory, self._rng_key, row.observation,
      legal[None], row.is_first))
    if not is_new:
      self._seconds.setdefault(
        simulations, collections.deque(maxlen=_MEMORY)).append(
          time.monotonic() - start)
    return _found(searched, self._agent.spec.num_actions, simulations)


def _halvings(number: int) -> tuple[int, ...]:
  found = [number]
  while found[-1] > 1:
    found.append(found[-1] // 2)
  return tuple(found)


def _found(
  searched: analysis.Searched, num_actions: int, simulations: int
) -> Found:
  """Return what a search found, in the environment's own actions.

  Args:
    searched: of one position, as NumPy arrays.
    num_actions: A; edges of nodes from there on are outcomes of chance.
    simulations: of the search.
  """
  nodes, edges = searched.nodes, searched.edges
  action = int(searched.found.action[0])
  children: dict[int, list[int]] = {}
  for node in np.flatnonzero(nodes.visits > 0)[1:].tolist():
    children.setdefault(int(nodes.parent[node]), []).append(node)
  moves = []
  for node in children.get(0, []):
    edge = int(nodes.edge[node])
    line, last = [int(nodes.action[node])], node
    while last in children:
      last = max(children[last], key=lambda child: nodes.visits[child])
      if nodes.edge[last] < num_actions:
        line.append(int(nodes.action[last]))
    moves.append(Move(
      line[0], int(edges.visits[edge]), float(edges.qvalues[edge]),
      float(edges.prior[edge]), tuple(line)))
  moves.sort(key=lambda move: (
    -move.visits, move.action != action, -move.prior))
  value = float(searched.found.value[0])
  return Found(action, value, simulations, tuple(moves))
