"""Who plays the other side: the agent, a snapshot of it, or an opponent.

Names come from a page. None of them is ever a path: of the opponents of
evaluation those that are programs or other runs are left out.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from muzero_jax.agent import Agent
from muzero_jax.errors import UserError
from muzero_jax.evaluation import opponents
from muzero_jax.runs import policy_checkpoints
from muzero_jax.types import Array, Environment, Params, TimeStep

AGENT = 'agent'
_WITHOUT_RULES = ('random',)
_PROGRAMS = ('gnugo',)
# Tree search by the true rules, as the page offers it.
_MCTS = ('mcts:1000', 'mcts:100', 'mcts:10')
_MOST_SIMULATIONS = 10_000  # Of tree search by the true rules.
_KEPT = 4  # Snapshots and opponents that stay loaded.

# rng_key, state of the environment, row [1] -> action [1].
Move = Callable[[Array, Any, TimeStep], Any]


class Players:
  """The opponents of one agent, made when they are first asked for."""

  def __init__(
    self, agent: Agent, *, workdir: str | os.PathLike | None, index: int = 0,
    allow_imports: Any = (),
  ) -> None:
    """Take the agent, and where its run is.

    Args:
      agent: whose environment it is.
      workdir: the run directory, None of an agent without one.
      index: which of its agents.
      allow_imports: as in `agent.load`.
    """
    self._agent, self._workdir, self._index = agent, workdir, index
    self._allow_imports = allow_imports
    self._moves: dict[str, Move] = {}
    self._params: dict[str, Params] = {}

  def names(self, env: Any) -> list[str]:
    """Return all that may be asked for, the agent first."""
    if self._agent.spec.num_players == 1:
      return []
    known = opponents.names(self._agent.spec.name)
    if not isinstance(env, Environment) or not env.restorable:
      known = _WITHOUT_RULES
    known = tuple(
      one for name in known if name not in _PROGRAMS
      for one in (_MCTS if name == 'mcts' else (name,)))
    snapshots = [f'snapshot:{step}' for step in self._steps()]
    return [AGENT, *reversed(snapshots), *reversed(known)]

  def check(self, name: str, env: Any) -> str:
    """Return a name that is allowed.

    Raises:
      UserError: there is no such opponent.
    """
    known = self.names(env)
    kind, colon, count = name.partition(':')
    is_mcts = colon and kind == 'mcts' and _MCTS[0] in known
    if is_mcts and count.isascii() and count.isdecimal() and (
        0 < len(count) < 6 and 0 < int(count) <= _MOST_SIMULATIONS):
      return f'mcts:{int(count)}'
    if name not in known:
      raise UserError(
        f'opponent = {name[:40]!r} is not one of {", ".join(known)}')
    return name

  def params(self, name: str) -> Params | None:
    """Return the parameters of an opponent that is the agent or a snapshot."""
    if name == AGENT:
      return self._agent.params
    if not name.startswith('snapshot:'):
      return None
    if name not in self._params:
      found = opponents.make(
        name, self._agent.spec.name, workdir=self._workdir,
        index=self._index, make_env=self._agent.make_env,
        allow_imports=self._allow_imports)
      assert isinstance(found, Agent)
      _make_room(self._params)
      self._params[name] = found.params
    return self._params[name]

  def move(self, name: str, rng_key: Array, state: Any, row: TimeStep) -> int:
    """Return the action of an opponent that is no agent."""
    if name not in self._moves:
      _make_room(self._moves)
      found: Any = opponents.make(name, self._agent.spec.name)
      self._moves[name] = jax.jit(found)
    return int(np.asarray(self._moves[name](rng_key, state, row))[0])

  def _steps(self) -> list[int]:
    if self._workdir is None:
      return []
    return policy_checkpoints.steps(self._workdir)


def _make_room(kept: dict[str, Any]) -> None:
  """Forget the oldest of what is kept, if there is too much of it."""
  while len(kept) >= _KEPT:
    del kept[next(iter(kept))]
