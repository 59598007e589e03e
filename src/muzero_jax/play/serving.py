"""A page that is served until the process is asked to stop."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from muzero_jax import console
from muzero_jax.agent import Agent
from muzero_jax.errors import MissingPackageError, UserError
from muzero_jax.play import api, server

try:
  import uvicorn
except ImportError as error:
  raise MissingPackageError(
    f'the page needs uvicorn: pip install "muzero_jax[play]" ({error})'
  ) from error

_HOST = '127.0.0.1'
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds that requests, and then the search that runs, may still take.
_LONGEST_END = 2


@contextlib.contextmanager
def listen(port: int) -> Iterator[socket.socket]:
  """Open a port of this machine alone.

  Args:
    port: 0 for any that is free.

  Raises:
    UserError: it is in use, or not ours to use.
  """
  with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      listening.bind((_HOST, port))
      # From now on who comes waits; none is refused.
      listening.listen()
    except OSError as error:
      raise UserError(
        f'port = {port} cannot be used ({error.strerror}): give another one, '
        'or 0 for any that is free') from None
    yield listening


def serve(
  agent: Agent, token: str, listening: socket.socket, **options: Any
) -> int:
  """Serve an agent's page until SIGINT or SIGTERM; return 0.

  Args:
    agent: who plays.
    token: what requests must know.
    listening: where they come from.
    **options: of `Api`.
  """
  made = server.Server(lambda: api.Api(agent, **options), token)
  # uvicorn's own set-up of logging would close the handlers of others.
  runner = _Runner(uvicorn.Config(
    made.app, log_config=None, log_level='warning', access_log=False,
    loop='asyncio', http='h11', ws='none', lifespan='off', server_header=False,
    timeout_graceful_shutdown=_LONGEST_END))
  runner.run(sockets=[listening])
  console.say('stopped')
  if not made.close(_LONGEST_END):
    # A compilation cannot be interrupted, and nothing is to be saved.
    console.finish()
    sys.stdout.flush()
    os._exit(0)
  return 0


class _Runner(uvicorn.Server):
  """Ends at signals, and does not raise them again afterwards."""

  @contextlib.contextmanager
  def capture_signals(self) -> Iterator[None]:
    """Let signals end the server; what uvicorn calls."""
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    before = {s: signal.signal(s, self.handle_exit) for s in _SIGNALS}
    try:
      yield
    finally:
      for signum, handler in before.items():
        signal.signal(signum, handler)
