"""Records of the true rules of games, for whoever may know them.

Opponents and tests play by them; a MuZero agent never does. See
`envs.make_rules` and `envs.go_rules`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from muzero_jax.envs.base import BatchState
from muzero_jax.types import Array


class Rules(NamedTuple):
  """True rules of a game of two players, for whoever may know them.

  Pure functions of B positions, which are pytrees; players alternate.
  """

  position: Callable[[BatchState], Any]  # Of an environment's state.
  # positions, actions [B] -> positions, rewards [B] of who moved. After the
  # end nothing changes, and rewards are 0.
  step: Callable[[Any, Array], tuple[Any, Array]]
  legal_actions: Callable[[Any], Array]  # [B, A] bool; none after the end.
  is_over: Callable[[Any], Array]  # [B] bool


class GoRules(NamedTuple):
  """What a game of Go leaves open."""

  size: int  # Points per side.
  komi: float  # Points that White gets.
