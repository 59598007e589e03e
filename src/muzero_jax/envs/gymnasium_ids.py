"""What an env_id of the family `gymnasium` names, and how one is made.

  CartPole-v1             registered with Gymnasium
  package.module:Name-v0  registered when the module is imported,
  package.module:Name     or a function or class of that module
  path/to/file.py:Name    likewise, of a file

Whoever calls `check` has allowed the import: `config.from_json` refuses what
comes from a file.
"""

import difflib
import functools
import hashlib
import importlib.util
import inspect
import os
import pathlib
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import gymnasium

from muzero_jax import paths
from muzero_jax.config import imports
from muzero_jax.envs import gymnasium_spaces
from muzero_jax.errors import MissingPackageError, UserError

# How many a message lists of the environments that there are.
_MOST_NAMED = 3
_ATARI = re.compile(r'ALE/|.*(NoFrameskip|Deterministic)-v\d$|.*-ram-v\d$')
# Parts of a package error, and what to install.
_EXTRAS = (
  (('mujoco', 'MuJoCo', 'imageio'), 'mujoco', 'brings MuJoCo'),
  (('box2d', 'Box2D', 'pygame'), 'gymnasium', 'brings Box2D and pygame'),
)


def names() -> tuple[str, ...]:
  """Returns the ids of all registered environments."""
  return tuple(sorted(gymnasium.registry))


def without_folder(env_id: str) -> str:
  """Returns an id without the folder of its file, if it names one."""
  path, _, name = env_id.rpartition(':')
  if path.endswith(imports.FILE_ENDING):
    return f'{os.path.basename(path)}:{name}'
  return env_id


def check(env_id: str) -> str:
  """Returns `env_id`, if there is such an environment; makes none.

  Raises:
    MissingPackageError: the module in front of an id cannot be imported.
    UserError: no such environment or version; names the nearest.
  """
  if _is_atari(env_id):
    game = re.sub(r'(NoFrameskip|Deterministic|-ram)?-v\d$', '', env_id)
    raise UserError(
      f'env_id = {env_id!r} is a game of Atari, which has a family of its own: '
      f'python -m experiments.atari --env_id={game.removeprefix("ALE/")}')
  if own_maker(env_id) is not None:
    return env_id
  if env_id.endswith(imports.FILE_ENDING):
    raise UserError(
      f'env_id = {env_id!r} is a file: name the class or function in it, as '
      f'{env_id}:Name')
  name = env_id.rpartition(':')[2]
  try:
    gymnasium.spec(name)
  except gymnasium.error.Error as error:
    near = difflib.get_close_matches(
      name, list(gymnasium.registry), n=_MOST_NAMED, cutoff=0.5)
    hint = f'; nearest: {", ".join(near)}' if near else ''
    raise UserError(
      f'env_id: no gymnasium environment {env_id!r} ({error}){hint}'
    ) from None
  return env_id


def _is_atari(env_id: str) -> bool:
  """Returns whether an id is one of ALE's, registered or not."""
  known = gymnasium.registry.get(env_id)
  # Others may have chosen such names too, and registered them.
  is_others = known is not None and 'ale_py' not in str(known.entry_point)
  return bool(_ATARI.match(env_id)) and not is_others


def own_maker(env_id: str) -> Callable[..., gymnasium.Env] | None:
  """Returns what makes the environment of a user's module or file.

  Returns:
    None of an id that is registered, if only by importing the module. The
    function takes `render_mode`, which it passes on where it is understood.

  Raises:
    MissingPackageError: the module cannot be imported.
    UserError: it has nothing of that name, or it is no function or class.
  """
  place, colon, name = env_id.rpartition(':')
  if not colon:
    return None
  module = _load(env_id, place)
  if name in gymnasium.registry or not name.isidentifier():
    return None
  found = getattr(module, name, None)
  if not callable(found):
    known = [key for key, value in vars(module).items()
             if callable(value) and not key.startswith('_')
             and getattr(value, '__module__', '') == module.__name__]
    raise UserError(
      f'env_id = {env_id!r}: {place} neither registers {name!r} with Gymnasium '
      'nor has a function or class of that name; it has '
      f'{", ".join(sorted(known)) or "none"}')
  return functools.partial(_call, env_id)


