"""The one configuration of a run: all settings records, composed.

It opens the data flow: flags and presets become a Config, and `drivers.build`
hands each part its own record. Nothing here imports jax, so that a mistake is
refused before anything slow starts.
"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from muzero_jax import console, files
from muzero_jax.config import (
  imports,
  legacy,
  presets,
  settings,
  validation,
)
from muzero_jax.config.settings import base
from muzero_jax.config.settings.base import nearest
from muzero_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(
  settings.Environment,
  settings.Driver,
  settings.Architecture,
  settings.Heads,
  settings.Search,
  settings.Acting,
  settings.Learning,
  settings.LossWeights,
  settings.Optimiser,
  settings.Run,
):
  """Everything that determines a run.

  Its fields are those of all records in `settings`, flat, as flags and
  config.json have them; `config.part(settings.Optimiser)` gives one record.

  Units: *step* is one agent step of one environment (four frames on Atari),
  *row* one stored moment (a step or an episode's last row), *update* one
  optimiser step.

  Raises:
    UserError: names the field, its value and what is allowed.
  """

  def _check(self) -> None:
    validation.check(self)

  @property
  def capacity_rows_per_env(self) -> int:
    """Return the replay rows per environment, a whole number of rollouts."""
    rows = self.replay_capacity // self.num_envs
    return rows - rows % self.rollout_length

  @property
  def window_rows(self) -> int:
    """Return the least rows per environment from which one can train."""
    return self.unroll_steps + self.td_steps + self.stacked_frames + 1

  @property
  def total_steps(self) -> int:
    """Return the environment steps of the run; offline, its updates."""
    return self.offline_updates if self.dataset else self.num_steps

  @property
  def replay_rows(self) -> int:
    """Return the rows that the replay really holds, over all environments."""
    return self.capacity_rows_per_env * self.num_envs


def _fields() -> dict[str, dataclasses.Field]:
  """Return the fields of `Config`, part by part."""
  by_name = {item.name: item for item in dataclasses.fields(Config)}
  names = dict.fromkeys(
    item.name for part in settings.PARTS for item in dataclasses.fields(part))
  return {name: by_name.pop(name) for name in names} | by_name


FIELDS: dict[str, dataclasses.Field] = _fields()

# What may differ when a run is resumed: none of it changes what was learnt, but
# another num_steps (or offline_updates) stretches what is left of the
# schedules, and another num_devices draws other random numbers from there on.
RESUMABLE_FIELDS = frozenset({
  'num_devices',
  'num_steps', 'offline_updates', 'log_period', 'checkpoint_period',
  'max_checkpoints', 'snapshot_period',
  'eval_episodes', 'eval_period', 'eval_envs', 'eval_simulations',
  'env_threads',
  'on_worker_error', 'worker_timeout',
})


def allowed(name: str) -> str:
  """Return what field `name` accepts, in words, for help and errors."""
  return base.allowed(FIELDS[name])


def check(name: str, value: Any) -> Any:
  """Return `value` in the type of field `name`.

  Raises:
    UserError: names the field, its value and what is allowed.
  """
  return base.check(FIELDS[name], value)


def from_preset(name: str, **overrides: Any) -> Config:
  """Return the Config of a preset, with some of its fields replaced.

  Raises:
    UserError: no such preset or field, or a value that is not allowed.
  """
  if name not in presets.PRESETS:
    raise UserError(
      f'preset = {name!r} is not one of {", ".join(presets.PRESETS)}'
      + nearest(name, presets.PRESETS))
  return from_fields({**presets.PRESETS[name], **overrides})


def nearest_preset(config: Config) -> str:
  """Return the preset with the fewest other values.

  Empty where none is nearer than the defaults.
  """
  best, fewest = '', len(diff(config, Config()))
  for name in presets.PRESETS:
    different = len(diff(config, from_preset(name)))
    if different < fewest:
      best, fewest = name, different
  return best


def from_fields(fields: Mapping[str, Any]) -> Config:
  """Return a Config with these fields, the others at their defaults.

  Fields by the names and values of older versions are accepted, with a notice
  on stderr.

  Raises:
    UserError: an unknown field, with the nearest name, or a bad value.
  """
  current, notices = legacy.translate(fields)
  for name, line in notices.items():
    if current[name] != FIELDS[name].default:
      notice(line)
  for name in current:
    if name not in FIELDS:
      raise UserError(f'there is no field {name!r}' + nearest(name, FIELDS))
  return Config(**current)


def notice(line: str) -> None:
  """Print a line about old names on stderr."""
  console.say(f'notice: {line}', sys.stderr)


def to_json(config: Config) -> str:
  """Return `config` as JSON text, one field per line."""
  fields = {name: getattr(config, name) for name in FIELDS}
  return json.dumps(fields, indent=2) + '\n'


def from_json(
  text: str, *, allow_imports: str | Iterable[str] = ()
) -> Config:
  """Return the Config that `to_json` wrote; absent fields take defaults.

  Args:
    text: a JSON object.
    allow_imports: modules that it may have imported, as the `package.module`
      of an env_id "package.module:Name-v0".

  Raises:
    UserError: not a JSON object, an unknown field, a bad value, or an env_id
      that would import a module which is not allowed.
  """
  try:
    fields = files.parse_json(text)
  except ValueError as error:
    raise UserError(f'not a configuration: {error}') from None
  if not isinstance(fields, dict):
    raise UserError('not a configuration: a JSON object is needed')
  config = from_fields(fields)
  imports.refuse_stored(config, allow_imports)
  return config


def diff(a: Config, b: Config) -> dict[str, tuple[Any, Any]]:
  """Return the fields in which two Configs differ, as (a's, b's)."""
  pairs = {name: (getattr(a, name), getattr(b, name)) for name in FIELDS}
  return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
