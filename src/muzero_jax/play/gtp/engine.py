"""The commands of the Go Text Protocol, version 2, for a trained agent.

`gtp_session` reads and writes the lines; here are the game, the clock and the
answers.
"""

import concurrent.futures
import functools
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

import muzero_jax
from muzero_jax.agent import Agent
from muzero_jax.envs import pgx_games
from muzero_jax.play.gtp import arguments as gtp_arguments
from muzero_jax.play.gtp import boards as gtp_boards
from muzero_jax.play.gtp import clock as gtp_clock
from muzero_jax.play.gtp import search as gtp_search
from muzero_jax.play.gtp.arguments import ILLEGAL, SYNTAX, Refusal
from muzero_jax.play.gtp.clock import Settings
from muzero_jax.play.gtp.game import Game
from muzero_jax.play.gtp.search import Found, Move

# By how much a search may take longer than any of the latest ones did.
_MARGIN = 1.5


class Channel(Protocol):
  """Where a command writes lines while it goes on."""

  def open(self) -> None:
    """Write that the command was understood."""

  def emit(self, text: str) -> None:
    """Write a line of the answer."""

  def wait(self, future: concurrent.futures.Future | None) -> bool:
    """Wait for a search; return False if other input comes first.

    With None there is nothing but the input to wait for.
    """


# Arguments and channel -> answer.
_Command = Callable[[list[str], Channel], str]


