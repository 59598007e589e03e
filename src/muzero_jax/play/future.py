"""The imagined future of a position beside the real one."""

from typing import Any

import numpy as np

from muzero_jax.errors import UserError
from muzero_jax.play import names, records, worlds
from muzero_jax.play.imagination import Imagination, Prediction
from muzero_jax.play.sessions import Session


def imagine(
  session: Session, model: Imagination, steps: int, *, is_played: bool
) -> list[dict[str, Any]]:
  """Return what the model predicts along a line, and what really came.

  Args:
    session: the position that is looked at is where the model begins.
    model: of the agent.
    steps: most of them.
    is_played: along the moves that were played; else along the most visited
      line of the agent's search.

  Raises:
    UserError: nothing follows the position.
  """
  if session.row.is_last[0]:
    raise UserError('the game is over: nothing follows')
  moments = [position.moment for position in session.positions]
  if is_played:
    real = moments[session.index + 1:][:steps]
    line = [
      (moment.action, _outcome(session, model, session.index + number))
      for number, moment in enumerate(real)]
  else:
    line = session.analyse().edges_of_line()[:steps]
    real = session.try_line([action for action, _ in line])
  predicted = model.unroll(
    session.memory(session.index), session.row, line)
  episode = [*moments[:session.index + 1], *real]
  player = session.player(session.index)
  found = []
  for number, (one, (action, _)) in enumerate(zip(predicted, line)):
    mover = _mover(session, episode, session.index + number, player)
    found.append(dict(
      step=number + 1, action=records.plain_action(action),
      name=names.name(session.spec, action, mover),
      reward=_finite(one.reward), value=_finite(one.value),
      policy=one.policy, note=one.note,
      real=_real(session, model, episode, session.index + number + 1)))
  return found


def _mover(
  session: Session, episode: list[worlds.Moment], index: int,
  player: int | None,
) -> int:
  """Return who moves at a step: as it was, or else by turns."""
  if player is None:
    return 0
  if index < len(episode):
    first = int(episode[0].row.to_play[0])
    return int(int(episode[index].row.to_play[0]) != first)
  return (player + index - session.index) % 2


def _outcome(session: Session, model: Imagination, index: int) -> int | None:
  """Return the outcome of chance between a step that was played and the next.
  """
  at = lambda i: (session.memory(i), session.positions[i].moment.row)
  action = session.positions[index + 1].moment.action
  return model.outcome(at(index), action, at(index + 1))


def _real(
  session: Session, model: Imagination, episode: list[worlds.Moment],
  index: int,
) -> dict[str, Any] | None:
  """Return what the step `index` of an episode really was, if it is known."""
  if index >= len(episode):
    return None
  moment = episode[index]
  seen: Prediction = model.root(
    worlds.memory_at(session.tools.agent, episode, index), moment.row)
  value, searched = seen.value, None
  if index <= session.length and (
      session.positions[index].moment is moment):
    searched = session.positions[index].value
  if moment.row.discount[0] == 0:
    value = 0.0  # Nothing follows.
  return dict(
    reward=_finite(float(moment.row.reward[0])),
    value=_finite(value if searched is None else searched),
    is_searched=searched is not None, policy=seen.policy,
    is_last=bool(moment.row.is_last[0]), picture=session.tools.show(moment))


def _finite(x: float | None) -> float | None:
  return x if x is not None and np.isfinite(x) else None
