"""Which settings a search tries, and from where to where.

A setting is written as on a command line: `learning_rate=1e-4:1e-2:log` is a
range, `td_steps=5,10,20` are choices. Nothing here imports jax, so that a
mistake is refused before anything slow starts.
"""

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from muzero_jax import config as config_lib
from muzero_jax.config import Config, command_line, settings
from muzero_jax.errors import UserError

_LOG = 'log'
# What two trials could not be compared by, or what no search may decide.
_OF_MACHINES = frozenset({
  'driver', 'num_devices', 'actor_threads', 'on_worker_error', 'worker_timeout',
})
_FIXED = {
  **{name: 'defines the environment'
     for name in (x.name for x in dataclasses.fields(settings.Environment))},
  **{name: 'says how long and from which seed a run is'
     for name in (x.name for x in dataclasses.fields(settings.Run))},
  **{name: 'says on what a run is computed' for name in _OF_MACHINES},
}
_EXAMPLES = (
  'learning_rate=1e-4:1e-2:log for a range, td_steps=5,10,20 for choices, '
  'temperature=1,0.5|1,1 for choices with commas')
# By how much the default space goes beyond the settings that it starts from.
_AROUND = 5.0
_DIGITS = 4  # Of a real number drawn from a range: more only look exact.


class Setting(NamedTuple):
  """One field that is tried: a range, or choices."""

  name: str
  text: str  # As it was written.
  low: float | None = None
  high: float | None = None
  is_log: bool = False
  # As flags have them, since only texts and numbers are stored in a study.
  choices: tuple[str, ...] = ()

  @property
  def is_whole(self) -> bool:
    """Return whether the values of a range are whole numbers."""
    return config_lib.FIELDS[self.name].type is int

  def value(self, drawn: Any) -> Any:
    """Return the field's value of what was drawn: a number, or a choice."""
    if self.choices:
      return command_line.value_of(self.name, str(drawn))
    if self.is_whole:
      return int(drawn)
    assert self.low is not None and self.high is not None
    rounded = float(f'{drawn:.{_DIGITS}g}')
    return min(max(rounded, self.low), self.high)

  def ends(self) -> tuple[Any, ...]:
    """Return the values that decide whether all are allowed."""
    found = self.choices or (self.low, self.high)
    return tuple(map(self.value, found))

  def holds(self, value: Any) -> bool:
    """Return whether a value of the field lies in it."""
    if self.choices:
      return value in self.ends()
    assert self.low is not None and self.high is not None
    return self.low <= value <= self.high

  def draw_of(self, value: Any) -> Any:
    """Return what has to be drawn for a value that lies in it."""
    if not self.choices:
      return value
    return self.choices[self.ends().index(value)]


def parse(texts: Sequence[str], base: Config) -> tuple[Setting, ...]:
  """Return the settings to try, each checked against a configuration.

  Args:
    texts: `field=low:high`, `field=low:high:log` or `field=a,b,c`; choices
      may be separated by | instead.
    base: the settings that a trial starts from.

  Raises:
    UserError: no such field, one that is not to be tried, a value that is not
      allowed, or one that does not fit the other settings.
  """
  space = tuple(map(_parse, texts))
  if not space:
    raise UserError(f'nothing is to be tuned: give --tune={_EXAMPLES}')
  names = [setting.name for setting in space]
  for name in names:
    if names.count(name) > 1:
      raise UserError(f'--tune={name} is given twice')
  for setting in space:
    for value in setting.ends():
      try:
        _replaced(base, {setting.name: value})
      except UserError as error:
        raise UserError(f'--tune={setting.text}: {error}') from None
  return space


def apply(
  base: Config, space: Sequence[Setting], drawn: Mapping[str, Any]
) -> Config:
  """Return a configuration with what was drawn for each setting.

  Raises:
    UserError: the values do not fit together.
  """
  return _replaced(base, {
    setting.name: setting.value(drawn[setting.name]) for setting in space})


def starting_point(
  base: Config, space: Sequence[Setting]
) -> dict[str, Any] | None:
  """Return what has to be drawn for the base itself; None if it is outside."""
  values = {setting: getattr(base, setting.name) for setting in space}
  if not all(setting.holds(value) for setting, value in values.items()):
    return None
  return {
    setting.name: setting.draw_of(value) for setting, value in values.items()}