class Engine:
  """A game, and an agent that plays it by commands."""

  def __init__(
    self, agent: Agent, *, simulations: int = 0,
    analysis_simulations: int = 256,
  ) -> None:
    """Take an agent; only the board is compiled.

    Args:
      agent: to play.
      simulations: of each move; 0 for those of the agent.
      analysis_simulations: of the largest search of `lz-analyze`.

    Raises:
      UserError: it plays no board game of pgx.
    """
    self._agent = agent
    self.game = Game(agent)
    self.board = self.game.board
    self.searcher = gtp_search.Searcher(
      agent, simulations, analysis_simulations)
    self.clock = gtp_clock.Clock()
    # One thread, so that an analysis can be left while its last search runs.
    self._pool = concurrent.futures.ThreadPoolExecutor(1, 'search')
    self.komi = 0.0
    if self.board.is_go:
      self.komi = pgx_games.go_rules(self.board.name).komi
    self.has_quit = False
    self._commands = self._table()

  def warm(self) -> None:
    """Begin to compile what the first `genmove` needs, in the background."""
    self._submit(
      self.game, self.game.legal_actions(), self.searcher.simulations)
    self._pool.submit(self.game.seen_by(self.game.to_move).warm)

  def close(self) -> None:
    """Wait for the last search."""
    self._pool.shutdown(cancel_futures=True)

  def run(self, name: str, words: Sequence[str], channel: Channel) -> str:
    """Return the answer to a command.

    Args:
      name: of the command.
      words: its arguments.
      channel: where it may write lines first.

    Raises:
      Refusal: it is answered with "?".
    """
    command = self._commands.get(name)
    if command is None:
      raise Refusal('unknown command')
    return command(list(words), channel)

  def _table(self) -> dict[str, _Command]:
    plain: dict[str, Callable[[list[str]], str]] = {
      'protocol_version': lambda words: '2',
      'name': lambda words: 'muzero_jax',
      'version': self._version,
      'known_command': self._known_command,
      'list_commands': lambda words: '\n'.join(self._commands),
      'quit': self._quit,
      'boardsize': self._boardsize,
      'clear_board': self._clear_board,
      'play': self._play,
      'genmove': self._genmove,
      'reg_genmove': self._reg_genmove,
      'undo': self._undo,
      'showboard': self._showboard,
      'final_score': self._final_score,
      'time_settings': self._time_settings,
      'kgs-time_settings': self._kgs_time_settings,
      'time_left': self._time_left,
    }
    if self.board.is_go:
      plain['komi'] = self._set_komi
    table: dict[str, _Command] = {
      name: functools.partial(_without_channel, run)
      for name, run in plain.items()}
    return table | {
      'lz-genmove_analyze': self._genmove_analyze,
      'lz-analyze': self._analyze,
    }

  def _version(self, words: list[str]) -> str:
    return (
      f'{muzero_jax.__version__} ({self.board.name}, step {self._agent.step}, '
      f'{self.searcher.simulations} simulations)')

  def _known_command(self, words: list[str]) -> str:
    return 'true' if words and words[0] in self._commands else 'false'

  def _quit(self, words: list[str]) -> str:
    self.has_quit = True
    return ''

  def _boardsize(self, words: list[str]) -> str:
    if gtp_arguments.whole(words, 0) != self.board.columns:
      raise Refusal('unacceptable size')
    return self._clear_board(words)

  def _clear_board(self, words: list[str]) -> str:
    self.game.clear()
    self.clock.restart()
    return ''

  def _set_komi(self, words: list[str]) -> str:
    self.komi = gtp_arguments.real(words, 0)
    return ''

  def _play(self, words: list[str]) -> str:
    colour = self._turn(words, ILLEGAL)
    action = gtp_arguments.action(self.board, words, 1, colour)
    if not self.game.play(colour, action):
      raise Refusal(ILLEGAL)
    return ''

  def _undo(self, words: list[str]) -> str:
    if not self.game.undo():
      raise Refusal('cannot undo')
    return ''

  def _showboard(self, words: list[str]) -> str:
    game, moves = self.game, self.game.moves
    last = 'no move yet'
    if moves:
      last = f'last move {moves[-1][0]} {self._vertex(*moves[-1])}'
    turn = 'game over' if game.is_over else f'{game.to_move} to move'
    lines = [f'{self.board.name}, {len(moves)} moves, {last}, {turn}']
    if game.position.stones is None:
      lines.append(' '.join(self._vertex(*move) for move in moves))
    else:
      lines += [
        gtp_boards.draw(self.board, game.position.stones), 'X Black, O White']
    return '\n'.join(lines)

  def _final_score(self, words: list[str]) -> str:
    if self.board.is_go:
      assert self.game.position.stones is not None
      score = gtp_boards.area_score(self.game.position.stones) - self.komi
      return f'{"B" if score > 0 else "W"}+{abs(score):g}' if score else '0'
    if not self.game.is_over:
      raise Refusal('cannot score')
    winner = self.game.winner
    return f'{winner[0].upper()}+1' if winner else '0'

  def _time_settings(self, words: list[str]) -> str:
    main, period = (gtp_arguments.seconds(words, i) for i in (0, 1))
    stones = gtp_arguments.whole(words, 2)
    # GTP's way to say that there is no limit.
    is_free = period > 0 and not stones
    return self._set_clock(None if is_free else Settings(main, period, stones))

  def _kgs_time_settings(self, words: list[str]) -> str:
    kind = words[0].lower() if words else ''
    if kind == 'none':
      return self._set_clock(None)
    if kind == 'absolute':
      return self._set_clock(Settings(gtp_arguments.seconds(words, 1)))
    if kind not in ('byoyomi', 'canadian'):
      raise Refusal(SYNTAX)
    main, period = (gtp_arguments.seconds(words, i) for i in (1, 2))
    count = gtp_arguments.whole(words, 3)
    if not count:
      raise Refusal(SYNTAX)
    return self._set_clock(
      Settings(main, period, 1, count) if kind == 'byoyomi'
      else Settings(main, period, count))

  def _time_left(self, words: list[str]) -> str:
    colour = gtp_arguments.colour(words, 0)
    self.clock.tell(
      colour, gtp_arguments.real(words, 1), gtp_arguments.whole(words, 2))
    self._warm_all()
    return ''

  def _set_clock(self, settings: Settings | None) -> str:
    self.clock.set(settings)
    if settings is not None:
      self._warm_all()
    return ''

  def _warm_all(self) -> None:
    """Compile all, and time all searches, while no clock runs."""
    self.game.warm()
    if not self.game.is_over:
      self._pool.submit(
        self.searcher.warm, self.game.position, self.game.legal_actions()
      ).result()

  def _genmove(self, words: list[str]) -> str:
    start = time.monotonic()
    colour = self._turn(words)
    planned = self._planned(colour)
    seen = self.game.seen_by(colour)
    return self._make_move(
      colour, self._choose(seen, seen.legal_actions(), planned), start)

  def _reg_genmove(self, words: list[str]) -> str:
    colour = self._turn(words)
    seen = self.game.seen_by(colour)
    found = self._choose(
      seen, seen.legal_actions(), self.searcher.simulations)
    return self._vertex(colour, self._action(found))

  def _genmove_analyze(self, words: list[str], channel: Channel) -> str:
    start = time.monotonic()
    colour, seen, legal, _ = self._asked(words)
    planned = self._planned(colour)
    if self.clock.budget(colour, 1) is None and not seen.is_over:
      # What leads to the search that counts; other input cuts it short.
      for number in self.searcher.shown:
        future = self._submit(seen, legal, number)
        if number >= planned or not channel.wait(future):
          break
        channel.emit(self._info(colour, future.result()))
    found = self._choose(seen, legal, planned)
    if found is not None:
      channel.emit(self._info(colour, found))
    return f'play {self._make_move(colour, found, start)}'

  def _analyze(self, words: list[str], channel: Channel) -> str:
    colour, seen, legal, interval = self._asked(words)
    channel.open()
    shown_at = 0.0
    if not seen.is_over:
      for number in self.searcher.shown:
        future = self._submit(seen, legal, number)
        # The first is shown however soon the next command comes.
        is_first, is_last = (
          number == self.searcher.shown[i] for i in (0, -1))
        if not is_first and not channel.wait(future):
          future.cancel()
          return ''
        found, now = future.result(), time.monotonic()
        if is_first or is_last or now - shown_at >= interval:
          channel.emit(self._info(colour, found))
          shown_at = now
    channel.wait(None)
    return ''

  def _asked(
    self, words: list[str]
  ) -> tuple[str, Game, np.ndarray, float]:
    """Return colour, game, moves [A] and seconds that an analysis asks for."""
    asked = gtp_arguments.analysis(self.board, words)
    colour = self._turn([asked.colour or self.game.to_move])
    seen = self.game.seen_by(colour)
    legal = asked.among(colour, seen.legal_actions())
    if not legal.any():
      raise Refusal('no move is left to choose from')
    return colour, seen, legal, asked.interval

  def _turn(self, words: list[str], refusal: str = '') -> str:
    """Return the colour of a command, which must be able to move."""
    colour = gtp_arguments.colour(words, 0)
    if not self.game.can_move(colour):
      before = f'{refusal}: ' if refusal else ''
      raise Refusal(f'{before}{self.game.to_move} is to move')
    return colour

  def _planned(self, colour: str) -> int:
    """Return the simulations that a colour's clock allows."""
    squares = self.board.columns * self.board.rows
    budget = self.clock.budget(
      colour, max(squares, 60) // 2 - len(self.game.moves) // 2)
    return self.searcher.within(None if budget is None else budget / _MARGIN)

  def _submit(
    self, game: Game, legal: np.ndarray, simulations: int
  ) -> concurrent.futures.Future:
    return self._pool.submit(
      self.searcher.search, game.position, legal, simulations)

  def _choose(
    self, game: Game, legal: np.ndarray, simulations: int
  ) -> Found | None:
    """Return what a search finds; None after the end of a game of Go.

    Raises:
      Refusal: another game is over.
    """
    if not game.is_over:
      return self._submit(game, legal, simulations).result()
    if not self.board.is_go:
      raise Refusal('the game is over')
    return None

  def _action(self, found: Found | None) -> int:
    """Return the move of a search; after the end of a game a pass."""
    if found is None:
      return self.board.columns * self.board.rows
    return found.action

  def _make_move(
    self, colour: str, found: Found | None, start: float
  ) -> str:
    """Play what a search found, and return its vertex."""
    action = self._action(found)
    is_legal = self.game.play(colour, action)
    assert is_legal
    self.clock.spend(colour, time.monotonic() - start)
    return self._vertex(colour, action)

  def _vertex(self, colour: str, action: int) -> str:
    return gtp_boards.to_vertex(self.board, action, self.board.mover(colour))

  def _info(self, colour: str, found: Found) -> str:
    """Return what `lz-analyze` shows of a search by a colour."""
    share, mover = gtp_arguments.per_ten_thousand, self.board.mover(colour)

    def line(move: Move) -> str:
      return ' '.join(
        gtp_boards.to_vertex(self.board, action, (mover + i) % 2)
        for i, action in enumerate(move.line))

    return ' '.join(
      f'info move {self._vertex(colour, move.action)} visits {move.visits} '
      f'winrate {share((move.value + 1) / 2)} prior {share(move.prior)} '
      f'order {order} pv {line(move)}'
      for order, move in enumerate(found.moves))


def _without_channel(
  run: Callable[[list[str]], str], words: list[str], channel: Channel
) -> str:
  del channel
  return run(words)
