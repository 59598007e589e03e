"""Names of environments, in whatever spelling a user gives them."""

import difflib
import re
from collections.abc import Iterable

from muzero_jax.errors import UserError


def _plain(name: str) -> str:
  """Returns a name without the decorations that libraries put around it."""
  name = re.sub(r'^ale/', '', name.lower())
  name = re.sub(r'[-_]v\d+$', '', name)
  name = re.sub(r'(noframeskip|deterministic)$', '', name)
  return re.sub(r'[^a-z0-9]', '', name)


def resolve_name(family: str, name: str, names: Iterable[str]) -> str:
  """Returns the one of `names` that `name` spells.

  Case, underscores, "ALE/", "NoFrameskip" and versions make no difference:
  "ALE/MsPacman-v5" is "ms_pacman".

  Raises:
    UserError: there is none; the message gives the nearest.
  """
  names = sorted(names)
  plain = {_plain(known): known for known in names}
  if _plain(name) in plain:
    return plain[_plain(name)]
  near = difflib.get_close_matches(_plain(name), plain, n=3, cutoff=0.5)
  hint = (
    'nearest: ' + ', '.join(plain[n] for n in near)
    if near
    else 'known: ' + ', '.join(names)
  )
  raise UserError(f'env_id: no {family} environment {name!r}; {hint}')
