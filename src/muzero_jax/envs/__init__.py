"""Environments behind one batched protocol: see `base` and `types`.

Each family is a module of its own, imported only when it is asked for, since
each rests on an optional package.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from muzero_jax import _lazy, types
from muzero_jax import config as config_lib
from muzero_jax.config import settings as settings_lib
from muzero_jax.envs import naming, rules, shapes
from muzero_jax.errors import MissingPackageError, UserError


class Package(NamedTuple):
  """What a family's environments come from."""

  name: str  # '' for this package itself.
  licence: str  # SPDX.


class _Wanted(NamedTuple):
  """Which environments are to be made."""

  settings: settings_lib.Environment
  num_envs: int
  evaluation: bool
  seed: int
  on_host: bool
  render: bool


class _Family(NamedTuple):
  """A family: its module, and how that is called."""

  module: str
  package: str  # What the module needs,
  extra: str  # and the extra that installs it.
  licence: str  # Of these environments, SPDX.
  names: Callable[[Any], tuple[str, ...]] = lambda module: module.names()
  spec: Callable[[Any, settings_lib.Environment], types.EnvSpec] = (
    lambda module, settings: module.spec(settings.env_id))
  make: Callable[[Any, _Wanted], types.AnyEnvironment] = (
    lambda module, wanted: module.make(
      wanted.settings.env_id, wanted.num_envs))


def _gymnasium(settings: settings_lib.Environment) -> dict[str, Any]:
  """Returns how environments of Gymnasium are made."""
  return dict(
    vectorisation=settings.vectorisation, time_limit=settings.time_limit,
    image_size=settings.image_size)


_FAMILIES = {
  'atari': _Family(
    'atari', 'ale-py', 'atari', 'GPL-2.0-only',
    spec=lambda module, settings: module.spec(settings),
    make=lambda module, wanted: module.make(
      wanted.settings, wanted.num_envs, evaluation=wanted.evaluation,
      seed=wanted.seed, on_host=wanted.on_host, render=wanted.render)),
  'board': _Family(
    'pgx_games', 'pgx', 'games', 'Apache-2.0',
    names=lambda module: module.BOARD_GAMES,
    spec=lambda module, settings: module.board_spec(settings.env_id),
    make=lambda module, wanted: module.make_board(
      wanted.settings.env_id, wanted.num_envs)),
  'classic': _Family('classic', '', '', 'Apache-2.0'),
  'continuous': _Family(
    'gymnax', 'gymnax', 'classic', 'Apache-2.0',
    spec=lambda module, settings: module.spec(
      settings.env_id, family='continuous'),
    make=lambda module, wanted: module.make(
      wanted.settings.env_id, wanted.num_envs, family='continuous')),
  'gymnasium': _Family(
    'gymnasium', 'gymnasium', 'gymnasium', 'MIT',
    spec=lambda module, settings: module.spec(
      settings.env_id, **_gymnasium(settings)),
    make=lambda module, wanted: module.make(
      wanted.settings.env_id, wanted.num_envs, seed=wanted.seed,
      render=wanted.render, **_gymnasium(wanted.settings))),
  'gymnax': _Family('gymnax', 'gymnax', 'classic', 'Apache-2.0'),
  'minatar': _Family(
    'pgx_games', 'pgx', 'games', 'GPL-3.0-only',
    names=lambda module: module.MINATAR_GAMES,
    spec=lambda module, settings: module.minatar_spec(settings.env_id),
    make=lambda module, wanted: module.make_minatar(
      wanted.settings.env_id, wanted.num_envs, repeat_action_probability=(
        wanted.settings.repeat_action_probability))),
  'pettingzoo': _Family(
    'pettingzoo', 'pettingzoo', 'pettingzoo', 'MIT',
    make=lambda module, wanted: module.make(
      wanted.settings.env_id, wanted.num_envs, seed=wanted.seed,
      render=wanted.render)),
  'physics': _Family('physics', 'brax', 'physics', 'Apache-2.0'),
  'stochastic': _Family(
    'pgx_games', 'pgx', 'games', 'Apache-2.0',
    names=lambda module: module.STOCHASTIC_GAMES,
    spec=lambda module, settings: module.stochastic_spec(settings.env_id),
    make=lambda module, wanted: module.make_stochastic(
      wanted.settings.env_id, wanted.num_envs)),
}
_MODULES = (
  'atari', 'backgammon', 'base', 'checks', 'classic', 'gymnasium',
  'gymnasium_ids', 'gymnasium_spaces', 'gymnax', 'naming', 'pettingzoo',
  'pgx_games', 'physics', 'random_play', 'rules', 'shapes',
)
_get_module, _ = _lazy.attach(__name__, _MODULES)


def __getattr__(name: str) -> Any:
  """Returns a module; that of a family raises where its package is missing."""
  for family in _FAMILIES.values():
    if family.module == name:
      return _import(family, 'this')
  return _get_module(name)


def __dir__() -> list[str]:
  return sorted({*globals(), *_MODULES})


