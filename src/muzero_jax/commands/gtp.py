"""Play by the Go Text Protocol (GTP), for programs that speak it.

muzero-jax gtp --workdir=runs/go [--simulations=N]
"""

import os
import sys
from typing import BinaryIO

from absl import flags

from muzero_jax import console
from muzero_jax.commands import start
from muzero_jax.config import command_line
from muzero_jax.errors import UserError
from muzero_jax.runs import agent_source


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags."""
  command_line.define_workdir(flag_values=flag_values)
  command_line.define_agent(snapshot=True, flag_values=flag_values)
  flags.DEFINE_integer(
    'simulations', None, 'Simulations of a move; by default those of the '
    'run\'s evaluation.', lower_bound=1, upper_bound=10_000,
    flag_values=flag_values)
  flags.DEFINE_integer(
    'analysis_simulations', 256, 'Simulations of the largest search that '
    'lz-analyze shows.', lower_bound=1, upper_bound=10_000,
    flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Answer commands until they end; return 0."""
  config = agent_source.read_config(
    arguments.workdir, allow_imports=arguments.allow_imports)
  if config.family != 'board':
    raise UserError(
      f'family = {config.family!r}: gtp is for two players at a board, the '
      'family "board"')
  source, target = _streams()
  # Imported late: a mistake in the flags is told before jax is loaded.
  start.prepare()
  from muzero_jax import agent as agent_lib
  from muzero_jax.play.gtp import engine as gtp_engine
  from muzero_jax.play.gtp import session as gtp_session

  agent = agent_lib.load(
    arguments.workdir, index=flag_values.index, snapshot=flag_values.snapshot,
    allow_imports=arguments.allow_imports)
  engine = gtp_engine.Engine(
    agent, simulations=flag_values.simulations or 0,
    analysis_simulations=flag_values.analysis_simulations)
  console.say(
    f'{agent.spec.name}, step {agent.step}, {engine.searcher.simulations} '
    'simulations: ready for commands', sys.stderr)
  engine.warm()
  try:
    gtp_session.serve(engine, source, target)
  finally:
    engine.close()
  return 0


def _streams() -> tuple[BinaryIO, BinaryIO]:
  """Return standard input and output, which nothing else then writes to.

  What any library prints goes to standard error.

  Raises:
    UserError: one of them is closed.
  """
  try:
    source = os.fdopen(os.dup(0), 'rb')
    target = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)
  except OSError:
    raise UserError(
      'gtp needs standard input and output, which are closed') from None
  return source, target
