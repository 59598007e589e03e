"""Opponents for evaluation, by name: from random to perfect play.

`random` needs nothing but what an agent sees; `one_ply` and `mcts` know the
true rules of the game and play from the environment's own state, and so does
backgammon's `pip_count`. `gnugo` is a
program beside this one, and `snapshot` and `run` are other trained agents.
"""

import functools
import os
from collections.abc import Iterable
from typing import Any

from muzero_jax import agent, envs
from muzero_jax.agent import Agent, MakeEnv
from muzero_jax.errors import UserError
from muzero_jax.evaluation.opponents import backgammon, mcts, one_ply, programs
from muzero_jax.evaluation.opponents.base import Opponent, random
from muzero_jax.evaluation.opponents.programs import Program
from muzero_jax.evaluation.opponents.tic_tac_toe import perfect_tic_tac_toe
from muzero_jax.runs import best

__all__ = [
  'AnyOpponent', 'Opponent', 'Program', 'defaults', 'make', 'names',
  'perfect_tic_tac_toe', 'random',
]

AnyOpponent = Opponent | Agent | Program

MCTS_SIMULATIONS = 100  # Of `mcts` without a number.
GNUGO_LEVEL = 1  # Of `gnugo` without a number.
# Opponents of one game alone, weakest first.
_OWN: dict[str, dict[str, Opponent]] = {
  'stochastic/backgammon': {'pip_count': backgammon.pip_count},
  'board/tic_tac_toe': {'perfect': perfect_tic_tac_toe},
}
# How those are spelt that take something behind a colon.
_SPELLINGS = {'mcts': 'mcts or mcts:N', 'gnugo': 'gnugo or gnugo:LEVEL'}


def make(
  name: str,
  env_name: str,
  *,
  workdir: str | os.PathLike | None = None,
  index: int = 0,
  make_env: MakeEnv = envs.make,
  allow_imports: str | Iterable[str] = (),
) -> AnyOpponent:
  """Returns an opponent by name.

  Args:
    name: one of `names`; 'mcts:1000' is `mcts` with 1000 simulations,
      'gnugo:5' GNU Go at level 5. Or an agent: 'snapshot:1000' is the run's
      own of step 1000, 'run:PATH' the newest of another run.
    env_name: of the environment, for example 'board/tic_tac_toe'.
    workdir: the run directory that `snapshot` looks in.
    index: which of its agents.
    make_env: as it was given to `train.run`.
    allow_imports: modules that an agent's stored env_id may import, as in
      `agent.load`.

  Raises:
    EngineError: the program is not installed.
    ImportError: the game's package is missing; says what to install.
    UserError: if there is no such opponent for that environment.
  """
  if name == 'random':
    return random
  known = names(env_name)
  kind, colon, _ = name.partition(':')
  if colon and kind in ('snapshot', 'run'):
    return _make_agent(
      name, env_name, workdir, index, dict(
        make_env=make_env, allow_imports=allow_imports))
  if kind not in known or (colon and kind not in _SPELLINGS):
    allowed = ', '.join(_SPELLINGS.get(n, n) for n in known)
    raise UserError(
      f'opponent = {name!r} is not one of {allowed} for {env_name}, nor '
      'snapshot:STEP or run:PATH'
    )
  if kind in _OWN.get(env_name, {}):
    return _OWN[env_name][kind]
  if kind == 'gnugo':
    level = _number(name, GNUGO_LEVEL, 'its level', programs.MAX_LEVEL)
    rules = envs.go_rules(env_name)
    assert rules is not None
    return programs.gnugo(rules, level)
  if kind == 'one_ply':
    return functools.partial(one_ply.act, envs.make_rules(env_name))
  simulations = _number(name, MCTS_SIMULATIONS, 'simulations')
  return functools.partial(
    mcts.act, envs.make_rules(env_name), num_simulations=simulations)


def names(env_name: str) -> tuple[str, ...]:
  """Returns all opponents of an environment, weakest first; programs last.

  Whether a program is installed, only `make` finds out.
  """
  known = ['random']
  if envs.has_rules(env_name):
    known += ['one_ply', 'mcts']
    if envs.go_rules(env_name):
      known += ['gnugo']
  return (*known, *_OWN.get(env_name, ()))


def defaults(env_name: str) -> tuple[str, ...]:
  """Returns the opponents of an evaluation that names none, weakest first.

  Those that cost next to nothing.
  """
  return ('random', *_OWN.get(env_name, ()))


def _number(
  name: str, default: int, what: str, most: int | None = None
) -> int:
  """Returns the number behind the colon of a name, or the default."""
  kind, colon, text = name.partition(':')
  if not colon:
    return default
  is_number = text.isascii() and text.isdecimal() and int(text) > 0
  if not is_number or (most is not None and int(text) > most):
    bounds = 'of at least 1' if most is None else f'from 1 to {most}'
    raise UserError(
      f'opponent = {name!r}: {what} must be a whole number {bounds}, as in '
      f'{kind}:{default}'
    )
  return int(text)


def _make_agent(
  name: str,
  env_name: str,
  workdir: str | os.PathLike | None,
  index: int,
  how: dict[str, Any],
) -> Agent:
  """Returns a trained agent by name; `how` goes to `agent.load`.

  Raises:
    UserError: if it is not there, or plays another game.
  """
  kind, _, what = name.partition(':')
  if kind == 'run':
    if not what:
      raise UserError(f'opponent = {name!r}: the run directory is missing')
    found = agent.load(what, **how)
    if found.spec.name != env_name:
      raise UserError(
        f'opponent = {name!r} plays {found.spec.name}, not {env_name}')
    return found
  if workdir is None:
    raise UserError(f'opponent = {name!r} needs the run directory')
  if what != best.NAME and not (what.isascii() and what.isdecimal()):
    raise UserError(
      f'opponent = {name!r}: the step must be a whole number, as in '
      'snapshot:1000, or best')
  return agent.load(workdir, snapshot=what, index=index, **how)
