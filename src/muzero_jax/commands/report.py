"""Write one HTML page about one or several runs, self-contained.

muzero-jax report --workdir=runs/a [--workdir=runs/b] [--output=report.html]
"""

import pathlib
import typing
from collections.abc import Sequence

from absl import flags

from muzero_jax import console, files, paths
from muzero_jax.config import command_line
from muzero_jax.errors import UserError

if typing.TYPE_CHECKING:
  from muzero_jax.evaluation.run_files import Film, RunFiles


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags."""
  command_line.define_workdirs(flag_values=flag_values)
  flags.DEFINE_string(
    'output', 'report.html', 'The page; an older one is replaced.',
    flag_values=flag_values)
  flags.DEFINE_string(
    'film', None, 'A .gif, .webp, .png or .mp4 to put into the page, of at '
    'most 16 MiB; by default the first file called film.* in a run directory. '
    'Empty for none.', flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Write the page and return the exit status."""
  output = pathlib.Path(paths.expand(flag_values.output, 'output'))
  _check_output(output)
  # Imported late: a mistake in the flags is told before jax is loaded.
  from muzero_jax.evaluation import run_files, run_page

  runs = run_files.read(flag_values.workdir)
  film: Film | None = None
  if flag_values.film:
    film = run_files.read_film(
      pathlib.Path(paths.expand(flag_values.film, 'film')))
  elif flag_values.film is None:
    film = _film_of(runs)
  with files.writing(str(output)):
    files.write_whole(output, run_page.page(runs, film).encode())
  for one in runs:
    for note in one.notes:
      console.say(f'{one.label}: {note}')
  size = output.stat().st_size
  console.answer(f'written: {output} ({size / 1000:,.0f} kB)')
  return 0


def _film_of(runs: Sequence['RunFiles']) -> 'Film | None':
  """Return the first film in a run directory; a bad one is a note."""
  from muzero_jax.evaluation import run_files

  for one in runs:
    path = run_files.find_film(one.workdir)
    if path is not None:
      try:
        return run_files.read_film(path)
      except UserError as error:
        one.notes.append(str(error))
  return None


def _check_output(output: pathlib.Path) -> None:
  """Raise UserError where no page can be written."""
  files.check_path('output', output)
  if not output.name or output.is_dir():
    raise UserError(f'output = {str(output)!r} is a directory, not a file')
  if not output.absolute().parent.is_dir():
    raise UserError(
      f'output = {str(output)!r}: there is no directory '
      f'{output.absolute().parent}')
