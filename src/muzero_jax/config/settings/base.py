"""One field of a settings record, and what all records share."""

import dataclasses
import difflib
import math
import numbers
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from muzero_jax.errors import UserError

_R = TypeVar('_R', bound='Record')
# Of what a compiled step counts or compares: integers have 32 bits there.
MOST_COUNTED = 2**31 - 1


def field(
  default: Any,
  help: str,  # pylint: disable=redefined-builtin
  *,
  low: float | None = None,
  high: float | None = None,
  choices: tuple[str, ...] | None = None,
  optional: bool = False,
  families: tuple[str, ...] = (),
) -> Any:
  """Make a dataclass field with its description and allowed values.

  Args:
    default: its default, which stands here alone.
    help: what it is, for `--help`.
    low: least value allowed; of a tuple, of each entry.
    high: largest value allowed; likewise.
    choices: the only texts allowed.
    optional: of a text: whether it may be empty.
    families: of environments, for which alone it does something; if empty,
      for all. --help lists it first for those.
  """
  metadata = dict(
    help=help, low=low, high=high, choices=choices, optional=optional,
    families=families)
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
  """Base of all settings records: frozen, each field checked by itself.

  A subclass defines fields with `field` and, in `_check`, what its fields must
  be to each other. Records can be composed by inheritance: the checks of all
  are made. Whole numbers given for real fields, and lists or single numbers
  given for tuples, are converted.

  Raises:
    UserError: names the field, its value and what is allowed.
  """

  def __post_init__(self) -> None:
    for item in dataclasses.fields(self):
      value = check(item, getattr(self, item.name))
      object.__setattr__(self, item.name, value)
    for record in reversed(type(self).__mro__):
      if own_check := record.__dict__.get('_check'):
        own_check(self)

  def part(self, record: type[_R]) -> _R:
    """Return the part of these settings that `record` describes."""
    return record(**{
      item.name: getattr(self, item.name)
      for item in dataclasses.fields(record)
    })


def allowed(item: dataclasses.Field) -> str:
  """Return what a field accepts, in words, for help and errors."""
  low, high = item.metadata['low'], item.metadata['high']
  if item.metadata['choices']:
    return 'one of ' + ', '.join(item.metadata['choices'])
  if item.type is bool:
    return 'true or false'
  if item.type is str:
    return 'a path, or nothing' if item.metadata['optional'] else 'a name'
  entry = (typing.get_args(item.type) or (None,))[0]
  kind = 'one or more ' + ('whole numbers' if entry is int else 'numbers')
  if item.type in (int, float):
    kind = 'a whole number' if item.type is int else 'a number'
  if low is not None and high is not None:
    return f'{kind} from {_number(low)} to {_number(high)}'
  if low is not None:
    return f'{kind}, at least {_number(low)}'
  return kind


def check(item: dataclasses.Field, value: Any) -> Any:
  """Return `value` in the type of a field.

  Raises:
    UserError: names the field, its value and what is allowed.
  """
  try:
    is_none = item.metadata['optional'] and value == ''
    converted = '' if is_none else _convert(item.type, value)
  except (TypeError, OverflowError):
    raise _refusal(item, value) from None
  entries = converted if isinstance(converted, tuple) else (converted,)
  low, high = item.metadata['low'], item.metadata['high']
  choices = item.metadata['choices']
  for entry in entries:
    outside = (
      (choices is not None and entry not in choices)
      or (low is not None and entry < low)
      or (high is not None and entry > high))
    if outside:
      raise _refusal(item, value)
  return converted


def nearest(name: str, known: Iterable[str]) -> str:
  """Return "; did you mean x?" for the known name nearest to `name`, or ""."""
  matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
  return f'; did you mean {matches[0]}?' if matches else ''


def text(value: Any) -> str:
  """Return a field's value as a flag has it."""
  if isinstance(value, tuple):
    return ','.join(map(text, value))
  return str(value).lower() if isinstance(value, bool) else str(value)


def _convert(kind: Any, value: Any) -> Any:
  """Return `value` as `kind`; TypeError where that would change it."""
  if kind is bool:
    valid = isinstance(value, bool)
  elif kind is str:
    valid = isinstance(value, str) and bool(value)
  elif isinstance(value, bool):  # An int to Python, a mistake here.
    valid = False
  elif kind is int:
    valid = isinstance(value, numbers.Integral)
  elif kind is float:
    valid = isinstance(value, numbers.Real) and math.isfinite(value)
  else:
    if isinstance(value, numbers.Real):  # One entry, as older runs stored it.
      value = (value,)
    if not isinstance(value, (tuple, list)) or not value:
      raise TypeError
    entry_kind = typing.get_args(kind)[0]
    return tuple(_convert(entry_kind, entry) for entry in value)
  if not valid:
    raise TypeError
  return kind(value)


def _number(value: float) -> str:
  return str(int(value)) if value == int(value) else str(value)


def _refusal(item: dataclasses.Field, value: Any) -> UserError:
  known = item.metadata['choices']
  hint = nearest(value, known) if known and isinstance(value, str) else ''
  return UserError(f'{item.name} = {value!r} is not {allowed(item)}{hint}')
