"""Matches against programs, which are processes of the host.

The environment judges: its rules say which moves are legal and who has won,
and a program only proposes moves, which take the place of the agent's in
`host_play`. Whatever a program does wrong breaks the game that it does it in,
which then counts for nobody; the other games go on, and the next one gets a new
process.
"""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from muzero_jax.agent import Agent
from muzero_jax.evaluation import game_records, gtp, host_play, playing
from muzero_jax.evaluation.opponents import Program
from muzero_jax.evaluation.playing import Game
from muzero_jax.types import Array, Environment, TimeStep

# Agent, which plays greedily, and seed -> games.
Play = Callable[[Agent, int], list[Game]]

_COLOURS = ('black', 'white')


class _Seat:
  """A program's place at one board, for one game after another."""

  def __init__(self, program: Program) -> None:
    self._program = program
    self._engine: gtp.Engine | None = None
    self._num_told = 0

  def open(self, seed: int) -> None:
    """Set up a new game, in a new process if there is none.

    Raises:
      EngineError: as all that follows.
    """
    rules = self._program.rules
    if self._engine is None:
      self._engine = gtp.Engine(
        self._program.command, timeout=self._program.timeout)
    self._num_told = 0
    self._engine.send(f'boardsize {rules.size}')
    self._engine.send('clear_board')
    self._engine.send(f'komi {rules.komi:g}')
    if self._engine.send('known_command set_random_seed') == 'true':
      self._engine.send(f'set_random_seed {seed}')

  def move(self, moves: Sequence[int]) -> int:
    """Return the program's answer to all moves so far, or gtp.RESIGN."""
    assert self._engine is not None
    size = self._program.rules.size
    for i in range(self._num_told, len(moves)):
      vertex = gtp.to_vertex(moves[i], size)
      self._engine.send(f'play {_COLOURS[i % 2]} {vertex}')
    vertex = self._engine.send(f'genmove {_COLOURS[len(moves) % 2]}')
    self._num_told = len(moves) + 1
    return gtp.to_action(vertex, size)

  def close(self) -> None:
    """End the process, if there is one."""
    if self._engine is not None:
      self._engine.close()
      self._engine = None


class _Board:
  """One running game, and who plays it."""

  def __init__(self, seat: _Seat, agent_first: bool, seed: int) -> None:
    self.seat = seat
    self.agent_first = agent_first
    self.moves: list[int] = []
    self.game: Game | None = None  # Once it is over.
    self.try_(lambda: seat.open(seed))

  @property
  def is_programs_turn(self) -> bool:
    """Return whether the program is to move in a game that goes on."""
    agents_turn = (len(self.moves) % 2 == 0) == self.agent_first
    return self.game is None and not agents_turn

  def try_(self, ask: Callable[[], Any]) -> Any:
    """Return what the program says; break the game if it fails to."""
    try:
      return ask()
    except gtp.EngineError as error:
      self.seat.close()
      self.end(game_records.BROKEN, str(error))
      return None

  def programs_move(self, legal_actions: np.ndarray) -> int | None:
    """Return the program's move, None if it makes none: the game is over.

    Args:
      legal_actions: [A] bool, of the environment.
    """

    def ask() -> int:
      action = self.seat.move(self.moves)
      if action != gtp.RESIGN and not legal_actions[action]:
        raise gtp.EngineError(
          f'move {len(self.moves)}: action {action} is illegal')
      return action

    action = self.try_(ask)
    if action == gtp.RESIGN:
      self.end(1 if self.agent_first else -1)
    return None if self.game else action

  def end(self, result: int | str, reason: str = '') -> None:
    """End the game; the result is that of who moved first."""
    self.game = Game(self.agent_first, tuple(self.moves), result, reason)


