"""An agent as a model of the Hugging Face Hub: its folder, and the upload."""

import os
import pathlib
import re

from muzero_jax import files, paths
from muzero_jax.errors import MissingPackageError, RunError, UserError
from muzero_jax.evaluation import agent_pages
from muzero_jax.evaluation.agent_export import Exported
from muzero_jax.runs import agent_file

FILE = f'agent{agent_file.SUFFIX}'
_REPOSITORY = re.compile(r'[A-Za-z0-9][\w.-]{,95}/[A-Za-z0-9][\w.-]{,95}',
                         re.ASCII)


def check_repository(name: str) -> None:
  """Raises what a push to a repository would end in, before any work.

  Args:
    name: 'user/name'.

  Raises:
    UserError: it is no repository's name.
    MissingPackageError: huggingface_hub is not installed.
  """
  if not _REPOSITORY.fullmatch(name):
    raise UserError(
      f'push_to_hub = {name!r} is no repository: user/name is needed')
  try:
    import huggingface_hub  # noqa: F401
  except ImportError as error:
    raise MissingPackageError(
      'push_to_hub needs huggingface_hub: pip install "muzero_jax[hub]" '
      f'({error})') from error


def write_folder(
  folder: str | os.PathLike, exported: Exported, *, name: str
) -> pathlib.Path:
  """Writes README.md and the file, as the Hub expects them; returns the folder.

  Args:
    folder: made if need be; files of these names are replaced.
    exported: the agent.
    name: what the page calls it.

  Raises:
    RunError: it cannot be written.
  """
  root = pathlib.Path(paths.expand(folder, 'hub_folder'))
  files.check_path('hub_folder', root)
  page = agent_pages.hub_page(
    name, FILE, exported.found, exported.num_bytes, exported.sha256)
  with files.writing(f'hub_folder {root}'):
    root.mkdir(parents=True, exist_ok=True)
    files.write_whole(root / FILE, pathlib.Path(exported.path).read_bytes())
    files.write_whole(root / 'README.md', page.encode())
  return root


def push(folder: pathlib.Path, repository: str) -> str:
  """Uploads a folder that `write_folder` wrote; returns its address.

  Who uploads, and by which key, is for huggingface_hub to know.

  Raises:
    RunError: it was not uploaded.
  """
  import huggingface_hub

  api = huggingface_hub.HfApi()
  try:
    api.create_repo(repository, repo_type='model', exist_ok=True)
    api.upload_folder(
      repo_id=repository, folder_path=str(folder), repo_type='model',
      allow_patterns=['README.md', FILE])
  except Exception as error:  # noqa: B902 - of HTTP, and its own, are many.
    raise RunError(
      f'push_to_hub = {repository!r}: not uploaded: {type(error).__name__}: '
      f'{" ".join(str(error).split())[:500]}') from error
  return f'https://huggingface.co/{repository}'