def _import(family: _Family, who: str) -> ModuleType:
  """Returns the module of a family, on behalf of `who`.

  Raises:
    MissingPackageError: its package is missing; says what to install.
  """
  try:
    # Some libraries make arrays while they are imported.
    return shapes.in_32_bits(_get_module)(family.module)
  except ImportError as error:
    if not family.package:
      raise
    raise MissingPackageError(
      f'{who} needs {family.package}: '
      f'pip install "muzero_jax[{family.extra}]" ({error})'
    ) from error


def _module(name: str) -> ModuleType:
  """Returns the module of the family of that name.

  Raises:
    MissingPackageError: its package is missing; says what to install.
    UserError: no such family.
  """
  if name not in _FAMILIES:
    raise UserError(f'family: {name!r} is not one of {", ".join(_FAMILIES)}')
  return _import(_FAMILIES[name], f'family {name!r}')


def package(family: str) -> Package:
  """Returns the package of a family, with the licence of its environments.

  Raises:
    UserError: no such family.
  """
  if family not in _FAMILIES:
    raise UserError(f'family: {family!r} is not one of {", ".join(_FAMILIES)}')
  return Package(_FAMILIES[family].package, _FAMILIES[family].licence)


def names(family: str) -> tuple[str, ...]:
  """Returns the environments of a family.

  Raises:
    MissingPackageError: its package is missing; says what to install.
    UserError: no such family.
  """
  module = _module(family)
  return _FAMILIES[family].names(module)


def check_env_id(family: str, env_id: str) -> str:
  """Returns the family's own spelling of `env_id`, building nothing.

  Raises:
    MissingPackageError: the family's package is missing; says what to install.
    UserError: no such family or environment; names the nearest.
  """
  if family == 'gymnasium':
    # Here versions are part of the name.
    return _module(family).check_env_id(env_id)
  name = naming.resolve_name(family, env_id, names(family))
  if _FAMILIES[family].module == 'gymnax':
    # Its names are shared by two families.
    _module(family).spec(name, family=family)
  return name


def make(
  config: config_lib.Config,
  *,
  num_envs: int | None = None,
  evaluation: bool = False,
  seed: int | None = None,
  render: bool = False,
) -> types.AnyEnvironment:
  """Returns the environment of a Config.

  Args:
    config: `family`, `env_id` and the fields that its help assigns to them.
    num_envs: B; `config.num_envs` if None.
    evaluation: full games, whatever `config.episodic_life` says.
    seed: folded into the key of `init` on Atari and into the seed of `reset`
      on the host; `config.seed` if None. Other families are determined by
      their keys alone.
    render: environments that can be looked at, for pictures: those of Atari,
      Gymnasium and PettingZoo are then stepped by the host, and have a
      `render`. Other families are as ever, and drawn from their states.

  Raises:
    MissingPackageError: the family's package is missing; says what to install.
    UserError: names the field, its value and what is allowed.
  """
  make_one = shapes.in_32_bits(_FAMILIES[config.family].make)
  made = make_one(_module(config.family), _Wanted(
    settings=config.part(settings_lib.Environment),
    num_envs=config.num_envs if num_envs is None else num_envs,
    evaluation=evaluation,
    seed=config.seed if seed is None else seed,
    on_host=config.driver == 'sebulba',
    render=render,
  ))
  if config.time_limit and isinstance(made, types.Environment):
    return _get_module('base').with_time_limit(made, config.time_limit)
  return made


def spec_of(
  config: config_lib.Config, make_env: Callable[..., types.AnyEnvironment]
) -> types.EnvSpec:
  """Returns what the environments of a run look like, as cheaply as can be.

  Args:
    config: of the run.
    make_env: `make`, or a user's own function, which then makes one.
  """
  if make_env is make:
    return spec(config)
  return make_env(config, num_envs=1, evaluation=True).spec


def spec(config: config_lib.Config) -> types.EnvSpec:
  """Returns what the environments of a Config look like: `make(config).spec`.

  Builds no batch of environments, compiles nothing and checks nothing.

  Raises:
    MissingPackageError: the family's package is missing; says what to install.
    UserError: names the field, its value and what is allowed.
  """
  found = shapes.in_32_bits(_FAMILIES[config.family].spec)(
    _module(config.family), config.part(settings_lib.Environment))
  limit = config.time_limit
  if limit and limit < (found.max_episode_steps or limit + 1):
    return found._replace(max_episode_steps=limit)
  return found


def has_rules(env_name: str) -> bool:
  """Returns whether `make_rules` knows an environment.

  Raises:
    MissingPackageError: its package is missing; says what to install.
  """
  family, _, env_id = env_name.partition('/')
  return family == 'board' and env_id in names(family)


def make_rules(env_name: str) -> rules.Rules:
  """Returns the true rules of a game of two players.

  Args:
    env_name: as `EnvSpec.name` has it, for example 'board/connect_four'.

  Raises:
    MissingPackageError: its package is missing; says what to install.
    UserError: no such game.
  """
  family, _, env_id = env_name.partition('/')
  if family != 'board':
    raise UserError(
      f'env_name = {env_name!r} has no rules to play by; allowed are games of '
      'the family board, for example board/connect_four')
  return _module(family).make_rules(env_id)


def go_rules(env_name: str) -> rules.GoRules | None:
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
