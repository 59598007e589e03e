"""Uniformly random play, beside which an agent's score says something.

A run that learnt nothing ends like any other: only what random actions earn in
the same environment tells the two apart.
"""

import math
import os
import pathlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax import files
from muzero_jax.agent import MakeEnv
from muzero_jax.config import Config
from muzero_jax.envs import random_play
from muzero_jax.evaluation import host_play
from muzero_jax.evaluation.host_play import Stepper
from muzero_jax.runs import record
from muzero_jax.types import EnvSpec, TimeStep

# Episodes that are played: as many as the agent's, within bounds. Those of
# Atari are long.
_LEAST_EPISODES, _MOST_EPISODES, _ATARI_EPISODES = 32, 256, 4
# Environments side by side: each may be a process.
_MOST_ENVS = 16
# Of the agent, where the noise of fewer may hide what was learnt.
_MANY_EPISODES = 200
# A difference of so many standard errors is no chance.
_ERRORS = 2.0
_KEY = 'random_play'


class Baseline(NamedTuple):
  """Returns of random play."""

  environment: str
  mean: float
  standard_error: float
  num_episodes: int


def play(
  config: Config,
  spec: EnvSpec,
  make_env: MakeEnv,
  *,
  num_episodes: int = _LEAST_EPISODES,
  should_stop: Callable[[], bool] = lambda: False,
) -> Baseline:
  """Play some episodes of an environment of one player at random.

  Args:
    config: of the agent whose score it stands beside.
    spec: of its environment.
    make_env: builds environments, as `envs.make` does.
    num_episodes: least number of episodes: as many in each environment.
    should_stop: asked at each step.

  Raises:
    WorkerError: an environment of the host raised, hung or returned no rows.
    StoppedError: `should_stop` says so.
  """
  num_envs = min(num_episodes, _MOST_ENVS)
  per_env = math.ceil(num_episodes / num_envs)
  env = make_env(
    config, num_envs=num_envs, evaluation=True, seed=config.seed + 1)
  with host_play.stepping(
    env, num_envs=num_envs, timeout=config.worker_timeout, name='random play',
    should_stop=should_stop,
  ) as stepper:
    rows = host_play.until(
      _rows(stepper, spec, jax.random.key(config.seed)), should_stop)
    returns, _ = host_play.count(rows, num_envs, per_env)
  error = float(returns.std(ddof=1) / math.sqrt(returns.size))
  return Baseline(spec.name, float(returns.mean()), error, returns.size)


def _rows(
  stepper: Stepper, spec: EnvSpec, rng_key: jax.Array
) -> Iterator[TimeStep]:
  """Yield what each step of random legal play leads to, without end."""
  draw = jax.jit(lambda row, key: random_play.random_actions(spec, row, key))
  init_key, play_key = jax.random.split(rng_key)
  state, row = stepper.init(init_key)
  while True:
    play_key, action_key, env_key = jax.random.split(play_key, 3)
    action = np.array(draw(row, action_key))
    state, row = stepper.step(state, action, env_key)
    yield row


def stored(workdir: str | os.PathLike, environment: str) -> Baseline | None:
  """Return what evaluation.json of a run says of random play, if it does.

  Args:
    workdir: the run directory, which may come from anywhere.
    environment: the name of its environment.
  """
  path = pathlib.Path(workdir) / record.EVALUATION_FILE
  try:
    found = files.read_json(path)
    found = found.get('agents', [found])[0][_KEY]
    baseline = Baseline(**found)
    numbers = (baseline.mean, baseline.standard_error, baseline.num_episodes)
    is_sound = baseline.environment == environment and all(
      type(x) in (int, float) and math.isfinite(x) for x in numbers)
  except (OSError, ValueError, LookupError, TypeError, AttributeError):
    return None
  return baseline if is_sound else None


def add(
  results: list[dict[str, Any]],
  config: Config,
  spec: EnvSpec,
  make_env: MakeEnv,
  *,
  workdir: str | os.PathLike,
  should_stop: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
  """Return the results of a run's agents with random play beside each.

  Args:
    results: as `report.report` returns them; those of two players, who are
      matched against random play, stay as they are.
    config: of the run.
    spec: of its environment.
    make_env: builds environments, as `envs.make` does.
    workdir: the run directory, of which evaluation.json may know the score.
    should_stop: asked at each step.

  Raises:
    WorkerError, StoppedError: as `play` does.
  """
  if spec.num_players == 2:
    return results
  number = min(
    max(_LEAST_EPISODES, *(one['num_episodes'] for one in results)),
    _MOST_EPISODES)
  if config.family == 'atari':
    number = _ATARI_EPISODES
  baseline = stored(workdir, spec.name)
  if baseline is None or baseline.num_episodes < number:
    baseline = play(
      config, spec, make_env, num_episodes=number, should_stop=should_stop)
  return [
    {**one, **beside(baseline, one['mean'], one['standard_error'])}
    for one in results]


def beside(
  baseline: Baseline, mean: float, standard_error: float | None
) -> dict[str, Any]:
  """Return random play, and whether an agent is better, as plain numbers.

  Args:
    baseline: of random play.
    mean: the agent's mean return.
    standard_error: of that mean; None of a single episode.
  """
  noise = math.hypot(baseline.standard_error, standard_error or 0.0)
  is_better = mean > baseline.mean + _ERRORS * noise
  return {_KEY: baseline._asdict(), 'better_than_random': is_better}


def describe(result: Mapping[str, Any]) -> list[str]:
  """Return a line on random play, if a result has it."""
  if _KEY not in result:
    return []
  found = result[_KEY]
  return [
    f'  random play: return {found["mean"]:.2f} +- '
    f'{found["standard_error"]:.2f} over {found["num_episodes"]} episodes']


def verdict(
  results: list[dict[str, Any]], workdir: str | os.PathLike
) -> list[str]:
  """Return lines where agents learnt nothing, for a user to read last.

  Args:
    results: of each agent of a run, as `report.report` returns them.
    workdir: of the run.
  """
  known = [x for x in results if 'better_than_random' in x]
  failed = [x for x in known if not x['better_than_random']]
  if not failed:
    return []
  path = shlex.quote(str(workdir))
  few = any(x['num_episodes'] < _MANY_EPISODES for x in failed)
  more = [
    f'{failed[0]["num_episodes"]} episodes may be too few to tell: muzero-jax '
    f'evaluate --workdir={path} --num_episodes={_MANY_EPISODES}']
  who = f'{len(failed)} of {len(known)} agents' if len(known) > 1 else 'nothing'
  words = 'learnt nothing' if len(known) > 1 else 'was learnt'
  return [
    f'{who} {words}: not better than random play beyond the noise',
    *(more if few else []),
    f'see what the agent predicts wrongly: muzero-jax diagnose --workdir='
    f'{path}; docs/it_does_not_learn.md says what to look at']
