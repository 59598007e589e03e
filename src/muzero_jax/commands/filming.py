"""The flags of `evaluate` that make films and drawings of an episode."""

import pathlib
import sys
from typing import Any, NamedTuple

from absl import flags

from muzero_jax import console
from muzero_jax.config import Config, command_line
from muzero_jax.errors import UserError


class Wanted(NamedTuple):
  """Which files are to be made; None for those that are not."""

  video: pathlib.Path | None
  svg: pathlib.Path | None


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags."""
  flags.DEFINE_string(
    'video', None, 'Film one more episode into this file: .mp4 (needs av), '
    '.webp, .gif or .png (animated). It has a frame for each step, which shows '
    'what the step led to. In a game of two players the agent plays both '
    'sides, or against the first --opponent, who moves second. Of a run of '
    'several agents, the first is filmed.', flag_values=flag_values)
  flags.DEFINE_string(
    'svg', None, "Write pgx's drawings of that game too, one for each step: "
    'into a folder, or one after the other into a file that ends in .svg. '
    'Families board and stochastic alone.', flag_values=flag_values)
  flags.DEFINE_float(
    'fps', None, 'Frames per second; by default as it suits the environment.',
    lower_bound=0.1, upper_bound=120, flag_values=flag_values)
  flags.DEFINE_bool(
    'video_search', False, 'Show the value and the policy that the search '
    'found beside the picture.', flag_values=flag_values)
  flags.DEFINE_integer(
    'video_steps', 3000, 'A film of a longer episode ends after so many '
    'steps.', lower_bound=1, flag_values=flag_values)


def check(config: Config, flag_values: flags.FlagValues) -> Wanted | None:
  """Return which files are wanted, None if none is, before jax is loaded.

  Raises:
    MissingPackageError: a package is missing that writes them.
    UserError: a file that cannot be written, or nothing to do.
  """
  if not flag_values.video and not flag_values.svg:
    if not flag_values.num_episodes:
      raise UserError(
        'num_episodes = 0 is for films and drawings: --video or --svg is '
        'missing')
    return None
  # Imported late, as it is not needed else.
  from muzero_jax.play import film_files, svg_files

  return Wanted(
    flag_values.video and film_files.check(
      'video', flag_values.video, film_files.SUFFIXES),
    flag_values.svg and svg_files.check(config.family, flag_values.svg))


def record(
  wanted: Wanted, agent: Any, arguments: command_line.Arguments,
  flag_values: flags.FlagValues,
) -> None:
  """Write what is wanted, and say so on standard error.

  Args:
    wanted: as `check` returns it.
    agent: who is filmed.
    arguments: what the command line says.
    flag_values: the flags, parsed.
  """
  from muzero_jax.evaluation import opponents
  from muzero_jax.play import film

  opponent = None
  if flag_values.opponent:
    opponent = opponents.make(
      flag_values.opponent[0], agent.spec.name, workdir=arguments.workdir,
      make_env=agent.make_env, allow_imports=arguments.allow_imports)
  found = film.record(
    agent, video=wanted.video, svg=wanted.svg, opponent=opponent,
    seed=flag_values.seed, fps=flag_values.fps,
    most_steps=flag_values.video_steps,
    shows_search=flag_values.video_search)
  end = '' if found.is_over else (
    ', then it was cut off: --video_steps=N films more')
  where = ' and '.join(str(path) for path in wanted if path)
  console.say(
    f'{where}: {found.num_steps} steps, return {found.score:g}{end}',
    sys.stderr)
