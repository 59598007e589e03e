"""A run's replay as a dataset."""

import dataclasses
import os
from collections.abc import Callable, Iterable

import jax
import numpy as np

from muzero_jax import envs, files, paths
from muzero_jax.errors import UserError
from muzero_jax.replay import dataset, ring
from muzero_jax.replay.dataset import Dataset
from muzero_jax.runs import checkpoint, run_dir
from muzero_jax.runs.checkpoint import Checks
from muzero_jax.types import AnyEnvironment


def export(
  workdir: str | os.PathLike,
  directory: str | os.PathLike,
  *,
  index: int = 0,
  make_env: Callable[..., AnyEnvironment] = envs.make,
  allow_imports: str | Iterable[str] = (),
) -> Dataset:
  """Writes the replay of a run's newest checkpoint as a dataset.

  Args:
    workdir: the run directory.
    directory: of the dataset; must not exist.
    index: which of `num_seeds` agents' replays.
    make_env: as it was given to `train.run`.
    allow_imports: modules that the stored env_id may import, as in
      `agent.load`.

  Returns:
    The dataset, as it would be loaded.

  Raises:
    UserError: there is no such run, agent, checkpoint or replay, or the
      directory is there already; nothing was written then.
    RunError: the dataset cannot be written.
  """
  files.check_path('output', directory)
  dataset.refuse_existing(directory)
  workdir = paths.expand(workdir, 'workdir')
  config = run_dir.read_config(workdir, allow_imports=allow_imports)
  if config.dataset:
    raise UserError(
      f'workdir {workdir} is an offline run: its data are those of dataset = '
      f'{config.dataset!r}')
  if config.num_sampled_actions:
    raise UserError(
      f'workdir {workdir} has num_sampled_actions = '
      f'{config.num_sampled_actions}: datasets hold no sampled actions')
  if not 0 <= index < config.num_seeds:
    raise UserError(
      f'index = {index}: the run has {config.num_seeds} agents, from 0 on')
  spec = envs.spec_of(config, make_env)
  shapes = jax.eval_shape(lambda: ring.init(
    spec, config.num_envs, config.capacity_rows_per_env))
  agents = (config.num_seeds,) if config.num_seeds > 1 else ()
  # Arrays without memory of their own: so it is restored to the host.
  abstract = jax.tree.map(
    lambda x: np.broadcast_to(np.zeros((), x.dtype), agents + x.shape), shapes)
  found = checkpoint.restore_subtree(
    workdir, abstract, 'replay',
    checks=Checks(run_dir.check_trained_with(workdir, config, spec.name)))
  if found is None:
    raise UserError(f'workdir {workdir} has no checkpoint yet')
  step, state = found
  if agents:
    state = jax.tree.map(lambda x: x[index], state)
  return dataset.save(
    directory, spec, dataset.in_time_order(state),
    source=dict(step=step, agent=index, config=dataclasses.asdict(config)))
