"""Games in memory: their positions, moves of all players, and the way back."""

import collections
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax.agent import Agent, AgentState
from muzero_jax.errors import UserError
from muzero_jax.play import analysis, players, worlds
from muzero_jax.types import Array, TimeStep

MAX_ADVANCE = 50
# Bytes of rows and pictures of one session, and of all.
_MOST_BYTES, _MOST_BYTES_TOGETHER = 2**28, 2**29
_MOST_SESSIONS = 16


class Settings(NamedTuple):
  """What a user chose for a game."""

  colour: int | None  # Whom the user plays; None to watch.
  simulations: int
  opponent: str
  seed: int


class Position(NamedTuple):
  """One step of a game, and what the search said of it."""

  moment: worlds.Moment
  value: float | None = None  # Searched, for who moves; None if not searched.


class Tools(NamedTuple):
  """What all games of one agent share."""

  agent: Agent
  looker: analysis.Looker
  players: players.Players
  open_world: Callable[[int], worlds.World]  # seed -> one environment.
  env: Any  # The environment, or one like it.
  show: Callable[[worlds.Moment], dict[str, str]]  # -> its picture.


class Session:
  """One game or one episode.

  `index` is the position that is looked at; whoever moves there cuts off what
  came later. Who opened a game of two players is player 0.
  """

  def __init__(self, tools: Tools, settings: Settings) -> None:
    self.tools, self.settings = tools, settings
    self._world = tools.open_world(settings.seed)
    # The agent's own keys are those of `Agent.reset(seed)`.
    self._agent_key = jax.random.key(settings.seed)
    self._keys: list[Array] = []
    other = np.random.SeedSequence([settings.seed, 1]).generate_state(1)[0]
    begin, step, self._other_key = jax.random.split(
      jax.random.key(int(other)), 3)
    self.positions = [Position(self._world.begin((begin, step)))]
    self.index = 0
    self.resigned: int | None = None  # The player who did.
    self.view: analysis.View | None = None  # Of the latest analysis.
    self.num_bytes = _bytes_of(self.positions[0])

  @property
  def spec(self) -> Any:
    """Return what the environment looks like."""
    return self.tools.agent.spec

  @property
  def row(self) -> TimeStep:
    """Return the row [1] of the position that is looked at."""
    return self.positions[self.index].moment.row

  @property
  def length(self) -> int:
    """Return how many steps were played."""
    return len(self.positions) - 1

  def player(self, index: int) -> int | None:
    """Return who moves at a position; None with one player."""
    if self.spec.num_players == 1:
      return None
    first = int(self.positions[0].moment.row.to_play[0])
    return int(int(self.positions[index].moment.row.to_play[0]) != first)

  def is_over(self) -> bool:
    """Return whether nothing can be played from the position."""
    at_end = self.index == self.length
    return bool(self.row.is_last[0]) or (
      self.resigned is not None and at_end)

  def turn(self) -> str:
    """Return whose turn it is: "you", "agent" or "over"."""
    if self.is_over():
      return 'over'
    mover = self.player(self.index)
    return 'you' if mover is not None and mover == self.settings.colour else (
      'agent')

  def legal(self) -> list[int]:
    """Return the legal actions; none at the end, or where actions are vectors.
    """
    if self.is_over() or self.spec.is_continuous:
      return []
    return [int(x) for x in np.flatnonzero(self.row.legal_actions[0])]

  def play(self, action: Any) -> None:
    """Take the user's action.

    Raises:
      UserError: it is not legal, or not the user's turn.
    """
    if self.is_over():
      raise UserError('the game is over: start a new one, or go back')
    if self.spec.num_players == 2 and self.turn() != 'you':
      raise UserError("it is not your turn: the opponent moves with 'advance'")
    self._follow(self._checked(action), None)

  def advance(self, count: int) -> None:
    """Let the agent and the opponent move, until it is the user's turn.

    Args:
      count: most moves.

    Raises:
      UserError: it is the user's turn already.
    """
    if self.turn() == 'you':
      raise UserError('it is your turn: send a move')
    for _ in range(count):
      if self.turn() != 'agent':
        return
      self._move_of(self._mover())

  def undo(self) -> None:
    """Go back to the user's turn before, and forget what came later.

    In an episode of one player, to the step before, forgetting nothing.

    Raises:
      UserError: there is none.
    """
    if self.spec.num_players == 1:
      if not self.index:
        raise UserError('this is the first step')
      self.index -= 1
      return
    colour = self.settings.colour
    before = [
      index for index in range(self.index)
      if colour is None or self.player(index) == colour]
    if self.resigned is not None:
      self.resigned = None
      if self.turn() == 'you':
        return
    if not before:
      raise UserError('you have made no move yet')
    self.index = before[-1]
    self._cut()

  def go_to(self, index: int) -> None:
    """Look at a position.

    Raises:
      UserError: there is none of that number.
    """
    if not 0 <= index <= self.length:
      raise UserError(
        f'index = {index}: the game has positions 0 to {self.length}')
    self.index = index

  def resign(self) -> None:
    """Give up; the last position is the end.

    Raises:
      UserError: the game is over, or the user only watches.
    """
    if self.spec.num_players == 1 or self.settings.colour is None:
      raise UserError('there is nothing to resign: you are watching')
    self.index = self.length
    if self.is_over():
      raise UserError('the game is over already')
    self.resigned = self.settings.colour

  def look(self, simulations: int | None = None) -> analysis.Searched:
    """Search the position as the agent would."""
    count = simulations or self.settings.simulations
    return self._look(self.tools.agent.params, count)

  def analyse(self, simulations: int | None = None) -> analysis.View:
    """Search the position as the agent would, and keep the tree.

    Raises:
      UserError: the episode is over.
    """
    if self.row.is_last[0]:
      raise UserError('the game is over: there is nothing to search')
    searched = self.look(simulations)
    self._note(float(searched.found.value[0]))
    self.view = analysis.View(
      searched, self.tools.looker, self.player(self.index),
      simulations or self.settings.simulations)
    return self.view

  def memory(self, index: int) -> AgentState:
    """Return what an agent remembers before it sees a position."""
    return worlds.memory_at(
      self.tools.agent, [position.moment for position in self.positions],
      index)

  def close(self) -> None:
    """End what the session started."""
    self._world.close()

  def try_line(self, actions: list[Any]) -> list[worlds.Moment]:
    """Return what really follows the position if actions are taken.

    As far as it was played, and as far as the environment can be copied.
    """
    moments = [x.moment for x in self.positions[:self.index + 1]]
    found: list[worlds.Moment] = []
    for action in actions:
      row = moments[-1].row
      if row.is_last[0] or not self._is_legal(row, action):
        break
      number = len(moments)
      played = self.positions[number].moment if number <= self.length else None
      is_played = (
        played is not None and moments[-1] is self.positions[number - 1].moment
        and np.array_equal(played.action, action))
      if is_played and played is not None:
        moments.append(played)
      elif moments[-1].state is None:
        break
      else:
        moments.append(self._world.follow(moments, action))
      found.append(moments[-1])
    return found

  def key(self, index: int) -> Array:
    """Return the agent's key of a position, as `Agent.act` draws them."""
    while len(self._keys) <= index:
      self._agent_key, key = jax.random.split(self._agent_key)
      self._keys.append(key)
    return self._keys[index]

  def _mover(self) -> str:
    """Return who moves: the agent, or the name of the opponent."""
    player, colour = self.player(self.index), self.settings.colour
    # Who watches sees the agent open the game against the opponent.
    is_agents = player is None or (colour is None and player == 0)
    return players.AGENT if is_agents else self.settings.opponent

  def _move_of(self, name: str) -> None:
    """Let a player move."""
    params = self.tools.players.params(name)
    if params is None:
      key = jax.random.fold_in(self._other_key, self.index)
      moment = self.positions[self.index].moment
      self._follow(
        self.tools.players.move(name, key, moment.state, moment.row), None)
      return
    found = self._look(params, self.settings.simulations).found
    # Of an opponent's move the agent has not said what it is worth.
    value = float(found.value[0]) if name == players.AGENT else None
    action = found.action[0]
    self._follow(
      np.asarray(action) if self.spec.is_continuous else int(action), value)

  def _look(self, params: Any, simulations: int) -> analysis.Searched:
    _, searched = self.tools.looker.look(
      params, self.memory(self.index), self.key(self.index), self.row,
      simulations)
    return searched

  def _follow(self, action: Any, value: float | None) -> None:
    """Take an action; what came later is forgotten."""
    if self.num_bytes > _MOST_BYTES:
      raise UserError(
        f'the game has {self.length} steps, more than are kept: start a new '
        'one')
    moments = [position.moment for position in self.positions]
    moment = self._world.follow(moments[:self.index + 1], action)
    self._cut()
    if value is not None:
      self._note(value)
    self.positions.append(Position(moment))
    self.num_bytes += _bytes_of(self.positions[-1])
    self.index += 1

  def _cut(self) -> None:
    """Forget what came after the position that is looked at."""
    self.num_bytes -= sum(map(_bytes_of, self.positions[self.index + 1:]))
    del self.positions[self.index + 1:]
    self.resigned = None

  def _note(self, value: float) -> None:
    """Write down what the agent's search said of the position."""
    self.positions[self.index] = self.positions[self.index]._replace(
      value=value)

  def _checked(self, action: Any) -> Any:
    """Return a user's action as the environment wants it."""
    if not self.spec.is_continuous:
      if type(action) is not int or action not in self.legal():
        raise UserError(f'action = {action!r:.40} is not legal here')
      return action
    size = self.spec.num_actions
    if not isinstance(action, list) or len(action) != size or not all(
        type(x) in (int, float) for x in action):
      raise UserError(f'action: {size} numbers are needed')
    return np.clip(
      np.asarray(action, np.float32), self.spec.action_low,
      self.spec.action_high)

  def _is_legal(self, row: TimeStep, action: Any) -> bool:
    return self.spec.is_continuous or bool(row.legal_actions[0, int(action)])


