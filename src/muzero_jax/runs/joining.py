"""Joining the other processes of a run, and ending together with them.

`jax.distributed` connects them; `peers` is what they then do together.
"""

import contextlib
import os
import pathlib
import socket
import time
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from muzero_jax.errors import Error, StoppedError, UserError
from muzero_jax.runs import peers as peers_lib
from muzero_jax.runs.peers import ALONE, Peers, Several


class Wanted(NamedTuple):
  """What a command line says of processes."""

  num_processes: int = 1
  process_id: int = 0
  coordinator_address: str = ''  # host:port, or 'auto'.
  collective_timeout: float = 600.0  # Seconds.


_AUTO = 'auto'
_current: Peers = ALONE
_JOIN_SECONDS = 120  # Until the last process has come.


def current() -> Peers:
  """Return the processes that this one has joined."""
  return _current


def check(wanted: Wanted) -> None:
  """Check what a command line says, before jax is loaded.

  Raises:
    UserError: the flags do not fit together.
  """
  address = wanted.coordinator_address
  if not address and wanted.num_processes == 1:
    if wanted.process_id:
      raise UserError(
        f'process_id = {wanted.process_id}: without num_processes and '
        'coordinator_address allowed is 0')
    return
  if address == _AUTO:
    if wanted.num_processes != 1 or wanted.process_id:
      raise UserError(
        "coordinator_address = 'auto': the cluster says how many processes "
        'there are and which this is; leave out num_processes and process_id')
    return
  host, _, port = address.rpartition(':')
  if not host or not port.isdigit() or not 0 < int(port) < 65_536:
    raise UserError(
      f'coordinator_address = {address!r}: allowed are host:port of process 0, '
      "as in 10.0.0.1:8476, and 'auto' where the cluster knows (Slurm, Open "
      'MPI, Kubernetes, TPU pods)')
  if wanted.num_processes < 2:
    raise UserError(
      f'num_processes = {wanted.num_processes}: with a coordinator_address '
      'allowed is 2 or more')
  if not 0 <= wanted.process_id < wanted.num_processes:
    raise UserError(
      f'process_id = {wanted.process_id}: with num_processes = '
      f'{wanted.num_processes} allowed is 0 to {wanted.num_processes - 1}')


@contextlib.contextmanager
def joined(wanted: Wanted, workdir: str | os.PathLike) -> Iterator[Peers]:
  """Join the other processes of a run, if there are any.

  An error of the body ends this process at once and tells the others why.

  Args:
    wanted: checked.
    workdir: the shared run directory.

  Raises:
    UserError: they cannot be joined, or do not fit together.
  """
  import jax

  global _current
  if not wanted.coordinator_address:
    yield ALONE
    return
  _initialise(wanted)
  if jax.process_count() == 1:
    yield ALONE
    return
  peers = Several(
    pathlib.Path(workdir), jax.process_count(), jax.process_index(),
    wanted.collective_timeout)
  try:
    peers.start()
    _check_devices(peers)
    peers.check_shared()
    _current = peers
    yield peers
    peers.meet()
    peers.end()
  except BaseException as error:
    _end_with(peers, error)
  finally:
    _current = ALONE


def _initialise(wanted: Wanted) -> None:
  """Start jax's runtime of several processes.

  Raises:
    UserError: the others cannot be reached.
  """
  import jax

  # Signals are ours to handle: jax would take SIGTERM away from Python.
  with contextlib.suppress(AttributeError):
    jax.config.update('jax_enable_preemption_service', False)
  if wanted.coordinator_address != _AUTO:
    _check_address(wanted, _JOIN_SECONDS)
  given: dict[str, Any] = {} if wanted.coordinator_address == _AUTO else dict(
    coordinator_address=wanted.coordinator_address,
    num_processes=wanted.num_processes, process_id=wanted.process_id)
  try:
    jax.distributed.initialize(
      **given, initialization_timeout=_JOIN_SECONDS)
  except (RuntimeError, ValueError, OSError) as error:
    where = wanted.coordinator_address
    raise UserError(
      f'coordinator_address = {where!r}: the processes of the run cannot be '
      f'joined: {str(error).splitlines()[0][:200]}') from None


def _check_address(wanted: Wanted, seconds: float) -> None:
  """Check that process 0 can listen at its address, and that others reach it.

  jax's runtime ends the process, with a trace, where that is not so.

  Args:
    wanted: with an address.
    seconds: that the others wait for process 0.

  Raises:
    UserError: the port is in use, or nobody listens there.
  """
  address = wanted.coordinator_address
  host, _, port = address.rpartition(':')
  if wanted.process_id == 0:
    with socket.socket() as one:
      one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      try:
        one.bind(('', int(port)))
      except OSError as error:
        raise UserError(
          f'coordinator_address = {address!r}: process 0 cannot listen at port '
          f'{port}: {error.strerror}; choose another port') from None
    return
  deadline = time.monotonic() + seconds
  while True:
    try:
      socket.create_connection((host.strip('[]'), int(port)), 5.0).close()
      return
    except OSError as error:
      if time.monotonic() > deadline:
        raise UserError(
          f'coordinator_address = {address!r}: process 0 is not reached there '
          f'within {seconds:.0f} s: {error.strerror or error}') from None
    time.sleep(0.2)


def _check_devices(peers: Several) -> None:
  """Raise UserError where processes have different numbers of devices."""
  import jax

  local = jax.local_device_count()
  most, minus_least = peers.agree(local, -local)
  if most != -minus_least:
    raise UserError(
      f'process {peers.index} has {local} devices, and others between '
      f'{-minus_least} and {most}: every process needs as many')


def _end_with(peers: Several, error: BaseException) -> NoReturn:
  """End this process with an error's line, and let the others know."""
  status = peers_lib.STATUS
  if isinstance(error, StoppedError):
    line = f'stopped by {error}'
  elif _is_of_a_collective(error):
    line = f'error: {peers.explain(error)}; the same commands resume the run'
  elif isinstance(error, Error):
    line, status = f'error: {error}', error.exit_status
  elif isinstance(error, SystemExit):
    line = 'ended'
    status = error.code if isinstance(error.code, int) else status
  else:
    traceback.print_exception(error)
    line = f'error: {type(error).__name__}: {error}'
  peers.end(line)
  peers_lib.leave(line, status)


def _is_of_a_collective(error: BaseException | None) -> bool:
  """Return whether jax's runtime has raised what an error follows from.

  Another process has died then, most likely: nothing else of ours fails there.
  """
  import jax

  while error is not None and not isinstance(error, UserError):
    if isinstance(error, jax.errors.JaxRuntimeError):
      return True
    error = error.__cause__ or error.__context__
  return False
