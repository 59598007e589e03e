"""What the page asks for: verbs with JSON in, JSON out.

Everything in a request is checked here, before anything is done: names of
fields, their types and their ranges. No text of a request is ever a path.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from muzero_jax.agent import Agent
from muzero_jax.errors import UserError
from muzero_jax.evaluation import diagnose
from muzero_jax.play import (
  analysis,
  future,
  imagination,
  names,
  players,
  records,
  screen,
  sessions,
  worlds,
)
from muzero_jax.types import Environment

_MOST_STEPS = 20  # Of an imagined future.
_MOST_CHILDREN = 64
_MOST_ROWS = 1_024  # That each environment plays for a diagnosis.
_LARGEST = 2**31 - 1
_REQUIRED = object()


class NoSessionError(Exception):
  """There is no such game, or not any more."""


class Api:
  """All games of one agent.

  One thread at a time may call it, but for `info` and `diagnose`.
  """

  def __init__(
    self,
    agent: Agent,
    *,
    name: str = '',
    workdir: Any = None,
    index: int = 0,
    simulations: int = 0,
    shipped: tuple[str, ...] = (),
    allow_imports: Any = (),
  ) -> None:
    """Take the agent, and make its environment.

    Args:
      agent: who plays.
      name: what it is called on the page; '' for its environment's name.
      workdir: its run directory, None of an agent without one.
      index: which agent of that run.
      simulations: of a search where nobody asks for others; 0 for the agent's.
      shipped: names of other agents.
      allow_imports: as in `agent.load`.
    """
    self.agent = agent
    looker = analysis.Looker(agent)
    self._simulations = simulations or looker.simulations
    tools = _make_tools(agent, looker, players.Players(
      agent, workdir=workdir, index=index, allow_imports=allow_imports))
    self._tools, self._sessions = tools, sessions.Sessions(tools)
    self._imagination = imagination.Imagination(agent)
    family, _, env_id = agent.spec.name.partition('/')
    spec = agent.spec
    self._info: dict[str, Any] = dict(
      name=name or env_id, family=family, env_id=env_id, step=agent.step,
      players=spec.num_players, num_actions=spec.num_actions,
      action_names=names.every(spec) if spec.num_actions <= 512 else [],
      continuous=spec.is_continuous, simulations=self._simulations,
      discount=agent.config.discount,
      opponents=tools.players.names(tools.env),
      max_simulations=analysis.MAX_SIMULATIONS,
      kind='board' if spec.num_players == 2 else 'single',
      keys=names.keys(spec), agents=list(shipped), diagnose=None)

  def info(self) -> dict[str, Any]:
    """Return what there is to know before a game; in any thread."""
    return self._info

  def close(self) -> None:
    """End all games."""
    self._sessions.close()

  def warm_up(self) -> None:
    """Compile what a first move needs, by making it."""
    name, session = self._sessions.new(
      self._settings(dict(colour=None, seed=0)))
    session.analyse()
    session.advance(1)
    self._view(name, session)
    self._sessions.close()

  def call(self, verb: str, body: Any) -> Any:
    """Return the answer to a request.

    Args:
      verb: one of the verbs.
      body: what JSON has made of it.

    Raises:
      UserError: something in it is wrong; says what is allowed.
      NoSessionError: there is no such game.
      KeyError: there is no such verb.
    """
    answer = _VERBS[verb]
    if not isinstance(body, dict):
      raise UserError('the body must be a JSON object')
    return answer(self, body)

  def _settings(self, given: Mapping[str, Any]) -> sessions.Settings:
    """Return what a user chose for a game, checked."""
    fields = _checked(given, dict(
      colour=(_is_colour, '0, 1 or null', 0),
      simulations=(_is_simulations, _SIMULATIONS, self._simulations),
      opponent=(_is_text, 'a name', players.AGENT),
      seed=(_is_seed, f'a whole number from 0 to {_LARGEST}', None)))
    opponent = players.AGENT
    if self.agent.spec.num_players == 2:
      opponent = self._tools.players.check(
        fields['opponent'], self._tools.env)
    seed = fields['seed']
    return sessions.Settings(
      colour=fields['colour'], simulations=fields['simulations'],
      opponent=opponent,
      seed=secrets.randbelow(_LARGEST) if seed is None else seed)

  def _new(self, given: Mapping[str, Any]) -> dict[str, Any]:
    return self._view(*self._sessions.new(self._settings(given)))

  def _session(self, given: Mapping[str, Any]) -> sessions.Session:
    try:
      return self._sessions.get(given['session'])
    except KeyError:
      raise NoSessionError(
        'there is no such game, or it was dropped for newer ones: start a new '
        'one') from None

  def _in_session(
    self, given: Mapping[str, Any], **fields: Any
  ) -> tuple[sessions.Session, dict[str, Any]]:
    """Return the game of a request, and its other fields, checked."""
    found = _checked(given, dict(
      session=(_is_text, 'a name', _REQUIRED), **fields))
    return self._session(found), found

  def _move(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(given, action=(
      lambda x: True, '', _REQUIRED))
    session.play(fields['action'])
    return self._view(fields['session'], session)

  def _advance(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(given, count=(
      _is_number(1, sessions.MAX_ADVANCE), f'1 to {sessions.MAX_ADVANCE}', 1))
    session.advance(fields['count'])
    return self._view(fields['session'], session)

  def _undo(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(given)
    session.undo()
    return self._view(fields['session'], session)

  def _go_to(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(given, index=(
      _is_number(0, _LARGEST), 'the number of a position', _REQUIRED))
    session.go_to(fields['index'])
    return self._view(fields['session'], session)

  def _resign(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(given)
    session.resign()
    return self._view(fields['session'], session)

  def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(
      given, simulations=(_is_simulations, _SIMULATIONS, None),
      opponent=(_is_text, 'a name', None))
    if fields['opponent'] is not None and self.agent.spec.num_players == 2:
      session.settings = session.settings._replace(
        opponent=self._tools.players.check(
          fields['opponent'], self._tools.env))
    if fields['simulations'] is not None:
      session.settings = session.settings._replace(
        simulations=fields['simulations'])
    return self._view(fields['session'], session)

  def _hint(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(given)
    hint = session.analyse().analysis()['action']
    return self._view(fields['session'], session) | dict(hint=hint)

  def _analyse(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(
      given, simulations=(_is_simulations, _SIMULATIONS, None))
    return session.analyse(fields['simulations']).analysis()

  def _node(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(
      given, node=(_is_number(0, _LARGEST), 'the number of a node', _REQUIRED),
      limit=(_is_number(1, _MOST_CHILDREN), f'1 to {_MOST_CHILDREN}', 8))
    if session.view is None:
      raise UserError('nothing was searched yet: send analyse first')
    return session.view.node(fields['node'], fields['limit'])

  def _imagine(self, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    session, fields = self._in_session(
      given, steps=(_is_number(1, _MOST_STEPS), f'1 to {_MOST_STEPS}', 5),
      line=(lambda x: x in ('best', 'played'), '"best" or "played"', 'best'))
    return future.imagine(
      session, self._imagination, fields['steps'],
      is_played=fields['line'] == 'played')

  def _record(self, given: Mapping[str, Any]) -> dict[str, Any]:
    session, fields = self._in_session(
      given, format=(lambda x: x in ('json', 'sgf'), '"json" or "sgf"',
                     'json'))
    return records.write(session, fields['format'])

  def _diagnose(self, given: Mapping[str, Any]) -> dict[str, Any]:
    _checked(given, {})
    if self._info['diagnose'] is None:
      env = self.agent.make_env(
        self.agent.config, num_envs=4, evaluation=True)
      longest = self.agent.spec.max_episode_steps or _MOST_ROWS
      found = diagnose.diagnose(
        self.agent, env, num_envs=4,
        num_steps=min(longest + self.agent.config.unroll_steps + 1, _MOST_ROWS),
        num_samples=256)
      figures = _figures(found)
      if not found.search_value.num_rows:
        figures['note'] = (
          'Values are compared with what was earned until an episode ended by '
          'itself: none did, all were cut off.')
      self._info = self._info | dict(diagnose=figures)
    return dict(diagnose=self._info['diagnose'])

  def _view(self, name: str, session: sessions.Session) -> dict[str, Any]:
    return dict(session=name, **records.view(session))


def _make_tools(
  agent: Agent, looker: analysis.Looker, opponents: players.Players
) -> sessions.Tools:
  """Return what all games of an agent share."""
  env = screen.make_env(agent)
  if isinstance(env, Environment) and env.restorable:
    device, shown = worlds.Device(env), screen.Screen(agent, env)
    return sessions.Tools(
      agent, looker, opponents, lambda seed: device.open(), env,
      lambda moment: shown.show(moment.state, moment.row))

  def open_world(seed: int) -> worlds.World:
    own = screen.make_env(agent, seed)
    shown = screen.Screen(agent, own)
    return worlds.Outside(agent, own, lambda row: shown.show(None, row))

  return sessions.Tools(
    agent, looker, opponents, open_world, env, lambda moment: moment.picture)


def _figures(found: diagnose.Diagnosis) -> dict[str, Any]:
  """Return the figures of a diagnosis that a page shows, by name."""
  figures: dict[str, Any] = {}
  for name, one in (
    ('value, searched', found.search_value),
    *((f'value, step {k}', x) for k, x in enumerate(found.values)),
    *((f'reward, step {k}', x) for k, x in enumerate(found.rewards, 1)),
    ('value, at the end', found.end_value),
  ):
    figures[name] = dict(
      bias=_finite(one.bias), error=_finite(one.error),
      explained=_finite(one.explained), rows=one.num_rows)
  return figures


def _finite(x: float) -> float | None:
  return float(x) if np.isfinite(x) else None


def _checked(
  given: Mapping[str, Any],
  fields: Mapping[str, tuple[Callable[[Any], bool], str, Any]],
) -> dict[str, Any]:
  """Return all fields of a request, with defaults for those that are missing.

  Args:
    given: of the request.
    fields: of each name: whether a value is allowed, which are, the default.

  Raises:
    UserError: a field is unknown, missing or not allowed.
  """
  if unknown := set(given) - set(fields):
    raise UserError(
      f'field {min(unknown)[:40]!r} is unknown: allowed are '
      f'{", ".join(fields) or "none"}')
  found: dict[str, Any] = {}
  for name, (is_allowed, allowed, default) in fields.items():
    value = given.get(name, default)
    if value is _REQUIRED:
      raise UserError(f'field {name!r} is missing')
    if name in given and not is_allowed(value):
      raise UserError(f'{name} = {value!r:.40} is not allowed: must be '
                      f'{allowed}')
    found[name] = value
  return found


def _is_number(low: int, high: int) -> Callable[[Any], bool]:
  return lambda x: type(x) is int and low <= x <= high


def _is_text(x: Any) -> bool:
  return isinstance(x, str) and 0 < len(x) <= 100


def _is_colour(x: Any) -> bool:
  return x is None or (type(x) is int and x in (0, 1))


_SIMULATIONS = f'1 to {analysis.MAX_SIMULATIONS}'
_is_simulations = _is_number(1, analysis.MAX_SIMULATIONS)
_is_seed = _is_number(0, _LARGEST)
_VERBS: dict[str, Callable[[Api, Mapping[str, Any]], Any]] = {
  'new': Api._new,
  'move': Api._move,
  'advance': Api._advance,
  'undo': Api._undo,
  'goto': Api._go_to,
  'resign': Api._resign,
  'options': Api._options,
  'hint': Api._hint,
  'analyse': Api._analyse,
  'node': Api._node,
  'imagine': Api._imagine,
  'record': Api._record,
  'diagnose': Api._diagnose,
}
VERBS = ('info', *_VERBS)