def make(
  env: Environment,
  program: Program,
  *,
  num_envs: int,
  num_episodes: int,
  opening_moves: int = 0,
  should_stop: Callable[[], bool] = lambda: False,
) -> Play:
  """Make a function that plays; the environment is compiled once for all.

  `num_envs` games side by side, each with a process of its own, until all are
  over; then the next ones. The agent moves first in half of them.

  Args:
    env: `num_envs` environments of Go.
    program: the opponent.
    num_envs: B, even.
    num_episodes: a multiple of `num_envs`.
    opening_moves: drawn at random; games e and e + B / 2 have the same.
    should_stop: asked at each move; play then ends in StoppedError.

  Raises:
    UserError: if the games cannot be shared out evenly.
  """
  num_rounds = playing.episodes_per_env(num_episodes, num_envs)
  stepper = host_play.compiled(env)
  draw_opening = jax.jit(playing.draw_opening)
  workers = min(num_envs, os.cpu_count() or 1)

  def play(agent: Agent, seed: int) -> list[Game]:
    play_key, opening_key = jax.random.split(jax.random.key(seed))
    seats = [_Seat(program) for _ in range(num_envs)]
    games: list[Game] = []
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
      try:
        for number, key in enumerate(jax.random.split(play_key, num_rounds)):
          boards = list(pool.map(
            _Board, seats, [i < num_envs // 2 for i in range(num_envs)],
            [seed + num_envs * number + i for i in range(num_envs)]))
          opening = functools.partial(
            draw_opening, opening_key, np.full(num_envs, number))
          decide = functools.partial(
            _decide, boards, pool, opening, opening_moves)
          games += _play_round(boards, host_play.until(host_play.steps(
            agent, stepper, key, num_envs=num_envs, decide=decide),
            should_stop))
      finally:
        # Before the pool waits for whoever is waiting for them.
        for seat in seats:
          seat.close()
    return games

  return play


def _play_round(
  boards: list[_Board], steps: Iterator[host_play.Step]
) -> list[Game]:
  """Play the games of all boards to their ends."""
  while any(board.game is None for board in boards):
    # Boards whose game is over go on by themselves: no one looks at them.
    _follow(boards, next(steps))
  return [board.game for board in boards if board.game]


def _decide(
  boards: list[_Board],
  pool: concurrent.futures.Executor,
  opening: Callable[..., Array],
  opening_moves: int,
  row: TimeStep,
  action: np.ndarray,
) -> np.ndarray:
  """Return the moves [B] of the opening, or of whoever is to move.

  Args:
    boards: B running or finished games.
    pool: in which the programs think.
    opening: moves so far [B], legal_actions [B, A] -> random moves [B].
    opening_moves: how many of them open a game.
    row: [B] of the environment.
    action: [B] the agent's moves; changed.
  """
  # All running games have as many moves, and no finished one has more.
  num_moves = max(len(board.moves) for board in boards)
  if num_moves < opening_moves:
    return np.array(
      opening(np.full(len(boards), num_moves), row.legal_actions))
  _ask_programs(boards, action, np.asarray(row.legal_actions), pool)
  return action


def _ask_programs(
  boards: list[_Board],
  action: np.ndarray,
  legal_actions: np.ndarray,
  pool: concurrent.futures.Executor,
) -> None:
  """Put the moves of the programs whose turn it is into `action` [B]."""
  asked = [i for i, board in enumerate(boards) if board.is_programs_turn]
  answers = pool.map(
    lambda i: boards[i].programs_move(legal_actions[i]), asked)
  for i, answer in zip(asked, answers):
    if answer is not None:
      action[i] = answer


def _follow(boards: list[_Board], step: host_play.Step) -> None:
  """Enter what was played, and what the environment says of it."""
  is_last, reward = jax.device_get(
    (step.next_row.is_last, step.next_row.reward))
  for i, board in enumerate(boards):
    if board.game is not None:
      continue
    first_moved = len(board.moves) % 2 == 0
    board.moves.append(int(step.action[i]))
    if is_last[i]:
      result = int(np.sign(reward[i]))
      board.end(result if first_moved else -result)
