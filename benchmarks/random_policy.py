"""Random play through the Atari environment against a plain ALE loop.

  python -m benchmarks.random_policy

A uniformly random policy on full games (minimal actions, frame skip 4, 0 to 30
no-ops, no sticky actions, rewards unclipped, 108,000-frame cap) must score the
same through `muzero_jax.envs.atari` as through an independent loop over one
`ale_py.ALEInterface`: within three standard errors of the difference. The
published random score stands beside both. Each environment contributes the
same number of episodes, or short ones would be counted too often.
"""

import argparse
import functools
import json
import pathlib
import sys
import time
from typing import Any, NamedTuple

import ale_py
import ale_py.roms
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from muzero_jax import types
from muzero_jax.config import settings as settings_lib
from muzero_jax.envs import atari
from muzero_jax.evaluation import atari_scores

GAMES = ('pong', 'breakout', 'boxing', 'freeway', 'seaquest')
FRAME_SKIP = 4
NOOP_MAX = 30
FRAME_CAP = 108_000
CHUNK = 256  # Steps per call of the jitted scan.
RESULT = pathlib.Path(__file__).parent / 'results' / 'random_policy.json'


class Carry(NamedTuple):
  """State of the scan."""

  state: Any
  row: types.TimeStep
  score: jax.Array  # [B] f32, of the running episodes.


def _step(
  environment: types.Environment, carry: Carry, rng_key: jax.Array
) -> tuple[Carry, tuple[jax.Array, jax.Array]]:
  """Returns the next carry, and per environment (episode ended, its score)."""
  action_key, step_key = jax.random.split(rng_key)
  action = jax.random.randint(
    action_key, carry.score.shape, 0, environment.spec.num_actions
  )
  state, row = environment.step(carry.state, action, step_key)
  score = jnp.where(row.is_first, 0.0, carry.score + row.reward)
  return Carry(state, row, score), (row.is_last, score)


def play_environment(
  game: str, num_envs: int, episodes_each: int, seed: int
) -> np.ndarray:
  """Returns the scores [num_envs * episodes_each] through our environment."""
  settings = settings_lib.Environment(
    family='atari',
    env_id=game,
    frame_size=36,  # Nobody looks at them.
    frame_skip=FRAME_SKIP,
    noop_max=NOOP_MAX,
    max_episode_frames=FRAME_CAP,
  )
  environment = atari.make(settings, num_envs, evaluation=True)
  chunk = jax.jit(
    lambda carry, key: jax.lax.scan(
      functools.partial(_step, environment),
      carry,
      jax.random.split(key, CHUNK),
    )
  )
  init_key, rng_key = jax.random.split(jax.random.key(seed))
  carry = Carry(*environment.init(init_key), jnp.zeros((num_envs,)))
  scores: list[list[float]] = [[] for _ in range(num_envs)]
  while min(map(len, scores)) < episodes_each:
    rng_key, chunk_key = jax.random.split(rng_key)
    carry, (is_last, score) = chunk(carry, chunk_key)
    for t, i in zip(*np.nonzero(np.asarray(is_last))):
      scores[i].append(float(score[t, i]))
  return np.array([s[:episodes_each] for s in scores]).ravel()


def play_plain(game: str, num_episodes: int, seed: int) -> np.ndarray:
  """Returns the scores [num_episodes] of a loop over one emulator."""
  rng = np.random.default_rng(seed)
  ale = ale_py.ALEInterface()
  ale.setInt('random_seed', seed)
  ale.setFloat('repeat_action_probability', 0.0)
  rom = ale_py.roms.get_rom_path(game)
  assert rom is not None, game
  ale.loadROM(rom)
  actions = ale.getMinimalActionSet()
  scores = []
  for _ in range(num_episodes):
    ale.reset_game()
    for _ in range(rng.integers(NOOP_MAX + 1)):
      ale.act(ale_py.Action.NOOP)
      if ale.game_over():
        ale.reset_game()
    score = frames = 0
    while not ale.game_over() and frames < FRAME_CAP:
      action = actions[rng.integers(len(actions))]
      for _ in range(FRAME_SKIP):
        score += ale.act(action)
        frames += 1
        if ale.game_over() or frames >= FRAME_CAP:
          break
    scores.append(score)
  return np.array(scores, float)


def _summary(scores: np.ndarray) -> dict[str, float]:
  return {
    'episodes': len(scores),
    'mean': float(scores.mean()),
    'standard_error': float(scores.std(ddof=1) / len(scores) ** 0.5),
  }


def compare(
  game: str, num_envs: int, episodes_each: int, seed: int
) -> dict[str, Any]:
  """Returns both results of one game and whether they agree."""
  start = time.perf_counter()
  ours = _summary(play_environment(game, num_envs, episodes_each, seed))
  middle = time.perf_counter()
  plain = _summary(play_plain(game, num_envs * episodes_each, seed))
  difference = ours['mean'] - plain['mean']
  error = float(np.hypot(ours['standard_error'], plain['standard_error']))
  return {
    'game': game,
    'environment': ours | {'seconds': round(middle - start, 1)},
    'plain_loop': plain | {'seconds': round(time.perf_counter() - middle, 1)},
    'difference': difference,
    'standard_error_of_difference': error,
    'agree': abs(difference) <= 3 * error,
    'published_random': atari_scores.random_human(game)[0],
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--num_envs', type=int, default=20)
  parser.add_argument('--episodes_each', type=int, default=5)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  print('game       environment      plain loop       diff/se  published')
  rows = []
  for game in GAMES:
    row = compare(game, args.num_envs, args.episodes_each, args.seed)
    rows.append(row)
    error = row['standard_error_of_difference']
    cells = [
      f'{row[k]["mean"]:8.2f} +- {row[k]["standard_error"]:<5.2f}'
      for k in ('environment', 'plain_loop')
    ]
    print(
      f'{game:9}{cells[0]}{cells[1]}'
      f'{row["difference"] / error if error else 0.0:8.2f}'
      f'{row["published_random"]:10.1f}'
      f'  {"agree" if row["agree"] else "DISAGREE"}',
      flush=True,
    )
  RESULT.write_text(json.dumps({
    'command': 'python -m benchmarks.random_policy'
               + ''.join(f' {a}' for a in sys.argv[1:]),
    'protocol': 'uniformly random, minimal actions, frame skip 4, 0 to 30 '
                'no-ops, no sticky actions, full games, unclipped, '
                '108000-frame cap; +- is one standard error',
    'versions': common.versions(('jax', 'ale-py', 'numpy')),
    'hardware': common.hardware(),
    'games': rows,
  }, indent=1) + '\n')
  if not all(row['agree'] for row in rows):
    sys.exit('The environment and the plain loop disagree.')


if __name__ == '__main__':
  main()
