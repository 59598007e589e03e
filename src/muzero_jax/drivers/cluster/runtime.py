"""Ray itself: started for one machine, or joined, before jax has a device."""

import contextlib
import importlib.util
import os
import secrets
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

from muzero_jax.errors import MissingPackageError, RunError, UserError

_LOCAL = '127.0.0.1'
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Wanted(NamedTuple):
  """The jobs of a run, and where they are to run."""

  num_actors: int
  num_reanalyse_actors: int = 0
  address: str = ''  # host:port of a cluster; '' for this machine alone.
  # Seconds without a stretch after which a job is replaced.
  job_timeout: float = 300.0


def check() -> None:
  """Check that Ray is there, without loading it.

  Raises:
    MissingPackageError: it is not.
  """
  if importlib.util.find_spec('ray') is None:
    raise MissingPackageError(
      "this command needs ray: pip install 'muzero_jax[ray]'")


@contextlib.contextmanager
def connected(wanted: Wanted) -> Iterator[None]:
  """Start Ray on this machine, or join a cluster; leave it afterwards.

  Only who has the cluster's token can use it. On this machine Ray listens at
  127.0.0.1 alone, with a token that is made for this run, and without its
  dashboard.

  Raises:
    MissingPackageError: Ray is not installed.
    UserError: there is no cluster at the address, or its token is another.
    RunError: Ray cannot be started.
  """
  check()
  os.environ['RAY_AUTH_MODE'] = 'token'
  os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
  # Ray hides no accelerators from jobs that ask for none; `crew` does.
  os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')
  if not wanted.address:
    os.environ['RAY_AUTH_TOKEN'] = secrets.token_hex(16)
  # Imported late: an extra, and it reads these variables.
  import ray

  quiet: dict[str, Any] = dict(
    log_to_driver=False, configure_logging=False)
  kept = {number: signal.getsignal(number) for number in _SIGNALS}
  try:
    if wanted.address:
      ray.init(address=wanted.address, **quiet)
    else:
      count = wanted.num_actors + wanted.num_reanalyse_actors
      # As many places as jobs: they share the cores as threads do.
      ray.init(
        num_cpus=count, include_dashboard=False, _node_ip_address=_LOCAL,
        **quiet)
  except Exception as error:
    line = str(error).strip().splitlines()[0] if str(error).strip() else ''
    told = f'{type(error).__name__}: {line[:300]}'
    if wanted.address:
      raise UserError(
        f'ray_address = {wanted.address!r}: no cluster could be joined there '
        f'({told})') from error
    raise RunError(f'Ray cannot be started: {told}') from error
  # Ray's own handlers abort the process: set ours again.
  for number, handler in kept.items():
    signal.signal(number, handler)
  try:
    yield
  finally:
    ray.shutdown()
