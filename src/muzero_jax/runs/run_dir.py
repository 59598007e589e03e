"""The configuration of a run: stored, read, held against flags and checkpoints.

Nothing here imports jax: a mistake is told before anything slow starts.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from muzero_jax import config as config_lib
from muzero_jax import files, paths
from muzero_jax.config import Config, imports, legacy, presets
from muzero_jax.errors import UserError
from muzero_jax.runs.manifest import DamageError

CONFIG_FILE = 'config.json'
# What a preset has and an environment may decide; see drivers.by_environment.
_LEFT_OPEN = ('augment_symmetry', 'num_channels', 'policy_head')
_RUN_FILES = (
  'checkpoints', 'metrics.jsonl', 'snapshots', 'best', 'evaluation.json')


def resolve(
  workdir: str | os.PathLike,
  given: dict[str, Any],
  base: Config,
  preset: str = '',
  allow_imports: str | Iterable[str] = (),
) -> Config:
  """Returns the Config of a run directory, new or resumed; writes nothing.

  A new directory gets `base` with the `given` fields. In one that has a
  configuration, that one holds; only RESUMABLE_FIELDS may be given anew.

  Args:
    workdir: the run directory.
    given: fields that a user has given.
    base: the preset, or the script's default.
    preset: its name where a user has given it.
    allow_imports: modules that a stored env_id may import; what the `given`
      env_id, or that of `base`, imports may be stored too.

  Raises:
    UserError: a bad value, or a directory that belongs to another
      configuration, naming each field that differs.
  """
  files.check_path('workdir', workdir)
  path = _config_path(workdir)
  typed = imports.module_of(str(given.get('env_id', base.env_id)))
  allowed = [*imports.check_names(allow_imports), *([typed] if typed else [])]
  stored = read_config(
    workdir, allow_imports=allowed) if _exists(path) else None
  _refuse_unwritable(path.parent)
  if stored is None:
    config = dataclasses.replace(base, **given)
    for name in _RUN_FILES:
      if _exists(path.parent / name):
        raise UserError(
          f'workdir {workdir} holds {name} but no {CONFIG_FILE}: it may be '
          'another run; choose another --workdir')
  else:
    _refuse_other_run(workdir, stored, given, base, preset)
    changes = {
      name: value for name, value in given.items()
      if name in config_lib.RESUMABLE_FIELDS
    }
    config = dataclasses.replace(stored, **changes)
  return config


def check_same_run(workdir: str | os.PathLike, config: Config) -> None:
  """Raises UserError where a run directory holds another configuration.

  RESUMABLE_FIELDS may differ. What `config` imports, its owner has allowed.
  """
  if not _exists(_config_path(workdir)):
    return
  module = imports.module_of(config.env_id)
  stored = read_config(workdir, allow_imports=(module,) if module else ())
  _refuse_other_run(workdir, stored, dataclasses.asdict(config), config, '')


def store(workdir: str | os.PathLike, config: Config) -> None:
  """Stores a Config in a run directory, which is made if need be.

  Not part of `resolve`: a configuration that turns out not to fit the
  environment or the machine must leave nothing behind.

  Raises:
    UserError: the directory cannot be written.
  """
  _write_config(_config_path(workdir), config)


def read_config(
  workdir: str | os.PathLike, *, allow_imports: str | Iterable[str] = ()
) -> Config:
  """Returns the Config stored in a run directory.

  Args:
    workdir: the run directory.
    allow_imports: modules that its env_id may import: a run directory may
      come from anywhere, and what it imports is run.

  Raises:
    UserError: there is none, it is damaged, or it would import a module that
      is not allowed.
  """
  files.check_path('workdir', workdir)
  path = _config_path(workdir)
  try:
    return config_lib.from_json(
      files.read_bytes(path).decode(), allow_imports=allow_imports)
  except FileNotFoundError:
    raise UserError(
      f'workdir {workdir} is not a run directory: it has no {CONFIG_FILE}'
    ) from None
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}') from None
  except ValueError as error:
    raise UserError(f'{path}: {error}') from None


def facts(config: Config, environment: str = '') -> dict[str, Any]:
  """Returns what a checkpoint keeps of what made it.

  Args:
    config: the configuration.
    environment: the name of its spec, which tells an environment of one's own
      from that which `env_id` names; empty where it is not known.
  """
  text = config_lib.to_json(config)
  found = dict(
    config=files.parse_json(text),
    config_sha256=hashlib.sha256(text.encode()).hexdigest())
  return {**found, 'environment': environment} if environment else found


def check_trained_with(
  workdir: str | os.PathLike, config: Config, environment: str = ''
) -> Callable[[Mapping[str, Any]], None]:
  """Returns a check that a checkpoint was made by this configuration.

  RESUMABLE_FIELDS may differ; checkpoints of older versions do not say it.

  Args:
    workdir: the run directory, for the message.
    config: as config.json has it.
    environment: the name of the spec it is restored for; empty for any.

  Returns:
    Facts of a manifest -> None; it raises UserError where the configuration
    was changed or the environment is another, and DamageError where the facts
    are none.
  """

  def check(there: Mapping[str, Any]) -> None:
    trained_on = there.get('environment', '')
    if not isinstance(trained_on, str):
      raise DamageError('its environment is no name')
    if environment and trained_on and environment != trained_on:
      raise UserError(
        f'workdir {workdir} was trained on {trained_on}, not on {environment}, '
        'which is what its configuration names: an environment of your own is '
        'given from Python, as make_env to train.run and agent.load')
    if 'config' not in there and 'config_sha256' not in there:
      return
    here = facts(config)
    if there.get('config_sha256') == here['config_sha256']:
      return
    if not isinstance(there.get('config'), dict):
      raise DamageError('it says no configuration')
    _refuse_changed(workdir, config, there['config'])

  return check


def _refuse_changed(
  workdir: str | os.PathLike, config: Config, there: dict[str, Any]
) -> None:
  """Raises UserError where a checkpoint was made with another configuration."""
  try:
    fields = legacy.translate(there)[0]
    made_with = {
      name: config_lib.check(name, fields.get(name, field.default))
      for name, field in config_lib.FIELDS.items()}
  except (UserError, TypeError) as error:
    raise DamageError(f'its configuration is none: {error}') from error
  changed = [
    f'{name} is {config_lib.text(getattr(config, name))} there, but the '
    f'checkpoint was trained with {config_lib.text(value)}'
    for name, value in made_with.items()
    if name not in config_lib.RESUMABLE_FIELDS
    and value != getattr(config, name)]
  if changed:
    raise UserError(
      f'{pathlib.Path(workdir) / CONFIG_FILE} has changed since the run was '
      f'saved: {", ".join(changed)}')


def _refuse_other_run(
  workdir: str | os.PathLike,
  stored: Config,
  given: dict[str, Any],
  base: Config,
  preset: str,
) -> None:
  """Raises UserError where flags ask for another run than the stored one."""
  asked = {name: getattr(base, name)
           for name in presets.PRESETS.get(preset, ())}
  for name, value in given.items():
    asked[name] = config_lib.check(name, value)
  differing = [
    f'{name} is {config_lib.text(getattr(stored, name))} there and '
    f'{config_lib.text(value)} here'
    for name, value in asked.items()
    if name not in config_lib.RESUMABLE_FIELDS
    and value != getattr(stored, name)
    # What the environment decided is stored in its place.
    and not (
      name == 'network' and 'auto' in (value, stored.network))
    and (name in given or name not in _LEFT_OPEN)
  ]
  if differing:
    raise UserError(
      f'workdir {workdir} belongs to a run with another configuration: '
      f'{", ".join(differing)}. Leave these flags out to resume it, or choose '
      'another --workdir')


def _config_path(workdir: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(paths.expand(workdir, 'workdir')) / CONFIG_FILE


def _exists(path: pathlib.Path) -> bool:
  try:
    return path.exists()
  except OSError as error:
    raise UserError(
      f'workdir {path.parent} cannot be read: {error.strerror}') from None


def _refuse_unwritable(workdir: pathlib.Path) -> None:
  """Raises UserError where it is plain that nothing can be written.

  Only writing shows the rest, but by then jax has been loaded.
  """
  there = workdir.absolute()
  while not there.exists():
    there = there.parent
  if not there.is_dir():
    raise UserError(
      f'workdir {workdir} cannot be written: {there} is not a directory')
  if not os.access(there, os.W_OK | os.X_OK):
    raise UserError(
      f'workdir {workdir} cannot be written: permission denied for {there}')


def _write_config(path: pathlib.Path, config: Config) -> None:
  """Writes config.json so that no reader ever sees half of it."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, config_lib.to_json(config).encode())
  except OSError as error:
    raise UserError(
      f'workdir {path.parent} cannot be written: {error.strerror}') from None
