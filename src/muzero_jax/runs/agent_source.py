"""Where an agent is: a run directory, a file, or shipped with this package.

Nothing here imports jax: a mistake is told before anything slow starts.
"""

import os
import pathlib
from collections.abc import Iterable

from muzero_jax import config as config_lib
from muzero_jax import files, paths
from muzero_jax.config import Config
from muzero_jax.errors import UserError
from muzero_jax.runs import agent_file, run_dir

FOLDER = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'agents'


def shipped() -> tuple[str, ...]:
  """Returns the names of the agents that this package brings."""
  return tuple(sorted(
    path.stem for path in FOLDER.glob(f'*{agent_file.SUFFIX}')))


def find_file(where: str | os.PathLike) -> str:
  """Returns the agent file that is meant; '' for a run directory.

  Whatever is there in the file system is meant before a shipped agent's name.

  Args:
    where: a run directory, an agent file, or one of `shipped`.

  Raises:
    UserError: there is nothing of that name.
  """
  files.check_path('workdir', where)
  path = paths.expand(where, 'workdir')
  names = shipped()
  if os.path.isdir(path or '.'):
    if path in names and not os.path.lexists(
        os.path.join(path, run_dir.CONFIG_FILE)):
      raise UserError(
        f'workdir {path} is not a run directory: it has no '
        f'{run_dir.CONFIG_FILE}; the shipped agent of that name is loaded '
        'where no such directory is')
    return ''
  if os.path.lexists(path):
    return path
  if path in names:
    return str(FOLDER / f'{path}{agent_file.SUFFIX}')
  if path.endswith(agent_file.SUFFIX):
    raise UserError(f'workdir {path}: there is no such agent file')
  raise UserError(
    f'workdir {path} is not a run directory: there is no '
    f'{os.path.join(path, run_dir.CONFIG_FILE)}, nor a shipped agent of that '
    f'name{config_lib.nearest(path, names)} (shipped are '
    f'{", ".join(names) or "none"})')


def read_config(
  where: str | os.PathLike, *, allow_imports: str | Iterable[str] = ()
) -> Config:
  """Returns the configuration of whatever `find_file` takes.

  Args:
    where: a run directory, an agent file, or one of `shipped`.
    allow_imports: as `run_dir.read_config` takes them.

  Raises:
    UserError: there is none, it is damaged, or it would import a module that
      is not allowed.
  """
  if path := find_file(where):
    return agent_file.read(path, allow_imports=allow_imports).config
  return run_dir.read_config(where, allow_imports=allow_imports)
