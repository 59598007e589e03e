"""Names and values of fields in older versions, for runs made with them."""

from collections.abc import Mapping
from typing import Any

from muzero_jax.errors import UserError

# Old name -> new name; the values mean the same.
RENAMED = {
  'stem_heads': 'attention_heads',
  'average_decay': 'ema_decay',
}
# Field -> old value -> new value.
RENAMED_VALUES = {
  'network': {'lines': 'rotation_equivariant', 'windows': 'k_in_a_row'},
}
# Fields that are gone -> the values with which they did nothing.
REMOVED: dict[str, tuple[Any, ...]] = {
  'gumbel_min_share': (0,),
  'gumbel_keep_prior': (False,),
  'proposal_share': (1,),
  'gumbel_maxvisit_init': (50,),
  'end_weight': (0,),
  'action_bins': (7,),  # Of a policy head that is gone, and so refused.
}


def translate(
  fields: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, str]]:
  """Return fields by today's names and values, and a notice for each change.

  Args:
    fields: by name, as any version has them; unknown ones stay as they are.

  Raises:
    UserError: a field that is gone did something, or one is given by its old
      and its new name.
  """
  current: dict[str, Any] = {}
  notices = {}
  for name, value in fields.items():
    if name in REMOVED:
      if value not in REMOVED[name]:
        raise UserError(
          f'{name} = {value!r}: this option was removed; allowed is '
          f'{REMOVED[name][0]!r}, which does nothing')
      continue
    new_name = RENAMED.get(name, name)
    if new_name != name:
      if new_name in fields:
        raise UserError(f'{name} is the old name of {new_name}: give one only')
      notices[new_name] = f'{name} is called {new_name} now'
    values = RENAMED_VALUES.get(new_name, {})
    if isinstance(value, str) and value in values:
      notices[new_name] = f'{name} = {value} is called {values[value]} now'
      value = values[value]
    current[new_name] = value
  return current, notices
