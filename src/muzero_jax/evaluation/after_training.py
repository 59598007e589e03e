"""The evaluation at the end of a run: of each of its agents, beside chance."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from muzero_jax.agent import Agent, MakeEnv
from muzero_jax.config import Config
from muzero_jax.drivers import build
from muzero_jax.drivers.build import Extensions
from muzero_jax.evaluation import random_play
from muzero_jax.evaluation import report as report_lib
from muzero_jax.types import EnvSpec, Params


class Evaluation(NamedTuple):
  """What an evaluation found, for the disk and for the user."""

  result: dict[str, Any]  # As `report.over_agents` returns it.
  lines: list[str]
  verdict: list[str]  # Where nothing was learnt; to be said last.


def each_agent(config: Config, params: Params) -> list[Params]:
  """Return the parameters of each agent of a run.

  Args:
    config: of the run.
    params: of its agents; of several, with an axis of them in front.
  """
  if config.num_seeds == 1:
    return [params]
  leaves, treedef = jax.tree.flatten(params)
  return [jax.tree.unflatten(treedef, one) for one in zip(*leaves, strict=True)]


def evaluate(
  config: Config,
  spec: EnvSpec,
  params: Params,
  step: int,
  *,
  workdir: str | os.PathLike,
  make_env: MakeEnv,
  extensions: Extensions = build.NONE,
  should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
  """Evaluate the agents of a run.

  Args:
    config: of the run.
    spec: of its environment.
    params: of its agents; of several, with an axis of them in front.
    step: steps they were trained for.
    workdir: the run directory, which may know random play's score.
    make_env: builds environments, as `envs.make` does.
    extensions: a user's own parts.
    should_stop: asked again and again.

  Raises:
    StoppedError: `should_stop` says so.
  """
  reports = [
    # Agents that met the same luck would seem to agree.
    report_lib.report(
      Agent(
        config, spec, one, step, make_env=make_env, extensions=extensions),
      num_episodes=config.eval_episodes, seed=index,
      should_stop=should_stop)
    for index, one in enumerate(each_agent(config, params))
  ]
  reports = random_play.add(
    reports, config, spec, make_env, workdir=workdir, should_stop=should_stop)
  result = report_lib.over_agents(reports)
  return Evaluation(
    result, report_lib.describe(result), random_play.verdict(reports, workdir))
