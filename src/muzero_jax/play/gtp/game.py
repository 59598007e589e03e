"""One game on a board of pgx, with the agent's memory of it, move by move."""

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.agent import Agent, AgentState
from muzero_jax.envs import pgx_games
from muzero_jax.envs.base import BatchState
from muzero_jax.play.gtp import boards as gtp_boards
from muzero_jax.replay import frame_stack
from muzero_jax.types import Array, TimeStep

# pgx ends a game of Go after 2 * size^2 moves, whatever is on the board. A
# referee knows no such rule, so that here it takes four times as many.
_LONGEST_GO = 8
_COLOURS = ('black', 'white')


class Position(NamedTuple):
  """A position of a game, and how it came about."""

  state: BatchState  # [1]
  row: TimeStep  # [1]
  memory: AgentState  # [1] of the agent before it sees the row.
  action: int | None  # That led here.
  stones: np.ndarray | None  # As `gtp_boards.stones` returns them.


class Game:
  """A game, from its start to the position on the board.

  In Go a colour may move twice in a row: the other passes in between. Whoever
  repeats a position loses at once by the rules of pgx; such moves are illegal
  here, as they are to other programs.
  """

  def __init__(self, agent: Agent) -> None:
    """Make the board of an agent's environment.

    Raises:
      UserError: it is no board game of pgx.
    """
    self.board = board = gtp_boards.make(agent.spec)
    self._agent = agent
    limit = _LONGEST_GO * board.columns * board.rows if board.is_go else 0
    env = pgx_games.make_board(board.name, 1, move_limit=limit)
    self._init, self._step = jax.jit(env.init), jax.jit(env.step)
    self._push = jax.jit(_push)
    if board.is_go:
      self._resume = jax.jit(functools.partial(
        _resumed, pgx_games.go_legal_actions(board.name)))
    self.clear()

  def clear(self) -> None:
    """Set up the first position."""
    state, row = self._init(jax.random.key(0))
    memory = self._agent.init_state(1)
    self._positions = [self._position(state, row, memory, None)]
    # Positions that there were before each move that was asked for.
    self._marks: list[int] = []

  def warm(self) -> None:
    """Compile what a move needs, and make none."""
    if not self.is_over:
      self._after(int(np.argmax(self.legal_actions())))
    if self.board.is_go:
      self._resume(self.position.state)

  @property
  def position(self) -> Position:
    """Return the position on the board."""
    return self._positions[-1]

  @property
  def moves(self) -> list[tuple[str, int]]:
    """Return the colours and actions of all moves, inserted passes too."""
    return [
      (self._colour_of(i), position.action)
      for i, position in enumerate(self._positions[1:])
      if position.action is not None]

  @property
  def to_move(self) -> str:
    """Return "black" or "white"."""
    return self._colour_of(len(self._positions) - 1)

  @property
  def is_over(self) -> bool:
    """Return whether the rules of pgx have ended the game."""
    return bool(self.position.row.is_last[0])

  @property
  def winner(self) -> str | None:
    """Return the colour that has won a game that is over; None for a draw."""
    reward = float(self.position.row.reward[0])
    mover = self._colour_of(len(self._positions) - 2)
    if not reward:
      return None
    return mover if reward > 0 else _other(mover)

  def can_move(self, colour: str) -> bool:
    """Return whether it is a colour's turn, or a pass makes it so."""
    return colour == self.to_move or self.board.is_go

  def turn_to(self, colour: str) -> None:
    """Let the other colour pass, in Go, if it is to move."""
    if colour != self.to_move:
      self._advance(self.board.columns * self.board.rows)

  def legal_actions(self) -> np.ndarray:
    """Return which actions [A] are legal in the position on the board."""
    legal = np.array(self.position.row.legal_actions[0])
    if self.board.is_go and self.is_over:
      legal = np.array(self._resume(self.position.state)[1][0])
    for action in self._suspects():
      # Few: nearly always none.
      if legal[action] and self._repeats(action):
        legal[action] = False
    return legal

  def play(self, colour: str, action: int) -> bool:
    """Make a move; return False, and change nothing, if it is illegal.

    Moves may follow the two passes that end a game of Go.
    """
    before = len(self._positions)
    if not self.can_move(colour) or (self.is_over and not self.board.is_go):
      return False
    self.turn_to(colour)
    if 0 <= action < self._agent.spec.num_actions and (
        self.legal_actions()[action]):
      self._advance(action)
      self._marks.append(before)
      return True
    del self._positions[before:]
    return False

  def undo(self) -> bool:
    """Take back the latest move; return False if there is none."""
    if not self._marks:
      return False
    del self._positions[self._marks.pop():]
    return True

  def seen_by(self, colour: str) -> 'Game':
    """Return this game with a colour to move, to look at and throw away."""
    other = copy.copy(self)
    other._positions = list(self._positions)
    other.turn_to(colour)
    return other

  def _colour_of(self, ply: int) -> str:
    return _COLOURS[(ply + self.board.mover('black')) % 2]

  def _advance(self, action: int) -> None:
    self._positions.append(self._after(action))

  def _after(self, action: int) -> Position:
    """Return the position that a legal action leads to."""
    now = self.position
    state = now.state
    if self.board.is_go and bool(now.row.is_last[0]):
      state, _ = self._resume(state)
    actions = np.array([action], np.int32)
    state, row = self._step(state, actions, jax.random.key(0))
    memory = AgentState(
      self._push(now.memory, now.row), jnp.asarray(actions))
    return self._position(state, row, memory, action)

  def _position(
    self, state: BatchState, row: TimeStep, memory: AgentState,
    action: int | None,
  ) -> Position:
    one = jax.tree.map(lambda x: np.asarray(x[0]), state.state)
    return Position(
      state, row, memory, action, gtp_boards.stones(self.board, one))

  def _suspects(self) -> list[int]:
    """Return the actions that may lead to an earlier position of Go.

    One that does adds one stone, and at most removes stones of the other.
    """
    now = self.position.stones
    if not self.board.is_go or now is None or len(self._positions) < 4:
      return []
    mine = 1 if self.to_move == 'black' else -1
    earlier = np.stack([
      x.stones for x in self._positions[1:-1] if x.stones is not None])
    added = (earlier == mine) != (now == mine)
    fits = (added.sum(axis=(1, 2)) == 1) & ~(
      (earlier == -mine) & (now != -mine)).any(axis=(1, 2))
    points = added & (earlier == mine) & fits[:, None, None]
    return np.flatnonzero(points.any(axis=0)).tolist()

  def _repeats(self, action: int) -> bool:
    """Return whether a move of Go leads to an earlier position."""
    after = self._after(action)
    return bool(after.state.state._x.is_psk[0])


def _push(memory: AgentState, row: TimeStep) -> Any:
  """Return what an agent remembers once it has seen a row."""
  return frame_stack.push(
    memory.history, row.observation, memory.action, row.is_first)


def _resumed(
  mask: Callable[..., Array], state: BatchState
) -> tuple[BatchState, Array]:
  """Return a game of Go that was over as if it were not, and what is legal.

  Args:
    mask: pgx's, of one game.
    state: [1]
  """
  legal = jax.vmap(mask)(state.state._x)
  running = state.state.replace(
    terminated=state.state.terminated & False, legal_action_mask=legal)
  return BatchState(running, state.num_steps, state.is_last & False), legal


def _other(colour: str) -> str:
  return _COLOURS[colour == 'black']
