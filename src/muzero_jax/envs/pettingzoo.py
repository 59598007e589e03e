"""PettingZoo's classic games of two players, stepped by the host.

Those in which both see everything and take turns. pgx has some of them in JAX,
which is far faster: see the family `board`.
"""

import importlib
from typing import Any

import numpy as np

from muzero_jax import types
from muzero_jax.envs import naming
from muzero_jax.errors import MissingPackageError, UserError

GAMES = ('chess_v6', 'connect_four_v3', 'go_v5', 'tictactoe_v3')


def names() -> tuple[str, ...]:
  """Returns the games."""
  return GAMES


def spec(name: str) -> types.EnvSpec:
  """Returns what `make`'s environments look like, from one that it closes.

  Errors are those of `make`.
  """
  game = _make_one(name)
  try:
    return _spec(name, game)
  finally:
    game.close()


def make(
  name: str, num_envs: int, *, seed: int = 0, render: bool = False
) -> types.HostEnvironment:
  """Returns B games of PettingZoo.

  Observations are those of whoever is to move. A reward is that of whoever
  moved.

  Args:
    name: one of `names`.
    num_envs: B.
    seed: the seed given to `reset` is folded into it.
    render: whether they can be looked at, by `HostEnvironment.render`.

  Raises:
    MissingPackageError: a package is missing that the game needs.
    UserError: no such game, or num_envs below 1.
  """
  if num_envs < 1:
    raise UserError(f'num_envs: {num_envs} is not at least 1')
  host = _Host(name, spec(name), num_envs, seed, render)
  return types.HostEnvironment(
    host.spec, host.reset, host.step, host.close,
    render=host.render if render else None)


class _Host:
  """B games, and which of them have just ended."""

  def __init__(
    self, name: str, spec: types.EnvSpec, num_envs: int, seed: int,
    renders: bool,
  ) -> None:
    self.spec = spec
    self._mode = 'rgb_array' if renders else None
    self._name, self._num_envs, self._seed = name, num_envs, seed
    self._games: list[_Game] = []

  def reset(self, seed: int) -> types.TimeStep:
    """Returns the first rows of new games."""
    if not self._games:
      self._games = [
        _Game(_make_one(self._name, self._mode))
        for _ in range(self._num_envs)]
    seeds = np.random.SeedSequence([self._seed, seed]).generate_state(
      self._num_envs)
    return self._rows([
      game.reset(int(number) >> 2) for game, number in zip(self._games, seeds)])

  def step(self, action: Any) -> types.TimeStep:
    """Returns the rows that the actions [B] lead to."""
    assert self._games, 'reset comes first'
    return self._rows([
      game.step(int(one)) for game, one in zip(self._games, action)])

  def render(self, index: int) -> np.ndarray | None:
    """Returns PettingZoo's picture [H, W, 3] of one game."""
    return self._games[index].render()

  def close(self) -> None:
    """Closes the games, if there are any."""
    for game in self._games:
      game.close()
    self._games = []

  def _rows(self, rows: list[types.TimeStep]) -> types.TimeStep:
    """Returns a row [B] of single ones."""
    row: Any = types.TimeStep
    dtypes = row(
      observation=self.spec.observation_dtype, reward=np.float32,
      discount=np.float32, is_first=bool, is_last=bool, legal_actions=bool,
      to_play=np.int32)
    return row(*(
      np.stack(parts).astype(dtype)
      for parts, dtype in zip(zip(*rows), dtypes)))


class _Game:
  """One game, which starts anew with the step after its last row."""

  def __init__(self, env: Any) -> None:
    self._env = env
    self._is_last = False

  def reset(self, seed: int | None = None) -> types.TimeStep:
    """Returns the first row of a new game."""
    self._env.reset(seed=seed)
    self._is_last = False
    return self._row(0.0, is_first=True)

  def step(self, action: int) -> types.TimeStep:
    """Returns the row that an action leads to."""
    if self._is_last:
      return self.reset()
    mover = self._env.agent_selection
    self._env.step(action)
    self._is_last = bool(
      any(self._env.terminations.values())
      or any(self._env.truncations.values()))
    row: Any = self._row(float(self._env.rewards[mover]), is_first=False)
    # Whoever moved, the other one would be next.
    return row._replace(to_play=1 - self._number(mover))

  def render(self) -> np.ndarray | None:
    """Returns a picture [H, W, 3]."""
    return self._env.render()

  def close(self) -> None:
    """Closes the game."""
    self._env.close()

  def _number(self, player: str) -> int:
    return list(self._env.possible_agents).index(player)

  def _row(self, reward: float, *, is_first: bool) -> types.TimeStep:
    player = self._env.agent_selection
    seen = self._env.observe(player)
    legal = np.asarray(seen['action_mask']) != 0
    is_over = self._is_last and any(self._env.terminations.values())
    row: Any = types.TimeStep
    return row(
      observation=seen['observation'], reward=reward,
      discount=0.0 if is_over else 1.0, is_first=is_first,
      is_last=self._is_last, legal_actions=legal | self._is_last,
      to_play=self._number(player))


def _make_one(name: str, render_mode: str | None = None) -> Any:
  """Returns one game of PettingZoo.

  Raises:
    MissingPackageError, UserError: as `make` does.
  """
  name = naming.resolve_name('pettingzoo', name, GAMES)
  try:
    return importlib.import_module(f'pettingzoo.classic.{name}').env(
      render_mode=render_mode)
  except ImportError as error:
    raise MissingPackageError(
      f'env_id = {name!r} needs a package that is missing: {error} '
      '(pip install "muzero_jax[pettingzoo]")') from error


def _spec(name: str, game: Any) -> types.EnvSpec:
  """Returns what the arrays of a game look like."""
  player = game.possible_agents[0]
  space = game.observation_space(player)['observation']
  is_flags = bool((space.low == 0).all() and (space.high == 1).all())
  return types.EnvSpec(
    name=f'pettingzoo/{naming.resolve_name("pettingzoo", name, GAMES)}',
    observation_shape=tuple(int(n) for n in space.shape),
    observation_dtype=np.dtype(np.bool_ if is_flags else np.float32),
    num_actions=int(game.action_space(player).n),
    num_players=2,
  )
