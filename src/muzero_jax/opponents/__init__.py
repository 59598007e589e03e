"""Opponents for evaluation, by name: from random to perfect play.

`random` needs nothing but what an agent sees; `one_ply` and `mcts` know the
true rules of the game and play from the environment's own state.
"""

import functools

from muzero_jax import envs
from muzero_jax.opponents import mcts, one_ply
from muzero_jax.opponents.base import Opponent, random
from muzero_jax.opponents.tic_tac_toe import perfect_tic_tac_toe

__all__ = [
  'Opponent', 'defaults', 'make', 'names', 'perfect_tic_tac_toe', 'random',
]

MCTS_SIMULATIONS = 100  # Of `mcts` without a number.
_PERFECT = {'board/tic_tac_toe': perfect_tic_tac_toe}


def make(name: str, env_name: str) -> Opponent:
  """Returns an opponent by name.

  Args:
    name: one of `names`; 'mcts:1000' is `mcts` with 1000 simulations.
    env_name: of the environment, for example 'board/tic_tac_toe'.

  Raises:
    ImportError: the game's package is missing; says what to install.
    ValueError: if there is no such opponent for that environment.
  """
  if name == 'random':
    return random
  known = names(env_name)
  kind, colon, number = name.partition(':')
  if kind not in known or (colon and kind != 'mcts'):
    allowed = [f'{n} or mcts:N' if n == 'mcts' else n for n in known]
    raise ValueError(
      f'opponent = {name!r} is not one of {", ".join(allowed)} for {env_name}'
    )
  if kind == 'perfect':
    return _PERFECT[env_name]
  rules = envs.make_rules(env_name)
  if kind == 'one_ply':
    return functools.partial(one_ply.act, rules)
  return functools.partial(
    mcts.act, rules, num_simulations=_simulations(name, colon, number)
  )


def names(env_name: str) -> tuple[str, ...]:
  """Returns all opponents of an environment, weakest first."""
  known = ['random']
  if envs.has_rules(env_name):
    known += ['one_ply', 'mcts']
  if env_name in _PERFECT:
    known += ['perfect']
  return tuple(known)


def defaults(env_name: str) -> tuple[str, ...]:
  """Returns the opponents of an evaluation that names none, weakest first.

  Those that cost next to nothing.
  """
  return ('random', 'perfect') if env_name in _PERFECT else ('random',)


def _simulations(name: str, colon: str, number: str) -> int:
  """Returns the simulations that a name asks for."""
  if not colon:
    return MCTS_SIMULATIONS
  if not (number.isascii() and number.isdecimal() and int(number) > 0):
    raise ValueError(
      f'opponent = {name!r}: simulations must be a whole number of at least '
      '1, as in mcts:100'
    )
  return int(number)