class Sessions:
  """The games that are played now; the oldest go where there are too many."""

  def __init__(self, tools: Tools) -> None:
    self.tools = tools
    self._games: collections.OrderedDict[str, Session] = (
      collections.OrderedDict())

  def new(self, settings: Settings) -> tuple[str, Session]:
    """Begin a game; return its name and it."""
    session = Session(self.tools, settings)
    name = secrets.token_urlsafe(12)
    self._games[name] = session
    self._make_room()
    return name, session

  def get(self, name: str) -> Session:
    """Return a game.

    Raises:
      KeyError: there is none of that name, or not any more.
    """
    session = self._games[name]
    self._games.move_to_end(name)
    self._make_room()
    return session

  def close(self) -> None:
    """End all games."""
    while self._games:
      self._games.popitem()[1].close()

  def _make_room(self) -> None:
    while len(self._games) > 1 and (
        len(self._games) > _MOST_SESSIONS or self._together() > (
          _MOST_BYTES_TOGETHER)):
      self._games.popitem(last=False)[1].close()

  def _together(self) -> int:
    return sum(session.num_bytes for session in self._games.values())


def _bytes_of(position: Position) -> int:
  """Return about how many bytes a position takes."""
  moment = position.moment
  arrays = jax.tree.leaves((moment.row, moment.state))
  drawn = moment.picture or {}
  return 512 + sum(_size(x) for x in arrays) + sum(map(len, drawn.values()))


def _size(x: Any) -> int:
  """Return the bytes of an array, of keys too."""
  if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  return int(np.size(x)) * np.dtype(x.dtype).itemsize
