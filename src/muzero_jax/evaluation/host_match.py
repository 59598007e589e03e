"""Games against an opponent in environments that the host steps."""

import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np

from muzero_jax.agent import Agent
from muzero_jax.errors import UserError
from muzero_jax.evaluation import host_play, playing
from muzero_jax.evaluation.opponents import AnyOpponent
from muzero_jax.evaluation.opponents.programs import Program
from muzero_jax.evaluation.playing import Game
from muzero_jax.evaluation.program_match import Play
from muzero_jax.types import Array, HostEnvironment, TimeStep


class _Board:
  """One game."""

  def __init__(self, agent_first: bool) -> None:
    self.agent_first = agent_first
    self.first: int | None = None  # The player who moved first.
    self.moves: list[int] = []
    self.game: Game | None = None

  def is_opponents_turn(self, to_play: int) -> bool:
    """Return whether the opponent is to move; notes who moves first."""
    if self.first is None:
      self.first = to_play
    return (to_play == self.first) != self.agent_first

  def follow(self, to_play: int, action: int, reward: float, is_last: bool
             ) -> None:
    """Enter a move, and the result if it ends the game."""
    self.moves.append(action)
    if is_last:
      result = int(np.sign(reward)) * (1 if to_play == self.first else -1)
      self.game = Game(self.agent_first, tuple(self.moves), result)


def make(
  env: HostEnvironment,
  opponent: AnyOpponent,
  *,
  num_envs: int,
  num_episodes: int,
  opening_moves: int = 0,
  should_stop: Callable[[], bool] = lambda: False,
) -> Play:
  """Make a function that plays `num_envs` games side by side, then the next.

  Args:
    env: `num_envs` environments; closed after each play.
    opponent: one that needs to see no more than the rows, such as `random`.
    num_envs: B, even: in half of them the agent moves first.
    num_episodes: a multiple of `num_envs`.
    opening_moves: drawn at random; games e and e + B / 2 have the same.
    should_stop: asked at each move; play then ends in StoppedError.

  Raises:
    UserError: if the games cannot be shared out evenly, or the opponent is an
      agent or a program.
  """
  if isinstance(opponent, (Agent, Program)):
    raise UserError(
      f'opponent: games of {env.spec.name}, which the host steps, are played '
      'against random alone')
  num_rounds = playing.episodes_per_env(num_episodes, num_envs)
  draw = jax.jit(lambda rng_key, row: opponent(rng_key, None, row))
  draw_opening = jax.jit(playing.draw_opening)

  def play(agent: Agent, seed: int) -> list[Game]:
    play_key, opening_key, other_key = jax.random.split(jax.random.key(seed), 3)
    other_keys = _keys(other_key)
    games: list[Game] = []
    with host_play.stepping(
      env, num_envs=num_envs, timeout=agent.config.worker_timeout,
      name='match', should_stop=should_stop,
    ) as stepper:
      for number, key in enumerate(jax.random.split(play_key, num_rounds)):
        boards = [_Board(i < num_envs // 2) for i in range(num_envs)]

        opening = functools.partial(
          draw_opening, opening_key, np.full(num_envs, number))
        decide = functools.partial(
          _decide, boards, opening, opening_moves,
          lambda row: draw(next(other_keys), row))
        steps = host_play.until(
          host_play.steps(
            agent, stepper, key, num_envs=num_envs, decide=decide),
          should_stop)
        games += _play_round(boards, steps)
    return games

  return play


def _decide(
  boards: list[_Board],
  opening: Callable[..., Array],
  opening_moves: int,
  others: Callable[[TimeStep], Array],
  row: TimeStep,
  action: np.ndarray,
) -> np.ndarray:
  """Return the moves [B] of the opening, or of whoever is to move.

  Args:
    boards: B running or finished games.
    opening: moves so far [B], legal_actions [B, A] -> random moves [B].
    opening_moves: how many of them open a game.
    others: row -> the opponent's moves [B].
    row: [B] of the environment.
    action: [B] the agent's moves.
  """
  length = np.array([len(board.moves) for board in boards])
  is_others = np.array([
    board.is_opponents_turn(int(player))
    for board, player in zip(boards, row.to_play)])
  action = np.where(is_others, np.asarray(others(row)), action)
  return np.where(
    length < opening_moves, np.asarray(opening(length, row.legal_actions)),
    action)


def _keys(rng_key: jax.Array) -> Iterator[jax.Array]:
  """Yield keys without end."""
  while True:
    rng_key, key = jax.random.split(rng_key)
    yield key


def _play_round(
  boards: list[_Board], steps: Iterator[host_play.Step]
) -> list[Game]:
  """Play the games of all boards to their ends."""
  while any(board.game is None for board in boards):
    step = next(steps)
    for i, board in enumerate(boards):
      # Boards whose game is over go on by themselves: no one looks at them.
      if board.game is None:
        board.follow(
          int(step.row.to_play[i]), int(step.action[i]),
          float(step.next_row.reward[i]), bool(step.next_row.is_last[i]))
  return [board.game for board in boards if board.game]
