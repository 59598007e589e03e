"""Symmetries of grids: a sequence in, its mirror image or rotation out.

A turned position has the same value and the turned policy, so that a network
without built-in symmetry learns from one game as from up to eight (AlphaGo
Zero, Nature 2017, methods: "self-play training").
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.errors import UserError
from muzero_jax.types import Array, EnvSpec, Sequence

# Which of (turns by 90 degrees, mirrored left to right) map the rules of a
# game onto themselves.
_SQUARE = tuple((turns, flip) for flip in (False, True) for turns in range(4))
_MIRROR = ((0, False), (0, True))
# Half a turn and the two diagonals; the others would swap the colours of the
# four discs that Othello starts with.
_DIAGONALS = ((0, False), (2, False), (1, True), (3, True))
# Left to right, top to bottom, and both.
_RECTANGLE = ((0, False), (0, True), (2, True), (2, False))
# MinAtar's Space Invaders and Seaquest have none: who shoots of two aliens as
# near as each other, and where the gauge of oxygen begins, is on the left.
_GROUPS = {
  'board/tic_tac_toe': _SQUARE,
  'board/go_9x9': _SQUARE,
  'board/go_19x19': _SQUARE,
  'board/othello': _DIAGONALS,
  'board/connect_four': _MIRROR,
  'minatar/asterix': _RECTANGLE,
  'minatar/breakout': _MIRROR,
  'minatar/freeway': _MIRROR,
  'stochastic/2048': _SQUARE,
}
# Where the columns of a grid that is joined at its sides begin again: only so
# is Freeway's chicken, in column 4 of 10, its own mirror image.
_ROLLED = {'minatar/freeway': 9}
# Games of which actions are directions, and those that they must have.
_DIRECTIONAL = {
  'minatar/asterix': ('noop', 'left', 'up', 'right', 'down'),
  'minatar/breakout': ('noop', 'left', 'right'),
  'minatar/freeway': ('noop', 'up', 'down'),
  'stochastic/2048': ('left', 'up', 'right', 'down'),
}
# In the order in which a quarter turn to the left takes each to the next.
_DIRECTIONS = ('up', 'left', 'down', 'right')


class Symmetries(NamedTuple):
  """G ways to turn a board, each with its effect on squares and actions.

  What stood at `squares[g, i]` comes to i, and so for actions; the identity is
  number 0.
  """

  squares: np.ndarray  # [G, H * W] i32
  actions: np.ndarray  # [G, A] i32
  inverse_actions: np.ndarray  # [G, A] i32, where each action goes.


def names() -> tuple[str, ...]:
  """Returns the environments whose symmetries are known."""
  return tuple(_GROUPS)


def make(spec: EnvSpec) -> Symmetries:
  """Returns the symmetries of an environment.

  Raises:
    UserError: they are not known, or its actions are not those of the game.
  """
  if spec.name not in _GROUPS:
    raise UserError(
      f'augment_symmetry = True: the symmetries of {spec.name} are not known; '
      f'allowed are {", ".join(_GROUPS)}'
    )
  directions = _DIRECTIONAL.get(spec.name, ())
  if directions:
    # Data from elsewhere need not name them.
    given = tuple(spec.action_names) or directions
    if given != directions or spec.num_actions != len(directions):
      raise UserError(
        f'augment_symmetry = True: {spec.name} has {spec.num_actions} actions '
        f'{given}; allowed are {directions}'
      )
  height, width = spec.observation_shape[:2]
  grid = np.arange(height * width).reshape(height, width)
  squares, actions = [], []
  for turns, flip in _GROUPS[spec.name]:
    turned = np.rot90(grid, turns)
    if flip:
      turned = np.roll(turned[:, ::-1], _ROLLED.get(spec.name, 0), axis=1)
    squares.append(turned.reshape(-1))
    if directions:
      moved = np.argsort([
        directions.index(_turned_action(name, turns, flip))
        for name in directions])
    elif spec.num_actions == width:  # One action per column.
      moved = turned[0]
    else:  # One per square, and perhaps a pass that stays what it is.
      rest = np.arange(height * width, spec.num_actions)
      moved = np.concatenate([turned.reshape(-1), rest])
    actions.append(moved)
  table = np.stack(actions).astype(np.int32)
  return Symmetries(
    np.stack(squares).astype(np.int32),
    table,
    np.argsort(table, axis=1).astype(np.int32),
  )


def _turned_action(name: str, turns: int, flip: bool) -> str:
  """Returns what an action becomes with a turned grid."""
  if name not in _DIRECTIONS:
    return name
  name = _DIRECTIONS[(_DIRECTIONS.index(name) + turns) % len(_DIRECTIONS)]
  return {'left': 'right', 'right': 'left'}.get(name, name) if flip else name


def augment(
  symmetries: Symmetries, rng_key: Array, sequence: Sequence
) -> Sequence:
  """Returns each sequence turned in a way drawn uniformly at random.

  Args:
    symmetries: of the game.
    rng_key: for the draw.
    sequence: [N, L, ...] with observations [N, rows, H, W, C], which must not
      hold actions.
  """
  num_sequences = sequence.action.shape[0]
  which = jax.random.randint(
    rng_key, (num_sequences,), 0, symmetries.squares.shape[0]
  )
  return jax.vmap(_turn)(
    jnp.asarray(symmetries.squares)[which],
    jnp.asarray(symmetries.actions)[which],
    jnp.asarray(symmetries.inverse_actions)[which],
    sequence,
  )


def _turn(
  squares: Array, actions: Array, inverse_actions: Array, sequence: Sequence
) -> Sequence:
  """Returns one sequence [L, ...] with its board turned."""
  seen = sequence.observation  # [rows, H, W, C]
  flat = seen.reshape(seen.shape[0], -1, seen.shape[-1])
  if sequence.candidates is None:
    sequence = sequence._replace(policy=sequence.policy[:, actions])
  else:  # The policy is of these, which go where actions go.
    sequence = sequence._replace(
      candidates=inverse_actions[sequence.candidates])
  return sequence._replace(
    observation=flat[:, squares].reshape(seen.shape),
    legal_actions=sequence.legal_actions[:, actions],
    action=inverse_actions[sequence.action],
  )
