"""Environments behind one batched protocol: see `base` and `types`.

Each family is a module of its own, imported only when it is asked for, since
each rests on an optional package.
"""

import importlib
from collections.abc import Callable
from types import ModuleType

from muzero_jax import _lazy, types
from muzero_jax import config as config_lib
from muzero_jax.envs import base
from muzero_jax.errors import MissingPackageError, UserError

__getattr__, __dir__ = _lazy.attach(__name__, (
  'atari', 'backgammon', 'classic', 'gymnasium', 'gymnax', 'pgx_games',
  'physics'))

# Family -> module, what it needs, and the extra that installs that.
_FAMILIES = {
  'atari': ('atari', 'ale-py', 'atari'),
  'board': ('pgx_games', 'pgx', 'games'),
  'classic': ('classic', '', ''),
  'continuous': ('gymnax', 'gymnax', 'classic'),
  'gymnasium': ('gymnasium', 'gymnasium', 'gymnasium'),
  'gymnax': ('gymnax', 'gymnax', 'classic'),
  'minatar': ('pgx_games', 'pgx', 'games'),
  'physics': ('physics', 'brax', 'physics'),
  'stochastic': ('pgx_games', 'pgx', 'games'),
}


def _module(family: str) -> ModuleType:
  """Returns the module of a family."""
  if family not in _FAMILIES:
    raise UserError(
      f'family: {family!r} is not one of {", ".join(_FAMILIES)}'
    )
  module, package, extra = _FAMILIES[family]
  try:
    return importlib.import_module(f'muzero_jax.envs.{module}')
  except ImportError as error:
    raise MissingPackageError(
      f'family {family!r} needs {package}: '
      f'pip install "muzero_jax[{extra}]" ({error})'
    ) from error


def names(family: str) -> tuple[str, ...]:
  """Returns the environments of a family.

  Raises:
    MissingPackageError: its package is missing; says what to install.
    UserError: no such family.
  """
  module = _module(family)
  if family == 'board':
    return module.BOARD_GAMES
  if family == 'minatar':
    return module.MINATAR_GAMES
  if family == 'stochastic':
    return module.STOCHASTIC_GAMES
  if family == 'classic':
    return module.NAMES
  return module.names()


def check_env_id(family: str, env_id: str) -> str:
  """Returns the family's own spelling of `env_id`, building nothing.

  Raises:
    MissingPackageError: the family's package is missing; says what to install.
    UserError: no such family or environment; names the nearest.
  """
  if family == 'gymnasium':
    # Here versions are part of the name.
    return _module(family).check_env_id(env_id)
  return base.resolve_name(family, env_id, names(family))


def make(
  config: config_lib.Config,
  *,
  num_envs: int | None = None,
  evaluation: bool = False,
  seed: int | None = None,
) -> types.AnyEnvironment:
  """Returns the environment of a Config.

  Args:
    config: `family`, `env_id` and the fields that its help assigns to them.
    num_envs: B; `config.num_envs` if None.
    evaluation: full games, whatever `config.episodic_life` says.
    seed: folded into the key of `init` on Atari and into the seed of `reset`
      on the host; `config.seed` if None. Other families are determined by
      their keys alone.

  Raises:
    MissingPackageError: the family's package is missing; says what to install.
    UserError: names the field, its value and what is allowed.
  """
  env_id = check_env_id(config.family, config.env_id)
  num_envs = config.num_envs if num_envs is None else num_envs
  module = _module(config.family)
  seed = config.seed if seed is None else seed
  if config.family == 'gymnasium':
    return module.make(
      env_id, num_envs, vectorisation=config.vectorisation, seed=seed)
  if config.family == 'continuous':
    return module.make(env_id, num_envs, family='continuous')
  if config.family == 'board':
    return module.make_board(env_id, num_envs)
  if config.family == 'stochastic':
    return module.make_stochastic(env_id, num_envs)
  if config.family == 'minatar':
    return module.make_minatar(
      env_id,
      num_envs,
      repeat_action_probability=config.repeat_action_probability,
    )
  if config.family == 'atari':
    return module.make(
      env_id,
      num_envs,
      frame_size=config.frame_size,
      grayscale=config.grayscale,
      frame_skip=config.frame_skip,
      noop_max=config.noop_max,
      repeat_action_probability=config.repeat_action_probability,
      full_action_set=config.full_action_set,
      episodic_life=config.episodic_life and not evaluation,
      max_episode_frames=config.max_episode_frames,
      num_threads=config.env_threads,
      seed=seed,
      on_host=config.driver == 'sebulba',
    )
  return module.make(env_id, num_envs)


def spec_of(
  config: config_lib.Config, make_env: Callable[..., types.AnyEnvironment]
) -> types.EnvSpec:
  """Return what the environments of a run look like, as cheaply as can be.

  Args:
    config: of the run.
    make_env: `make`, or a user's own function, which then makes one.
  """
  if make_env is make:
    return spec(config)
  return make_env(config, num_envs=1, evaluation=True).spec


def spec(config: config_lib.Config) -> types.EnvSpec:
  """Return what the environments of a Config look like."""
  return make(config, num_envs=1, evaluation=True).spec


def has_rules(env_name: str) -> bool:
  """Returns whether `make_rules` knows an environment.

  Raises:
    MissingPackageError: its package is missing; says what to install.
  """
  family, _, env_id = env_name.partition('/')
  return family == 'board' and env_id in names(family)


def make_rules(env_name: str) -> base.Rules:
  """Returns the true rules of a game of two players.

  Args:
    env_name: as `EnvSpec.name` has it, for example 'board/connect_four'.

  Raises:
    MissingPackageError: its package is missing; says what to install.
    UserError: no such game.
  """
  family, _, env_id = env_name.partition('/')
  if family != 'board':
    raise UserError(f'{env_name}: only board games have rules to play by')
  return _module(family).make_rules(env_id)


def go_rules(env_name: str) -> base.GoRules | None:
  """Returns the board and the komi of a game of Go; None of other games.

  Args:
    env_name: as `EnvSpec.name` has it, for example 'board/go_9x9'.

  Raises:
    MissingPackageError: its package is missing; says what to install.
  """
  family, _, env_id = env_name.partition('/')
  if family != 'board' or env_id not in _module(family).GO_GAMES:
    return None
  return _module(family).go_rules(env_id)
