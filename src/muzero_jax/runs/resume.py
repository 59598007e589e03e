"""The state from which a run goes on: a new one, or that of a checkpoint."""

import os
from typing import Any

import jax

from muzero_jax.config import Config
from muzero_jax.drivers import iteration
from muzero_jax.drivers.iteration import Driver
from muzero_jax.drivers.train_state import TrainState
from muzero_jax.replay import ring
from muzero_jax.runs import (
  checkpoint,
  devices,
  record,
  run_dir,
  shared_checkpoint,
)
from muzero_jax.runs.checkpoint import Checks
from muzero_jax.runs.peers import ALONE, Peers

# What a checkpoint holds of actors that cannot be restored.
_NO_ACTORS: Any = None


def start(
  config: Config,
  workdir: str | os.PathLike,
  driver: Driver,
  peers: Peers = ALONE,
) -> tuple[TrainState, list[str]]:
  """Return the state to go on from, and lines that say which that is.

  Args:
    config: of the run.
    workdir: the run directory, which this process has locked.
    driver: of the run.
    peers: the processes of the run, which all call this.

  Raises:
    UserError: no checkpoint is intact, a part of the run is missing, or it
      was trained with another configuration.
    RunError: the machine cannot read it.
  """
  rng_key = iteration.run_key(config)
  lines: list[str] = []
  abstract = driver.abstract()
  if not driver.restorable:
    abstract = abstract._replace(actor=_NO_ACTORS)
  checks = Checks(
    run_dir.check_trained_with(workdir, config, driver.spec.name),
    devices.as_saved)
  if peers.count > 1:
    found = shared_checkpoint.restore(
      workdir, abstract, peers, report=lines.append, checks=checks)
  else:
    found = checkpoint.restore(
      workdir, abstract, report=lines.append, checks=checks)
  if found is None:
    if peers.is_first:
      record.refuse_missing(workdir)
    peers.meet()
    return driver.init(rng_key), lines
  step, state = found
  lines.append(f'resumed from the checkpoint at step {step:,}')
  last = record.last_saved(workdir)
  if last is not None and last > step:
    lines.append(
      f'the checkpoint of step {last:,}, which was saved, is not used: it is '
      'missing or damaged')
  state, changes = devices.adopt(state, abstract)
  lines += changes
  if not driver.restorable:
    state = state._replace(
      actor=driver.restart_actors(rng_key, step),
      replay=jax.jit(ring.close_episodes, donate_argnums=0)(state.replay),
    )
    lines.append(
      f'{driver.spec.name}: running episodes are not saved by a checkpoint, '
      'and start anew'
    )
  return state, lines
