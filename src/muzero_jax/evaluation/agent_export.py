"""A trained agent as one file with a card that says how well it plays.

The score is that of the parameters as the file has them: rounded, if they are.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import agent as agent_lib
from muzero_jax import config as config_lib
from muzero_jax import envs, files, paths
from muzero_jax.agent import Agent
from muzero_jax.config import Config
from muzero_jax.drivers import by_environment
from muzero_jax.errors import UserError
from muzero_jax.evaluation import agent_pages, opponents, random_play
from muzero_jax.evaluation import report as report_lib
from muzero_jax.runs import agent_card, agent_file, leaves, record
from muzero_jax.runs.agent_card import Card, CardScore
from muzero_jax.runs.agent_file import AgentFile
from muzero_jax.types import EnvSpec

LICENCE = 'Apache-2.0'  # As that of this project.
_PACKAGES = ('muzero_jax', 'jax', 'flax', 'numpy')
_QUANTILE = 1.959964  # Of a 95 % confidence interval.


class Exported(NamedTuple):
  """A file that was written."""

  path: str
  num_bytes: int
  sha256: str  # Of the whole file.
  found: AgentFile  # As it was read back.
  # Largest change of a parameter by its rounding, of the largest in its array.
  rounding: float
  is_stored_score: bool  # Whether the run's own evaluation was taken.


def export(
  workdir: str | os.PathLike,
  output: str | os.PathLike,
  *,
  index: int = 0,
  snapshot: int | str | None = None,
  dtype: str = 'float32',
  num_episodes: int = 64,
  opponent_names: Sequence[str] = (),
  seed: int = 0,
  commit: str | None = None,
  allow_imports: str | Iterable[str] = (),
) -> Exported:
  """Writes an agent of a run as one file, and returns what was written.

  Its score is that of the run's evaluation.json, where that is of the same
  parameters, simulations and opponents, and of as many episodes; otherwise it
  is measured.

  Args:
    workdir: the run directory.
    output: the file, which ends in .safetensors.
    index: which of `num_seeds` agents.
    snapshot: the step of a snapshot, or 'best'; None for the newest checkpoint.
    dtype: that parameters are rounded to, one of `agent_file.DTYPES`.
    num_episodes: of the evaluation, or games against each opponent.
    opponent_names: as `report.report` takes them.
    seed: of the evaluation.
    commit: of the sources that trained it; None for those that are running, as
      far as git knows them.
    allow_imports: as in `agent.load`.

  Raises:
    UserError: there is no such agent, or it cannot be written so.
    RunError: the file cannot be written.
  """
  path = _check_output(output)
  player = agent_lib.load(
    workdir, index=index, snapshot=snapshot, allow_imports=allow_imports)
  exact = {
    name: np.asarray(leaf)
    for name, leaf in leaves.flatten(player.params).items()}
  arrays = agent_file.cast(exact, dtype)
  result = None
  if snapshot is None and dtype == 'float32' and not seed:
    result = _stored(workdir, player, index, num_episodes, opponent_names)
  is_stored = result is not None
  if result is None:
    result = report_lib.report(
      _rounded(player, arrays), num_episodes=num_episodes, seed=seed + index,
      opponent_names=opponent_names, workdir=workdir, index=index,
      allow_imports=allow_imports)
    result = random_play.add(
      [result], player.config, player.spec, player.make_env,
      workdir=workdir)[0]
  card = _card(
    player, result, seed=seed + index, index=index,
    commit=commit_of_sources() if commit is None else commit,
    num_parameters=sum(array.size for array in arrays.values()))
  data = agent_file.write(
    path, arrays, config=_of_one(player.config), spec=player.spec,
    step=player.step, dtype=dtype, card=card)
  return Exported(
    path, len(data), hashlib.sha256(data).hexdigest(),
    agent_file.read(path, allow_imports=allow_imports),
    _rounding(exact, arrays), is_stored)


def write_card(done: Exported, name: str) -> str:
  """Writes the card of an exported agent beside its file; returns its path.

  Args:
    done: what `export` returned.
    name: what the card calls the agent.

  Raises:
    RunError: it cannot be written.
  """
  path = pathlib.Path(done.path).with_suffix('.md')
  text = agent_pages.page(name, done.found, done.num_bytes, done.sha256)
  text += '\n' + agent_pages.usage(done.path, done.found.card.environment)
  with files.writing(f'card {path}'):
    files.write_whole(path, text.encode())
  return str(path)


def _check_output(output: str | os.PathLike) -> str:
  """Returns the path of the file, before anything slow starts.

  Raises:
    UserError: it is none that an agent can be written to.
  """
  path = paths.expand(output, 'output')
  files.check_path('output', path)
  if not path.endswith(agent_file.SUFFIX):
    raise UserError(
      f'output = {path!r} must end in {agent_file.SUFFIX}: it is one file')
  if os.path.isdir(path):
    raise UserError(f'output = {path!r} is a directory')
  return path


def _rounded(player: Agent, arrays: Mapping[str, np.ndarray]) -> Agent:
  """Returns an agent that plays with parameters as a file has them."""
  params = jax.tree.unflatten(
    jax.tree.structure(player.params),
    [jnp.asarray(arrays[name]).astype(leaf.dtype)
     for name, leaf in leaves.flatten(player.params).items()])
  return player.with_params(params, player.step)


def _rounding(
  exact: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]
) -> float:
  """Returns the largest change, of the largest number in its array."""
  changes = [0.0]
  for name, array in exact.items():
    if array.size and array.dtype != arrays[name].dtype:
      largest = float(np.abs(array).max()) or 1.0
      change = np.abs(arrays[name].astype(array.dtype) - array).max()
      changes.append(float(change) / largest)
  return max(changes)


def _stored(
  workdir: str | os.PathLike,
  player: Agent,
  index: int,
  num_episodes: int,
  opponent_names: Sequence[str],
) -> dict[str, Any] | None:
  """Returns what evaluation.json says of these parameters, if it does."""
  config, spec = player.config, player.spec
  wanted = dict(
    environment=spec.name, step=player.step,
    num_simulations=config.eval_simulations or config.num_simulations)
  names = opponent_names
  if spec.num_players == 2 and not names:
    names = opponents.defaults(spec.name)
  try:
    found = files.read_json(
      pathlib.Path(workdir) / record.EVALUATION_FILE)
    one = found.get('agents', [found])[index]
    fits = (
      all(one[name] == value for name, value in wanted.items())
      and one['num_episodes'] >= num_episodes
      and {*names} == {name for name, x in one.items() if 'wins' in _table(x)})
    # Whether it can stand on a card at all.
    agent_card.of_plain(agent_card.to_plain(_card(
      player, one, seed=index, index=index, commit='', num_parameters=0)))
  except (OSError, ValueError, LookupError, TypeError, AttributeError):
    return None
  return one if fits else None


def _card(
  player: Agent,
  result: Mapping[str, Any],
  *,
  seed: int,
  index: int,
  commit: str,
  num_parameters: int,
) -> Card:
  """Returns the card of an agent that was evaluated."""
  config = player.config
  package = envs.package(config.family)
  beside = result.get('random_play', {})
  installed = [*_PACKAGES, *([package.name] if package.name else [])]
  return Card(
    environment=player.spec.name,
    environment_licence=package.licence,
    licence=LICENCE,
    scores=_scores(result, seed),
    random_play=(
      (beside['mean'], beside['standard_error']) if beside else ()),
    num_simulations=result['num_simulations'],
    num_parameters=num_parameters,
    unit='updates' if config.dataset else 'steps',
    command=training_command(config, player.spec),
    agent=f'{index + 1} of {config.num_seeds}',
    commit=commit,
    date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    versions={
      'python': platform.python_version(),
      **{name: importlib.metadata.version(name) for name in installed}},
  )


def _scores(result: Mapping[str, Any], seed: int) -> tuple[CardScore, ...]:
  """Returns what `report.report` found as scores of a card."""
  number = result['num_episodes']
  if 'returns' in result:
    mean = result['mean']
    half = _QUANTILE * (result['standard_error'] or 0.0)
    return (CardScore(mean, mean - half, mean + half, number, seed),)
  scores = []
  for name, match in result.items():
    match = _table(match)
    if match.get('mean') is None or 'wins' not in match:
      continue
    mean = match['mean']
    low, high = (2 * end - 1 for end in match['interval'])
    counts = tuple(match[key] for key in ('wins', 'draws', 'losses'))
    # Rounding must not leave the mean outside.
    scores.append(CardScore(
      mean, min(low, mean), max(high, mean), sum(counts), seed, name, *counts))
  return tuple(scores)


def _table(value: Any) -> Mapping[str, Any]:
  return value if isinstance(value, dict) else {}


def _of_one(config: Config) -> Config:
  """Returns the configuration of one agent, without this machine's paths."""
  return dataclasses.replace(
    config, num_seeds=1, dataset=os.path.basename(
      os.path.normpath(config.dataset)) if config.dataset else '')


