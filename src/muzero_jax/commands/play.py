"""Play against an agent in a browser, watch it, look into its search.

muzero-jax play --workdir=runs/x [--port=8765] [--open]
muzero-jax play --workdir=connect_four
"""

import importlib.util
import secrets
import webbrowser
from typing import Any

from absl import flags

from muzero_jax import console
from muzero_jax.commands import start
from muzero_jax.config import command_line
from muzero_jax.errors import MissingPackageError
from muzero_jax.runs import agent_source

# Modules, and the packages that bring them.
_PACKAGES = dict(starlette='starlette', uvicorn='uvicorn', PIL='pillow')


def define(flag_values: flags.FlagValues) -> None:
  """Define the flags."""
  command_line.define_workdir(flag_values=flag_values)
  command_line.define_agent(snapshot=True, flag_values=flag_values)
  flags.DEFINE_integer(
    'port', 8765, 'Port of the page on this machine; 0 for any that is free.',
    lower_bound=0, upper_bound=65_535, flag_values=flag_values)
  flags.DEFINE_integer(
    'simulations', 0, 'Simulations of a search, until the page says otherwise; '
    '0 for those of the agent.', lower_bound=0, upper_bound=800,
    flag_values=flag_values)
  flags.DEFINE_bool(
    'open', False, 'Open the page in a browser.', flag_values=flag_values)


def run(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> int:
  """Serve the page until the process is asked to stop; return 0."""
  agent_source.read_config(
    arguments.workdir, allow_imports=arguments.allow_imports)
  for module, package in _PACKAGES.items():
    if importlib.util.find_spec(module) is None:
      raise MissingPackageError(
        f"the page needs {package}: pip install 'muzero_jax[play]'")
  # Imported late: a mistake in the flags is told before jax is loaded.
  start.prepare()
  from muzero_jax.play import serving

  with serving.listen(flag_values.port) as listening:
    one, options = _agent(arguments, flag_values)
    token = secrets.token_urlsafe(24)
    url = f'http://127.0.0.1:{listening.getsockname()[1]}/?token={token}'
    console.answer(
      f'{url}\nOpen this page on this machine; Ctrl-C ends it. The first '
      'search is compiled meanwhile.')
    if flag_values.open:
      webbrowser.open(url)
    return serving.serve(one, token, listening, **options)


def _agent(
  arguments: command_line.Arguments, flag_values: flags.FlagValues
) -> tuple[Any, dict[str, Any]]:
  """Return the agent of a run, and what the page needs beside it.

  The only place that knows where agents come from.
  """
  from muzero_jax import agent

  found = agent.load(
    arguments.workdir, snapshot=flag_values.snapshot, index=flag_values.index,
    allow_imports=arguments.allow_imports)
  # A file has no snapshots to play against.
  is_file = bool(agent_source.find_file(arguments.workdir))
  return found, dict(
    workdir=None if is_file else arguments.workdir, index=flag_values.index,
    simulations=flag_values.simulations, shipped=agent_source.shipped(),
    allow_imports=arguments.allow_imports)
