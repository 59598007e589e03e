"""Which module a configuration imports, and who has allowed that.

Importing a module runs it. What a user types on a command line, or writes in
Python, is the user's own wish; what is read from a file is not: a run
directory may come from anywhere. So a stored configuration imports a module
only where that module is allowed by name.
"""

import typing
from collections.abc import Iterable

from muzero_jax.errors import UserError

if typing.TYPE_CHECKING:
  from muzero_jax.config.config import Config

# Of a module that is given by its path.
FILE_ENDING = '.py'


def module_of(env_id: str) -> str:
  """Return the module or file that "module:Name" imports; '' of a plain name.
  """
  return env_id.rpartition(':')[0]


def is_name(module: str) -> bool:
  """Return whether a text names a module with its packages, or a file of one.
  """
  if module.endswith(FILE_ENDING):
    return len(module) > len(FILE_ENDING) and ',' not in module
  return all(part.isidentifier() for part in module.split('.'))


def check_names(names: str | Iterable[str]) -> tuple[str, ...]:
  """Return names of modules as a tuple.

  Args:
    names: each by itself; a text is names separated by commas.

  Raises:
    UserError: one is no module's name.
  """
  if isinstance(names, str):
    names = names.split(',')
  found = tuple(name.strip() for name in names)
  for name in found:
    if not is_name(name):
      raise UserError(
        f'allow_import = {name!r} is no name of a module, such as '
        'package.module, nor of a file, such as path/to/file.py')
  return found


def refuse_stored(config: 'Config', allow_imports: str | Iterable[str]) -> None:
  """Check that a configuration from a file imports nothing unasked.

  Args:
    config: as it was stored.
    allow_imports: the modules that a user has named.

  Raises:
    UserError: it names another; nothing was imported.
  """
  if config.family != 'gymnasium':
    return
  module = module_of(config.env_id)
  if module and module not in check_names(allow_imports):
    raise UserError(
      f'env_id = {config.env_id!r} was stored, not typed, and would import '
      f'and so run the module {module!r}; if you trust it, add '
      f'--allow_import={module} (in Python allow_imports=({module!r},))')
