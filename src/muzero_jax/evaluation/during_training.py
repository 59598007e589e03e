"""Evaluate a run during training, without noise, and keep its best parameters.

`runs.iterate` calls them between two iterations.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from muzero_jax import files
from muzero_jax.agent import Agent, MakeEnv
from muzero_jax.config import Config
from muzero_jax.drivers import build
from muzero_jax.drivers.build import Extensions
from muzero_jax.evaluation import after_training, report
from muzero_jax.runs import best, run_dir
from muzero_jax.types import AnyEnvironment, Environment, EnvSpec, Params


class Evaluated(NamedTuple):
  """What one evaluation found."""

  mean: float  # Mean return; in a game of two, mean outcome in -1 to 1.
  line: str  # What a user is told.


# Parameters of all agents, environment steps so far -> what was found.
Evaluate = Callable[[Params, int], Evaluated]


def make(
  config: Config,
  spec: EnvSpec,
  *,
  workdir: str | os.PathLike,
  make_env: MakeEnv,
  extensions: Extensions = build.NONE,
  should_stop: Callable[[], bool] = lambda: False,
) -> Evaluate:
  """Return a function that evaluates a run; only its first call compiles.

  Args:
    config: of the run.
    spec: of its environment.
    workdir: the run directory, where the best is kept.
    make_env: builds environments, as `envs.make` does.
    extensions: a user's own parts.
    should_stop: asked again and again; an evaluation then ends in
      StoppedError.
  """
  players: dict[int, Agent] = {}
  made = _once(make_env)

  def evaluate(params: Params, step: int) -> Evaluated:
    each = after_training.each_agent(config, params)
    if not players:
      # All agents of a run are compiled together.
      players[0] = Agent(
        config, spec, each[0], step, make_env=made, extensions=extensions)
    reports = [
      report.report(
        players[0].with_params(one, step), num_episodes=config.eval_episodes,
        seed=index, should_stop=should_stop)
      for index, one in enumerate(each)]
    mean = float(report.over_agents(reports)['mean'])
    known = keep_best(
      config, spec, params, best.Best(step, mean), workdir=workdir)
    told = 'the best so far' if known.step == step else (
      f'best {known.score:.2f}, step {known.step:,}')
    return Evaluated(
      mean, f'{_what(spec, reports[0])} {mean:.2f} ({told})')

  return evaluate


def keep_best(
  config: Config, spec: EnvSpec, params: Params, one: best.Best, *,
  workdir: str | os.PathLike,
) -> best.Best:
  """Keep parameters if none of the run scored as well; return the best.

  Args:
    config: of the run.
    spec: of its environment.
    params: of all its agents.
    one: their step and score.
    workdir: the run directory.

  Raises:
    RunError: the disk refuses.
  """
  known = best.find(workdir)
  if known is not None and known.score >= one.score:
    return known
  with files.writing(f'step {one.step}: the best parameters'):
    best.save(workdir, one, params, facts=run_dir.facts(config, spec.name))
  return one


def _what(spec: EnvSpec, result: dict[str, Any]) -> str:
  """Return what the mean is of."""
  if spec.num_players == 1:
    return 'mean return'
  against = [name for name, x in result.items() if isinstance(x, dict)]
  return f'mean outcome against {against[-1]}'


def _once(make_env: MakeEnv) -> MakeEnv:
  """Return what makes environments of JAX once, so that play compiles once.

  Those of the host are made anew each time: they end with each evaluation.
  """
  kept: dict[Any, Environment] = {}

  def make(config: Config, **how: Any) -> AnyEnvironment:
    key = dataclasses.astuple(config), tuple(sorted(how.items()))
    if key in kept:
      return kept[key]
    env = make_env(config, **how)
    if isinstance(env, Environment):
      kept[key] = env
    return env

  return make