def training_command(config: Config, spec: EnvSpec) -> str:
  """Returns the command that trains a configuration, from its nearest preset.

  Args:
    config: of a run, as its environment has resolved it.
    spec: of that environment.
  """
  preset = config_lib.nearest_preset(config) or 'cartpole'
  kept = config_lib.RESUMABLE_FIELDS - {
    'num_steps', 'offline_updates', 'eval_simulations'}
  changes = {
    name: value for name, (value, _) in config_lib.diff(
      config, config_lib.from_preset(preset)).items() if name not in kept}
  same = {name: getattr(config, name) for name in kept}
  for name in list(changes):
    fewer = {x: value for x, value in changes.items() if x != name}
    # What the environment decides needs no word.
    with contextlib.suppress(UserError):
      if config == by_environment.resolve(config_lib.from_preset(
          preset, **{**same, **fewer}), spec):
        changes = fewer
  if config.dataset:
    changes['dataset'] = os.path.basename(os.path.normpath(config.dataset))
  return shlex.join(['muzero-jax', 'train', f'--preset={preset}', *(
    f'--{name}={config_lib.text(value)}' for name, value in changes.items())])


def commit_of_sources() -> str:
  """Returns the commit of the checkout that is running; '' without one.

  It ends in -dirty where files were changed since.
  """
  root = pathlib.Path(agent_lib.__file__).resolve().parents[2]
  git = shutil.which('git')
  if git is None or not (root / '.git').exists():
    return ''
  done = subprocess.run(
    [git, '-C', str(root), 'describe', '--always', '--abbrev=40', '--dirty',
     '--exclude=*'], text=True, capture_output=True)
  return done.stdout.strip() if done.returncode == 0 else ''
