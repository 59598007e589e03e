"""Paths as users type them: `~` is a home directory, never a file's name."""

import os

from muzero_jax.errors import UserError


def expand(path: str | os.PathLike, name: str) -> str:
  """Return a path with a leading `~` or `~user` made a home directory.

  Args:
    path: as a user gave it; one without a leading `~` is returned as it is.
    name: of the flag or argument, for the message.

  Raises:
    UserError: there is no such home directory, or a NUL character.
  """
  text = os.fsdecode(path)
  if '\0' in text:
    raise UserError(f'{name} = {text!r} is no path: it has a NUL character')
  if not text.startswith('~'):
    return text
  expanded = os.path.expanduser(text)
  # An empty or a relative HOME would name some other place without a word.
  if not os.path.isabs(expanded) or (
      text.partition('/')[0] == '~' and os.environ.get('HOME') == ''):
    home = text.partition('/')[0]
    raise UserError(
      f'{name} = {text!r}: {home} is no home directory that is known here; '
      f'write it out, or ./{text} for a name that begins with ~')
  return expanded
