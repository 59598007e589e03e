"""What is told of a game: its position as the page shows it, and its record."""

import json
from typing import Any

import numpy as np

from muzero_jax import envs
from muzero_jax.errors import UserError
from muzero_jax.evaluation import game_records
from muzero_jax.evaluation.game_records import GameRecord
from muzero_jax.play import names
from muzero_jax.play.sessions import Session


def view(session: Session) -> dict[str, Any]:
  """Return the position that is looked at, and the curves of the game."""
  spec, index = session.spec, session.index
  mover, legal = session.player(index), session.legal()
  position = session.positions[index]
  rewards = _rewards(session)
  return dict(
    index=index, length=session.length,
    picture=session.tools.show(position.moment),
    cells=names.cells(spec.name), legal=legal,
    names=names.of_all(spec, legal, mover or 0),
    to_play=mover or 0, turn=session.turn(),
    colour=session.settings.colour if spec.num_players == 2 else None,
    opponent=session.settings.opponent,
    simulations=session.settings.simulations,
    last_action=plain_action(position.moment.action),
    result=_result(session), reward=rewards[index],
    **{'return': sum(rewards[:index + 1])},
    curves=dict(
      value=_values(session), reward=rewards,
      **{'return': np.cumsum(rewards).tolist()}),
    is_last=bool(session.row.is_last[0]))


def plain_action(action: Any) -> Any:
  """Return an action as JSON has it: a number, a list of numbers, or None."""
  return None if action is None else np.asarray(action).tolist()


def write(session: Session, kind: str) -> dict[str, Any]:
  """Return the name and the text of a file that holds the game.

  Args:
    session: the game.
    kind: 'json' or 'sgf'.

  Raises:
    UserError: SGF of a game that is not Go.
  """
  env_name = session.spec.name
  stem = env_name.replace('/', '_')
  if kind == 'json':
    is_game = session.spec.num_players == 2
    text = game_records.to_json(_game(session)) if is_game else json.dumps(
      _episode(session))
    return dict(name=f'{stem}.json', text=text + '\n')
  rules = envs.go_rules(env_name)
  if rules is None:
    raise UserError(f'format = {kind!r}: {env_name} has no SGF; use json')
  text = game_records.to_sgf(_game(session), rules.size, rules.komi)
  return dict(name=f'{stem}.sgf', text=text + '\n')


def _rewards(session: Session) -> list[float]:
  """Return the reward of each step; of two players, for player 0."""
  rewards = [0.0]
  for index in range(1, len(session.positions)):
    reward = float(session.positions[index].moment.row.reward[0])
    rewards.append(
      0.0 - reward if session.player(index - 1) else reward)
  return rewards


def _values(session: Session) -> list[float | None]:
  """Return the searched values; of two players, for player 0."""
  values: list[float | None] = []
  for index, position in enumerate(session.positions):
    value = position.value
    if value is not None:
      value = -value if session.player(index) else value
      value = value if np.isfinite(value) else None
    values.append(value)
  return values


def _result(session: Session) -> dict[str, Any] | None:
  """Return how the game ended, if the position is its end."""
  if not session.is_over():
    return None
  rewards = _rewards(session)
  total = sum(rewards[:session.index + 1])
  if session.spec.num_players == 1:
    return dict(
      text=f'Over after {session.index} steps, with a return of {total:g}',
      score=total)
  colour = session.settings.colour
  if session.resigned is not None:
    return dict(text='You resigned', score=-1.0)
  if colour is None:
    winner = 'first' if total > 0 else 'second'
    return dict(
      text=f'The {winner} player won' if total else 'Draw', score=total)
  score = -total if colour else total
  text = 'You won' if score > 0 else 'You lost' if score < 0 else 'Draw'
  return dict(text=text, score=score)


def _players(session: Session) -> tuple[str, str]:
  """Return who moved first, and who moved second."""
  colour, opponent = session.settings.colour, session.settings.opponent
  if colour is None:
    return 'agent', opponent
  return ('user', opponent) if colour == 0 else (opponent, 'user')


def _game(session: Session) -> GameRecord:
  """Return a game of two players as `evaluation` records them."""
  first, second = _players(session)
  moves = tuple(
    int(position.moment.action) for position in session.positions[1:])
  last = session.positions[-1].moment.row
  result: int | str = game_records.BROKEN
  reason = game_records.UNFINISHED
  if session.resigned is not None:
    result = 1 if session.resigned else -1
    reason = f'user {game_records.RESIGNED}'
  elif last.is_last[0]:
    result, reason = int(np.sign(sum(_rewards(session)))), ''
  return GameRecord(
    game=session.spec.name, first=first, second=second,
    seed=session.settings.seed, step=session.tools.agent.step,
    opening_moves=0, moves=moves, result=result, reason=reason)


def _episode(session: Session) -> dict[str, Any]:
  """Return an episode of one player: what was done, and what it brought."""
  return dict(
    game=session.spec.name, seed=session.settings.seed,
    step=session.tools.agent.step, simulations=session.settings.simulations,
    actions=[
      plain_action(position.moment.action)
      for position in session.positions[1:]],
    rewards=_rewards(session)[1:], values=_values(session),
    is_over=bool(session.positions[-1].moment.row.is_last[0]))