def default(base: Config) -> list[str]:
  """Return a handful of settings to try around a configuration, as texts.

  The learning rate and the updates for each rollout, which decide how fast it
  learns; how far returns look ahead before they trust the network; what the
  value loss weighs; and whether sequences with large errors are drawn more
  often. Ranges end where the settings records end.
  """
  found = [
    _around(base, 'learning_rate', _AROUND),
    _around(base, 'updates_per_iteration', 2.0),
    _around(base, 'value_weight', 4.0),
  ]
  if base.value_target != 'monte_carlo':
    found.append(_around(base, 'td_steps', _AROUND, _fits(base, 'td_steps')))
  shares = sorted({0.0, 0.6, base.priority_alpha})
  found.append(f'priority_alpha={",".join(map(config_lib.text, shares))}')
  return [text for text in found if text]


def _replaced(base: Config, values: dict[str, Any]) -> Config:
  return dataclasses.replace(base, **values)


def _around(
  base: Config, name: str, factor: float,
  fits: Callable[[float], bool] = lambda value: True,
) -> str:
  """Return a range around a field's value, or '' where it is 0."""
  value, field = getattr(base, name), config_lib.FIELDS[name]
  low, high = value / factor, value * factor
  if field.type is int:
    low, high = max(round(low), 1), max(round(high), 2)
  low = max(low, field.metadata['low'] or low)
  high = min(high, field.metadata['high'] or high)
  while high > value and not fits(high):
    high = value + (high - value) // 2 if field.type is int else value
  if not value or low >= high:
    return ''
  ends = [f'{x:g}' if field.type is float else str(int(x)) for x in (low, high)]
  return f'{name}={ends[0]}:{ends[1]}:{_LOG}'


def _fits(base: Config, name: str) -> Callable[[float], bool]:
  """Return whether a value of a field is allowed beside all others."""

  def fits(value: float) -> bool:
    try:
      _replaced(base, {name: int(value)})
    except UserError:
      return False
    return True

  return fits


def _parse(text: str) -> Setting:
  """Return one setting, its values checked by themselves."""
  name, equals, values = (part.strip() for part in text.partition('='))
  name = name.removeprefix('--')
  if not equals or not values:
    raise UserError(f'--tune={text} is not a field with values: {_EXAMPLES}')
  if name not in config_lib.FIELDS:
    raise UserError(
      f'--tune={text}: there is no field {name!r}'
      + config_lib.nearest(name, config_lib.FIELDS))
  if name in _FIXED:
    raise UserError(
      f'--tune={text}: {name} {_FIXED[name]}, so that trials with different '
      'values could not be compared; give it as a flag')
  try:
    if ':' in values:
      return _range(name, text, values)
    return _choices(name, text, values)
  except UserError as error:
    raise UserError(f'--tune={text}: {error}') from None


def _range(name: str, text: str, values: str) -> Setting:
  kind = config_lib.FIELDS[name].type
  if kind not in (int, float):
    raise UserError(f'{name} has no range: it is '
                    f'{config_lib.allowed(name)}; give choices')
  parts = values.split(':')
  is_log = parts[-1] == _LOG
  if len(parts) != 2 + is_log:
    raise UserError('a range is low:high or low:high:log')
  low, high = (command_line.value_of(name, part) for part in parts[:2])
  if low >= high:
    raise UserError(f'the range starts at {low}, which is not below {high}')
  if is_log and low <= 0:
    raise UserError(f'a log range starts above 0, not at {low}')
  return Setting(name, text, low, high, is_log)


def _choices(name: str, text: str, values: str) -> Setting:
  is_tuple = typing.get_origin(config_lib.FIELDS[name].type) is tuple
  separator = '|' if '|' in values or is_tuple else ','
  found = [
    command_line.value_of(name, part.strip())
    for part in values.split(separator)]
  if len(set(found)) < len(found):
    raise UserError('a choice is there twice')
  if len(found) < 2:
    raise UserError('one value is no choice; give it as a flag')
  return Setting(
    name, text, choices=tuple(map(config_lib.text, found)))
