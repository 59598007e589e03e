"""Makes the agents that come with the package, and docs/agents.md.

python -m benchmarks.agents cartpole=runs/cartpole connect_four=runs/c4

Each argument is the name of an agent and the run directory that it is taken
from: a run that has come to its end, of which the newest checkpoint is meant.
Written are src/muzero_jax/data/agents/<name>.safetensors, in the place of an
older one, and the page, which is of all agents that lie there; without an
argument the page alone. The card's score is that of --episodes episodes, or
games against each opponent: the run's own evaluation, where it is of as many
and of the same opponents, or else a new one.

A file has to stay below 1 MB: parameters are float32 where that fits, else
rounded to float16, and the score is then that of the rounded ones. What fits
neither way is refused, and nothing is written for it; so is a run that has not
come to its end. The commit on the card is the one of the running sources, which
must be committed, unless --commit names that of training. A name is that of the
environment, as in connect_four, minatar_breakout, 2048, pendulum.
"""

import argparse
import hashlib
import os
import pathlib
import sys
import tempfile

from benchmarks import learning
from muzero_jax import agent, errors, files
from muzero_jax.commands import start
from muzero_jax.errors import UserError
from muzero_jax.evaluation import agent_export, agent_pages
from muzero_jax.evaluation.agent_export import Exported
from muzero_jax.runs import agent_file, agent_source

PAGE = learning.ROOT / 'docs/agents.md'
MAX_BYTES = 1_000_000
# Whom a card's agent has played, where the defaults of an evaluation, random
# and perfect play, do not tell how good it is.
OPPONENTS = {
  'board/connect_four': ('random', 'mcts:100'),
  'board/othello': ('random', 'mcts:100'),
  'board/go_9x9': ('random', 'mcts:100'),
}
_INTRODUCTION = """\
# Trained agents

These come with the package, one file of parameters, configuration and card
each, and are loaded by name, here as everywhere that takes `--workdir` to read
an agent:

```python
from muzero_jax import agent

player = agent.load('{first}')
action = player.act(observation)
```

```bash
python -m experiments.evaluate --workdir={first}
```

`agent.shipped()` lists the names. [environments.md](environments.md) has the
environments by name; one has to be installed to load its agent. Scores are of
noise-free play, with 95 % intervals; the licence is that of the environment,
which is not part of the file. Make a file of an agent of your own by
`python -m experiments.export --workdir=runs/x --output=agent.safetensors`.

This page is written from the files by `python -m benchmarks.agents`.
"""


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('agents', nargs='*', metavar='NAME=RUN')
  parser.add_argument('--episodes', type=int, default=100)
  parser.add_argument('--commit', default=None)
  parser.add_argument(
    '--folder', type=pathlib.Path, default=agent_source.FOLDER)
  parser.add_argument('--page', type=pathlib.Path, default=PAGE)
  args = parser.parse_args(argv)
  failed = False
  try:
    wanted = [_split(given) for given in args.agents]
    # Once: the files written here change the checkout.
    commit = args.commit
    if commit is None:
      commit = agent_export.commit_of_sources()
    if wanted and (not commit or commit.endswith('-dirty')):
      raise UserError(
        f'commit = {commit!r}: sources that trained an agent have to be '
        'committed; commit them, or name theirs by --commit')
  except UserError as error:
    sys.exit(f'error: {error}')
  if wanted:
    start.prepare()
  for name, workdir in wanted:
    # One that fails does not keep the others from being made.
    try:
      done = make(
        name, workdir, args.folder, num_episodes=args.episodes,
        commit=commit)
    except errors.Error as error:
      print(f'error: {name}: {error}', file=sys.stderr)
      failed = True
      continue
    scores = '; '.join(map(agent_pages.describe, done.found.card.scores))
    print(f'{name}: {done.num_bytes:,} bytes, {done.found.dtype}: {scores}',
          flush=True)
  args.page.write_text(page(args.folder), encoding='utf-8')
  print(f'wrote {args.page}')
  sys.exit(failed)


def make(
  name: str,
  workdir: str,
  folder: pathlib.Path,
  *,
  num_episodes: int = 100,
  commit: str | None = None,
) -> Exported:
  """Writes the agent of a run into a folder, as small as it has to be.

  Raises:
    UserError: it does not fit, is no agent, or not trained to its end.
  """
  folder.mkdir(parents=True, exist_ok=True)
  player = agent.load(workdir)
  if player.step < player.config.total_steps:
    raise UserError(
      f'workdir {workdir}: the run is at {player.step:,} of '
      f'{player.config.total_steps:,}, not at its end')
  with tempfile.TemporaryDirectory() as scratch:
    for dtype in ('float32', 'float16'):
      if _least_bytes(player, dtype) >= MAX_BYTES:
        continue
      done = agent_export.export(
        workdir, os.path.join(scratch, f'{name}{agent_file.SUFFIX}'),
        dtype=dtype, num_episodes=num_episodes, commit=commit,
        opponent_names=OPPONENTS.get(player.spec.name, ()))
      if done.num_bytes < MAX_BYTES:
        target = folder / os.path.basename(done.path)
        files.write_whole(target, pathlib.Path(done.path).read_bytes())
        return done._replace(path=str(target))
  raise UserError(
    f'workdir {workdir}: its agent takes {MAX_BYTES:,} bytes or more even in '
    'float16, and does not come with the package')


def page(folder: pathlib.Path = agent_source.FOLDER) -> str:
  """Returns the page of all agents in a folder."""
  agents = [
    (path.stem, agent_file.read(path), path.read_bytes())
    for path in sorted(folder.glob(f'*{agent_file.SUFFIX}'))]
  parts = [
    _INTRODUCTION.format(first=agents[0][0] if agents else 'NAME'),
    agent_pages.table([
      (name, found, len(data)) for name, found, data in agents]),
    *(agent_pages.page(
      name, found, len(data), hashlib.sha256(data).hexdigest(), level=2)
      for name, found, data in agents)]
  return '\n'.join(parts)


def _split(given: str) -> tuple[str, str]:
  """Returns the name and the run directory of an argument.

  Raises:
    UserError: it has not both.
  """
  name, _, workdir = given.partition('=')
  if not (name.isidentifier() or name.isalnum()) or not workdir:
    raise UserError(
      f'{given!r} is not NAME=RUN, such as cartpole=runs/cartpole')
  return name, workdir


def _least_bytes(player: agent.Agent, dtype: str) -> int:
  """Returns how many bytes the parameters alone take."""
  import jax

  size = 4 if dtype == 'float32' else 2
  return sum(size * x.size for x in jax.tree.leaves(player.params))


if __name__ == '__main__':
  main()
