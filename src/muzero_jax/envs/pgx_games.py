"""Board games, games of chance and MinAtar on pgx, behind `envs.make`.

pgx's `step` is used without its `auto_reset`, which would replace the final
observation of an episode.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pgx
from pgx import go as pgx_go

from muzero_jax import types
from muzero_jax.envs import backgammon, base, naming, rules, shapes
from muzero_jax.errors import UserError

# Two players, no chance, and a pass (where there is one) is an action, so that
# turns alternate.
BOARD_GAMES = (
  'animal_shogi', 'chess', 'connect_four', 'gardner_chess', 'go_19x19',
  'go_9x9', 'hex', 'othello', 'shogi', 'tic_tac_toe',
)
GO_GAMES = ('go_19x19', 'go_9x9')
# Games of chance: for one player, and for two who do not alternate.
STOCHASTIC_GAMES = ('2048', 'backgammon')
_2048_ACTIONS = ('left', 'up', 'right', 'down')
_MINATAR_ACTIONS = {
  'asterix': ('noop', 'left', 'up', 'right', 'down'),
  'breakout': ('noop', 'left', 'right'),
  'freeway': ('noop', 'up', 'down'),
  'seaquest': ('noop', 'left', 'up', 'right', 'down', 'fire'),
  'space_invaders': ('noop', 'left', 'right', 'fire'),
}
MINATAR_GAMES = tuple(_MINATAR_ACTIONS)


def board_spec(name: str) -> types.EnvSpec:
  """Returns what `make_board`'s environments look like, building none.

  Raises:
    UserError: no such game; names the nearest.
  """
  return _spec(_board(name))


def make_board(
  name: str, num_envs: int, *, move_limit: int = 0
) -> types.Environment:
  """Returns B games of two players with the rules of pgx.

  Reward is +1, 0 or -1 with the last move, to the player who made it. The
  observation is from the viewpoint of the player to move. Which player opens
  is drawn anew for each game. An illegal move loses at once, and in Go so does
  repeating a position, which `legal_actions` does not exclude.

  Args:
    name: one of BOARD_GAMES.
    num_envs: B.
    move_limit: of games of Go, other than the 2 * size^2 moves of pgx; 0 for
      these.

  Raises:
    UserError: no such game; names the nearest.
  """
  found = _board(name)
  if move_limit:
    found = found._replace(game=pgx_go.Go(
      size=found.game._game.size, max_terminal_steps=move_limit))
  return _make(found, num_envs)


def make_rules(name: str) -> rules.Rules:
  """Returns the true rules of a board game, for `make_board`'s states.

  Args:
    name: one of BOARD_GAMES.

  Raises:
    UserError: no such game; names the nearest.
  """
  name = naming.resolve_name('board', name, BOARD_GAMES)
  return rules.Rules(
    position=lambda batch: _unobserved(batch.state),
    step=functools.partial(_rules_step, pgx.make(name)),
    legal_actions=lambda state: (
      state.legal_action_mask & ~_is_over(state)[:, None]
    ),
    is_over=_is_over,
  )


def go_rules(name: str) -> rules.GoRules:
  """Returns the board and the komi of a game of GO_GAMES.

  Its rules: area scoring, stones still on the board count as alive; two passes
  end it, as do 2 * size^2 moves; whoever repeats a position loses.
  """
  game = pgx.make(name)._game
  return rules.GoRules(size=game.size, komi=game.komi)


def go_legal_actions(name: str) -> Callable[[Any], jax.Array]:
  """Returns which actions [A] are legal in a state of Go, whose `_x` it takes.

  That a game is over does not count.
  """
  return pgx.make(name)._game.legal_action_mask


def stochastic_spec(name: str) -> types.EnvSpec:
  """Returns what `make_stochastic`'s environments look like, building none.

  Raises:
    UserError: no such game; names the nearest.
  """
  return _spec(_stochastic(name))


def make_stochastic(name: str, num_envs: int) -> types.Environment:
  """Returns B games of chance with the rules of pgx.

  2048: the reward of a move is the sum of the tiles that it makes, so that the
  return is the game's score; a new tile, 2 or (one time in ten) 4, then
  appears on a free square.

  Backgammon: an action moves one checker by one die, or none where no die can
  be used, so that a player moves up to four times before the other rolls. The
  reward of the last move is 1, 2 for a gammon or 3 for a backgammon, to who
  made it. Observations are those of `backgammon.observe`. There is no doubling
  cube, and no rule that both dice must be used if they can.

  Args:
    name: one of STOCHASTIC_GAMES.
    num_envs: B.

  Raises:
    UserError: no such game; names the nearest.
  """
  return _make(_stochastic(name), num_envs)


def minatar_spec(name: str, *, max_episode_steps: int = 0) -> types.EnvSpec:
  """Returns what `make_minatar`'s environments look like, building none.

  Raises:
    UserError: no such game; names the nearest.
  """
  return _spec(_minatar(name, 0.0, max_episode_steps))


def make_minatar(
  name: str,
  num_envs: int,
  *,
  repeat_action_probability: float = 0.1,
  max_episode_steps: int = 0,
) -> types.Environment:
  """Returns B MinAtar games with the minimal action set.

  Args:
    name: one of MINATAR_GAMES.
    num_envs: B.
    repeat_action_probability: sticky actions; 0.1 is what MinAtar's published
      figures use.
    max_episode_steps: time limit; 0 for none, as in MinAtar (its Freeway ends
      after 2500 steps).

  Raises:
    UserError: no such game, naming the nearest; or no probability.
  """
  if not 0 <= repeat_action_probability <= 1:
    raise UserError(
      f'repeat_action_probability: {repeat_action_probability} is not in '
      '[0, 1]'
    )
  return _make(
    _minatar(name, repeat_action_probability, max_episode_steps), num_envs)


def _observation(state: Any) -> jax.Array:
  return state.observation


class _Game(NamedTuple):
  """A game of pgx, and what pgx does not say of it."""

  name: str  # For example "board/chess".
  game: pgx.Env
  action_names: tuple[str, ...] = ()
  max_episode_steps: int = 0
  observe: Callable[[Any], jax.Array] = _observation
  alternates: bool = True


def _board(name: str) -> _Game:
  name = naming.resolve_name('board', name, BOARD_GAMES)
  return _Game(f'board/{name}', pgx.make(name))


def _stochastic(name: str) -> _Game:
  name = naming.resolve_name('stochastic', name, STOCHASTIC_GAMES)
  found = _Game(f'stochastic/{name}', pgx.make(name))
  if name == 'backgammon':
    return found._replace(observe=backgammon.observe, alternates=False)
  return found._replace(action_names=_2048_ACTIONS)


def _minatar(
  name: str, repeat_action_probability: float, max_episode_steps: int
) -> _Game:
  name = naming.resolve_name('minatar', name, MINATAR_GAMES)
  # pgx.make takes no options, its classes do; the instance knows its class.
  game = type(pgx.make(f'minatar-{name}'))(
    use_minimal_action_set=True, sticky_action_prob=repeat_action_probability
  )
  return _Game(
    f'minatar/{name}', game, _MINATAR_ACTIONS[name], max_episode_steps)


@shapes.in_32_bits
def _spec(found: _Game) -> types.EnvSpec:
  """Returns the spec of a game. Only its start is traced, never its rules."""
  state = jax.eval_shape(found.game.init, jax.random.key(0))
  observation = jax.eval_shape(found.observe, state)
  return types.EnvSpec(
    name=found.name,
    observation_shape=observation.shape,
    observation_dtype=np.dtype(observation.dtype),
    num_actions=state.legal_action_mask.shape[0],
    num_players=found.game.num_players,
    max_episode_steps=found.max_episode_steps,
    action_names=found.action_names,
    alternates=found.alternates,
  )


def _make(found: _Game, num_envs: int) -> types.Environment:
  """Returns B environments of a game."""
  return base.make_environment(
    _spec(found),
    num_envs,
    reset=found.game.init,
    step=functools.partial(_step, found.game),
    observe=found.observe,
    legal_actions=lambda state: state.legal_action_mask,
    to_play=lambda state: state.current_player,
  )


def _step(
  game: pgx.Env, state: Any, action: jax.Array, rng_key: jax.Array
) -> base.Transition:
  mover = state.current_player
  # MinAtar draws its spawns and sticky actions from the key, games of chance
  # what falls; boards ignore it.
  state = game.step(state, action, rng_key)
  return base.Transition(
    state=state,
    reward=jnp.float32(state.rewards[mover]),
    terminated=state.terminated,
    truncated=state.truncated,
  )


@shapes.in_32_bits
def _rules_step(
  game: pgx.Env, state: Any, action: jax.Array
) -> tuple[Any, jax.Array]:
  mover = state.current_player[:, None]
  state = jax.vmap(game.step)(state, action)
  reward = jnp.take_along_axis(state.rewards, mover, axis=1)[:, 0]
  return _unobserved(state), reward.astype(jnp.float32)


def _is_over(state: Any) -> jax.Array:
  return state.terminated | state.truncated


def _unobserved(state: Any) -> Any:
  """Returns states with empty observations.

  The rules never read them, and they are most of what a tree would store.
  """
  return state.replace(observation=state.observation[:, :0])
