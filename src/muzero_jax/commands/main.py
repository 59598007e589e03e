"""Dispatch the installed command `muzero-jax` to the command it names."""

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from absl import flags

import muzero_jax
from muzero_jax import config as config_lib
from muzero_jax import console
from muzero_jax.config import command_line
from muzero_jax.errors import UserError
from muzero_jax.runs import signals

COMMANDS = (
  'train', 'cluster', 'plan', 'evaluate', 'ladder', 'diagnose', 'dataset',
  'play', 'gtp', 'export', 'report', 'tune')
_SAVING = ('train', 'cluster', 'tune')  # Signals end them once all is saved.
_HELP = ('--help', '-help', '-h')


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command that the first argument names.

  Args:
    argv: the program's name and its arguments; `sys.argv` by default.

  Returns:
    The exit status, where no command was run; a command exits by itself.
  """
  argv = list(sys.argv if argv is None else argv)
  name = argv[1] if len(argv) > 1 else ''
  if name in COMMANDS:
    usage = (_module(name).__doc__ or '').strip()
    run(name, [f'muzero-jax {name}', *argv[2:]], usage=usage)
  if name in _HELP:
    console.answer(_help())
    return 0
  if name == '--version':
    console.answer(muzero_jax.__version__)
    return 0
  return command_line.tell(_refusal(name))


def run(
  name: str, argv: Sequence[str] | None = None, *, usage: str = ''
) -> NoReturn:
  """Run one command with flags of its own, and exit with its status.

  Args:
    name: one of COMMANDS.
    argv: the program's name and the command's flags; `sys.argv` by default.
    usage: what --help prints above the flags; by default the docstring of the
      script that runs.
  """
  saves = name in _SAVING
  with signals.as_a_command() if saves else signals.end_at_interrupts():
    command = _module(name)
    flag_values = flags.FlagValues()
    command.define(flag_values)
    command_line.run(
      lambda arguments: command.run(arguments, flag_values), argv,
      flag_values=flag_values, usage=usage)


def _module(name: str) -> ModuleType:
  return importlib.import_module(f'muzero_jax.commands.{name}')


def _refusal(name: str) -> UserError:
  """Return the error of a first argument that is no command."""
  known = f'the commands are {", ".join(COMMANDS)}'
  if not name:
    return UserError(f'a command is needed: {known}')
  return UserError(
    f'unknown command {name!r}{config_lib.nearest(name, COMMANDS)} ({known})')


def _help() -> str:
  """Return the usage and one line about each command."""
  lines = [
    'Train MuZero agents, and evaluate them.', '',
    'muzero-jax COMMAND [--flag=value ...]', '', 'Commands:']
  for name in COMMANDS:
    summary = (_module(name).__doc__ or '').splitlines()[0]
    lines.append(f'  {name:<10}{summary}')
  lines += [
    '', 'muzero-jax COMMAND --help lists the flags of a command.',
    'muzero-jax --version prints the version.']
  return '\n'.join(lines)


if __name__ == '__main__':
  sys.exit(main())
