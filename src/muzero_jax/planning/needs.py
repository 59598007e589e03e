"""What a configuration needs, counted exactly: no machine is measured."""

import math
from typing import NamedTuple

import jax
import numpy as np

from muzero_jax.config import Config
from muzero_jax.drivers import build
from muzero_jax.drivers.cluster import stretches
from muzero_jax.replay import ring
from muzero_jax.types import EnvSpec


class Needs(NamedTuple):
  """Of a run; rows are environment steps, played or stored."""

  rows: int  # Of the whole run.
  rows_per_iteration: int
  updates_per_row: float
  simulations_per_row: float  # Of play.
  searched_per_row: float  # Rows that Reanalyse searches for each one played.
  row_bytes: int  # Stored.
  replay_bytes: int
  params_bytes: int
  stretch_rows: int  # Of a player's message; 0 without players.
  sent_share: float  # Rows that players send for each one played.


def of(config: Config, spec: EnvSpec, num_actors: int = 0) -> Needs:
  """Count what a run needs.

  Args:
    config: of the run, with nothing left to the environment.
    spec: of its environment.
    num_actors: players in processes of their own; 0 for none.

  Raises:
    UserError: the network does not fit, or players cannot share the
      environments.
  """
  system = build.make_system(config, spec)
  params = jax.eval_shape(
    lambda key: system.model.init(key, build.example_observation(config, spec)),
    jax.random.key(0))
  size = lambda tree: sum(
    math.prod(x.shape) * np.dtype(x.dtype).itemsize
    for x in jax.tree.leaves(tree))
  row = ring.num_bytes(spec, 1, 1, config.num_sampled_actions)
  rows = config.num_envs * config.rollout_length
  stretch_rows, sent_share = 0, 0.0
  if num_actors:
    plan = stretches.make_plan(config, num_actors)
    stretch_rows = plan.rollouts * config.rollout_length * plan.num_envs
    sent_share = plan.num_rows / stretch_rows
  return Needs(
    rows=config.num_steps,
    rows_per_iteration=rows,
    updates_per_row=config.updates_per_iteration / rows,
    simulations_per_row=config.num_simulations,
    searched_per_row=build.searches_per_iteration(config) / rows,
    row_bytes=row,
    replay_bytes=ring.num_bytes(
      spec, config.num_envs, config.capacity_rows_per_env,
      config.num_sampled_actions),
    params_bytes=size(params),
    stretch_rows=stretch_rows,
    sent_share=sent_share,
  )