def _call(env_id: str, render_mode: str | None = None) -> gymnasium.Env:
  """Returns an environment of a user's own function, in whichever process."""
  place, _, name = env_id.rpartition(':')
  make = getattr(_load(env_id, place), name)
  if render_mode and 'render_mode' in inspect.signature(make).parameters:
    env = make(render_mode=render_mode)
  else:
    env = make()
  if not isinstance(env, gymnasium.Env):
    raise UserError(
      f'env_id = {env_id!r} makes a {type(env).__name__}, not a gymnasium.Env')
  return env


def _load(env_id: str, place: str) -> ModuleType:
  """Imports the module or the file in front of an id.

  Raises:
    MissingPackageError: it cannot be imported.
    UserError: it is no name of a module and no file.
  """
  if not imports.is_name(place):
    raise UserError(
      f'env_id = {env_id!r}: {place!r} is no name of a module, such as '
      'package.module, nor of a file, such as path/to/file.py')
  try:
    if place.endswith(imports.FILE_ENDING):
      return _load_file(env_id, place)
    return importlib.import_module(place)
  except UserError:
    raise
  except (Exception, SystemExit) as error:
    # Whatever it does while it is imported, a script that ends included.
    what = '' if isinstance(error, ImportError) else f'{type(error).__name__}: '
    raise MissingPackageError(
      f'env_id {env_id!r}: {place!r} cannot be imported: {what}{error}'
    ) from error


def _load_file(env_id: str, place: str) -> ModuleType:
  """Imports a file once, under a name that no module has."""
  path = pathlib.Path(paths.expand(place, 'env_id')).resolve()
  digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
  name = f'_muzero_jax_env_{digest}'
  if name in sys.modules:
    return sys.modules[name]
  if not path.is_file():
    raise UserError(f'env_id = {env_id!r}: there is no file {place}')
  spec = importlib.util.spec_from_file_location(name, path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  try:
    spec.loader.exec_module(module)
  except BaseException:
    del sys.modules[name]
    raise
  return module


def make_one(
  env_id: str, time_limit: int, *, render: bool = False
) -> gymnasium.Env:
  """Returns one environment whose spaces fit.

  Args:
    env_id: one that `check` accepts.
    time_limit: steps after which an episode is cut off; 0 for the
      environment's own.
    render: whether it renders arrays, if it can.

  Raises:
    MissingPackageError: a package is missing that it needs.
    UserError: its spaces do not fit, or it cannot be made.
  """
  maker = own_maker(env_id)
  limit: dict[str, Any] = dict(max_episode_steps=time_limit or None)
  try:
    if maker is None:
      name = env_id.rpartition(':')[2]
      if render and _renders(name):
        limit['render_mode'] = 'rgb_array'
      env = gymnasium.make(name, **limit)
    else:
      env = maker('rgb_array' if render else None)
      if time_limit:
        env = gymnasium.wrappers.TimeLimit(env, time_limit)
  except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
    raise MissingPackageError(
      f'env_id = {env_id!r} needs a package that is missing: {error}'
      f'{_extra(str(error))}') from error
  except gymnasium.error.Error as error:
    raise UserError(f'env_id = {env_id!r} cannot be made: {error}') from None
  return gymnasium_spaces.fit(env)


def _renders(name: str) -> bool:
  """Returns whether a registered environment says that it renders arrays."""
  env = gymnasium.make(name)
  try:
    return 'rgb_array' in (env.metadata.get('render_modes') or ())
  finally:
    env.close()


def _extra(message: str) -> str:
  """Returns which extra brings what a message misses; '' if none does."""
  if 'have been moved' in message:  # Gymnasium's oldest robots.
    return ''
  for words, extra, brings in _EXTRAS:
    if any(word in message for word in words):
      return f' (pip install "muzero_jax[{extra}]" {brings})'
  return ''
