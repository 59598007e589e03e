"""How strong a Connect Four agent is: matches, and moves judged exactly.

python -m benchmarks.connect_four --workdir=runs/connect_four

Plays matches against the opponents, both colours equally. Then takes positions
from the 12th ply on, half from games of random play and half from games of
tree search with 100 simulations, solves them, and counts how many of the
agent's moves keep the game's value. Adds to
benchmarks/results/<name>_strength.json, where `benchmarks.report` looks for it
beside the record <name>.json.
"""

import argparse
import dataclasses
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np

from benchmarks import common, connect_four_solver
from muzero_jax import agent as agent_lib
from muzero_jax import envs
from muzero_jax.evaluation import match as match_lib
from muzero_jax.evaluation import opponents

_RESULTS = pathlib.Path(__file__).parent / 'results'
_FIRST_PLY = 12
_MAX_NODES = 300_000  # Of one position; one that takes more is left out.


def positions(
  player: agent_lib.Agent, name: str, num: int, seed: int
) -> np.ndarray:
  """Returns different observations [num, 6, 7, 2] from games of one player.

  One position of each game, at a ply drawn uniformly from 12 on.
  """
  rng = np.random.default_rng(seed)
  num_games = 2 * num
  env = envs.make(player.config, num_envs=num_games, evaluation=True)
  opponent = opponents.make(name, env.spec.name)

  @jax.jit
  def step(state: Any, row: Any, rng_key: jax.Array) -> Any:
    play_key, env_key = jax.random.split(rng_key)
    return env.step(state, opponent(play_key, state, row), env_key)

  init_key, *keys = jax.random.split(jax.random.key(seed), 43)
  state, row = jax.jit(env.init)(init_key)
  frames, running = [], [~np.asarray(row.is_last)]
  for key in keys:
    frames.append(np.asarray(row.observation))
    state, row = step(state, row, key)
    running.append(running[-1] & ~np.asarray(row.is_last))
  lengths = np.sum(running, axis=0)
  found = {}
  for game in np.flatnonzero(lengths > _FIRST_PLY):
    frame = frames[rng.integers(_FIRST_PLY, lengths[game])][game]
    found[frame.tobytes()] = frame
  return np.stack(list(found.values())[:num])


def judge(
  player: agent_lib.Agent, observation: np.ndarray
) -> dict[str, Any]:
  """Returns how many of the agent's moves keep the value of positions."""
  solver = connect_four_solver.Solver(max_nodes=_MAX_NODES)
  values, solved = [], []
  start = time.monotonic()
  for i, frame in enumerate(observation):
    try:
      values.append(
        solver.move_values(connect_four_solver.from_observation(frame))
      )
    except connect_four_solver.OutOfNodesError:
      continue
    solved.append(i)
  seconds = time.monotonic() - start
  if not solved:
    raise SystemExit('no position could be solved: take more --positions')
  legal = np.array([[v is not None for v in row] for row in values])
  worth = np.array([[-2 if v is None else v for v in row] for row in values])
  player.reset()
  action = player.act(observation[solved], legal)
  kept = worth[np.arange(len(worth)), action] == worth.max(axis=1)
  # Where every legal move keeps the value, none can be wrong.
  matters = (legal & (worth < worth.max(axis=1, keepdims=True))).any(axis=1)
  return dict(
    positions=len(solved),
    unsolved=len(observation) - len(solved),
    solver_seconds=round(seconds, 1),
    kept=round(float(kept.mean()), 4),
    positions_that_matter=int(matters.sum()),
    kept_where_it_matters=(
      round(float(kept[matters].mean()), 4) if matters.any() else None
    ),
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--workdir', required=True)
  parser.add_argument('--games', type=int, default=400)
  parser.add_argument(
    '--positions', type=int, default=2200,
    help='To draw; 0 for none. One in ten takes too long to solve.')
  parser.add_argument(
    '--snapshot', type=int, help='Step of a snapshot to judge instead.')
  parser.add_argument(
    '--simulations', type=int, default=0, help='Of the agent; 0 for its own.')
  parser.add_argument(
    '--opponents', default='random,one_ply,mcts:100,mcts:1000',
    help='Separated by commas; may be empty.')
  parser.add_argument(
    '--name', default='connect_four',
    help='Record of the agent, NAME.json in benchmarks/results.')
  args = parser.parse_args()
  if not (args.opponents or args.positions):
    parser.error('--opponents and --positions: one of them is needed')
  records = [
    path.stem for path in _RESULTS.glob('connect_four*.json')
    if not path.stem.endswith('_strength')]
  if args.name not in records:
    parser.error(
      f'--name={args.name}: not among the records in {_RESULTS.name}/, '
      f'{", ".join(sorted(records))}')
  try:
    player = agent_lib.load(args.workdir, snapshot=args.snapshot)
  except ValueError as error:
    sys.exit(f'error: {error}')
  if args.simulations:
    config = dataclasses.replace(
      player.config, eval_simulations=args.simulations)
    player = agent_lib.Agent(config, player.spec, player.params, player.step)
  result: dict[str, Any] = dict(
    step=player.step,
    num_simulations=(
      player.config.eval_simulations or player.config.num_simulations),
    command='python -m benchmarks.connect_four ' + ' '.join(common.argv()),
    **common.machine(),
  )
  for name in filter(None, args.opponents.split(',')):
    start = time.monotonic()
    env = envs.make(player.config, num_envs=args.games, evaluation=True)
    match = match_lib.play_match(
      player, env, opponents.make(name, env.spec.name), num_envs=args.games,
      num_games=args.games,
    )
    result[name] = dict(
      match_lib.as_plain(match),
      seconds=round(time.monotonic() - start, 1),
    )
    print(name, result[name], flush=True)
  for name in ('random', 'mcts:100') if args.positions else ():
    found = judge(player, positions(player, name, args.positions // 2, 1))
    result[f'moves in games of {name}'] = found
    print(f'moves in games of {name}', found, flush=True)
  common.store(
    _RESULTS / f'{args.name}_strength.json',
    f'{player.step} steps: {" ".join(common.argv())}', result)


if __name__ == '__main__':
  main()
