"""Matches against programs, which are processes of the host.

The environment judges: its rules say which moves are legal and who has won,
and a program only proposes moves. Whatever a program does wrong breaks the
game that it does it in, which then counts for nobody; the other games go on,
and the next one gets a new process.
"""

import concurrent.futures
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.agent import Agent
from muzero_jax.errors import UserError
from muzero_jax.evaluation import device_play, game_records, gtp
from muzero_jax.evaluation.device_play import Game
from muzero_jax.evaluation.opponents import Program
from muzero_jax.types import Array, Environment, Params

# Parameters, seed -> games.
Play = Callable[[Params, int], list[Game]]

_COLOURS = ('black', 'white')


class _Seat:
  """A program's place at one board, for one game after another."""

  def __init__(self, program: Program) -> None:
    self._program = program
    self._engine: gtp.Engine | None = None
    self._num_told = 0

  def open(self, seed: int) -> None:
    """Sets up a new game, in a new process if there is none.

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
    """Returns the program's answer to all moves so far, or gtp.RESIGN."""
    assert self._engine is not None
    size = self._program.rules.size
    for i in range(self._num_told, len(moves)):
      vertex = gtp.to_vertex(moves[i], size)
      self._engine.send(f'play {_COLOURS[i % 2]} {vertex}')
    vertex = self._engine.send(f'genmove {_COLOURS[len(moves) % 2]}')
    self._num_told = len(moves) + 1
    return gtp.to_action(vertex, size)

  def close(self) -> None:
    """Ends the process, if there is one."""
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
    """Returns whether the program is to move in a game that goes on."""
    agents_turn = (len(self.moves) % 2 == 0) == self.agent_first
    return self.game is None and not agents_turn

  def try_(self, ask: Callable[[], Any]) -> Any:
    """Returns what the program says; breaks the game if it fails to."""
    try:
      return ask()
    except gtp.EngineError as error:
      self.seat.close()
      self.end(game_records.BROKEN, str(error))
      return None

  def programs_move(self, legal_actions: np.ndarray) -> int | None:
    """Returns the program's move, None if it makes none: the game is over.

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
    """Ends the game; the result is that of who moved first."""
    self.game = Game(self.agent_first, tuple(self.moves), result, reason)


def make(
  agent: Agent,
  env: Environment,
  program: Program,
  *,
  num_envs: int,
  num_episodes: int,
  opening_moves: int = 0,
) -> Play:
  """Returns a function that plays, compiled once for all parameters.

  `num_envs` games side by side, each with a process of its own, until all are
  over; then the next ones. The agent moves first in half of them.

  Args:
    agent: plays greedily; of it all but its parameters.
    env: `num_envs` environments of Go.
    program: the opponent.
    num_envs: B, even.
    num_episodes: a multiple of `num_envs`.
    opening_moves: drawn at random; games e and e + B / 2 have the same.

  Raises:
    UserError: if the games cannot be shared out evenly.
  """
  if num_episodes < 1 or num_episodes % num_envs:
    raise UserError(
      f'num_episodes={num_episodes}: must be a multiple of num_envs={num_envs}'
    )
  functions = (
    jax.jit(env.init), jax.jit(agent.act_fn), jax.jit(env.step),
    jax.jit(device_play.draw_opening))

  def play_all(params: Params, seed: int) -> list[Game]:
    seats = [_Seat(program) for _ in range(num_envs)]
    games: list[Game] = []
    workers = min(num_envs, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
      try:
        for number in range(num_episodes // num_envs):
          key = jax.random.fold_in(jax.random.key(seed), number)
          boards = list(pool.map(
            _Board, seats, [i < num_envs // 2 for i in range(num_envs)],
            [seed + num_envs * number + i for i in range(num_envs)]))
          games += _play_round(
            functions, agent, params, boards, key, opening_moves, pool)
      finally:
        # Before the pool waits for whoever is waiting for them.
        for seat in seats:
          seat.close()
    return games

  return play_all


def _play_round(
  functions: tuple[Callable[..., Any], ...],
  agent: Agent,
  params: Params,
  boards: list[_Board],
  rng_key: Array,
  opening_moves: int,
  pool: concurrent.futures.Executor,
) -> list[Game]:
  """Returns the games of all boards, played to their ends."""
  init, act, step, draw_opening = functions
  state, row = init(rng_key)
  memory = agent.init_state(len(boards))
  zeros = jnp.zeros(len(boards), jnp.int32)
  opening_key = jax.random.fold_in(rng_key, 1)
  ply = 0
  while any(board.game is None for board in boards):
    rng_key, agent_key, env_key = jax.random.split(rng_key, 3)
    memory, found = act(
      params, memory, agent_key, row.observation, row.legal_actions,
      row.is_first)
    # Boards whose game is over go on by themselves: no one looks at them.
    action = np.array(found.action)
    if ply < opening_moves:
      action = np.array(
        draw_opening(opening_key, zeros, zeros + ply, row.legal_actions))
    else:
      _ask_programs(boards, action, np.asarray(row.legal_actions), pool)
    state, row = step(state, action, env_key)
    memory = memory._replace(action=jnp.asarray(action))
    _follow(boards, action, np.asarray(row.is_last), np.asarray(row.reward))
    ply += 1
  return [board.game for board in boards if board.game]


def _ask_programs(
  boards: list[_Board],
  action: np.ndarray,
  legal_actions: np.ndarray,
  pool: concurrent.futures.Executor,
) -> None:
  """Puts the moves of the programs whose turn it is into `action` [B]."""
  asked = [i for i, board in enumerate(boards) if board.is_programs_turn]
  answers = pool.map(
    lambda i: boards[i].programs_move(legal_actions[i]), asked)
  for i, answer in zip(asked, answers):
    if answer is not None:
      action[i] = answer


def _follow(
  boards: list[_Board],
  action: np.ndarray,
  is_last: np.ndarray,
  reward: np.ndarray,
) -> None:
  """Enters what was played, and what the environment says of it, all [B]."""
  for i, board in enumerate(boards):
    if board.game is not None:
      continue
    first_moved = len(board.moves) % 2 == 0
    board.moves.append(int(action[i]))
    if is_last[i]:
      result = int(np.sign(reward[i]))
      board.end(result if first_moved else -result)
