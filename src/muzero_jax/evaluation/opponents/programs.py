"""Programs as opponents: processes on the host that speak GTP."""

from typing import NamedTuple

from muzero_jax.envs.rules import GoRules
from muzero_jax.evaluation import gtp

MAX_LEVEL = 10  # GNU Go's own default, and the strongest that it tunes for.


class Program(NamedTuple):
  """A program that plays Go; each process plays one game at a time."""

  command: tuple[str, ...]
  rules: GoRules
  timeout: float = 60.0  # Seconds that it may take for a command.


def gnugo(rules: GoRules, level: int = 1) -> Program:
  """Returns GNU Go, told the rules by which the environment counts.

  Dead stones count as alive there, so it captures them before it passes; it
  never repeats a position, which would lose; and it plays on to the end.

  Args:
    rules: of the environment.
    level: 1 to MAX_LEVEL.

  Raises:
    NotInstalledError: it is not installed.
  """
  return Program(
    (
      gtp.find('gnugo'), '--mode', 'gtp', '--quiet', '--level', str(level),
      '--chinese-rules', '--forbid-suicide', '--positional-superko',
      '--capture-all-dead', '--play-out-aftermath', '--never-resign',
    ),
    rules,
  )
