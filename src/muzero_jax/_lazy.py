"""Packages whose modules are imported when they are first named.

A command line is thus checked before jax is loaded.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType


def attach(
  package: str, modules: tuple[str, ...]
) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
  """Makes the `__getattr__` and `__dir__` of a package.

  Args:
    package: its full name.
    modules: names of its modules, those that it does not import itself.
  """

  def get(name: str) -> ModuleType:
    if name in modules:
      return importlib.import_module(f'{package}.{name}')
    raise AttributeError(f'module {package!r} has no attribute {name!r}')

  return get, lambda: sorted({*vars(sys.modules[package]), *modules})
