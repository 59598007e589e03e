"""Games of Go between an agent's GTP engine and GNU Go, which is the referee.

python -m benchmarks.gtp --workdir=runs/go_9x9 [--games=20] [--level=1]

The two are processes that speak GTP with this program alone, as a tournament
has them: each move of the one is told to the other. Whatever either refuses is
counted as an error of protocol. At the end of a game both are asked for the
score. Prints the figures and adds them to benchmarks/results/gtp.json, under
the name of the run directory.
"""

import argparse
import pathlib
import sys
import time
from typing import Any, NamedTuple

from benchmarks import common
from muzero_jax.envs import pgx_games
from muzero_jax.evaluation import gtp, opponents
from muzero_jax.runs import run_dir

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'gtp.json'
_COLOURS = ('black', 'white')


class Game(NamedTuple):
  """One game, as it ended."""

  colour: str  # Of the agent.
  moves: int
  ours: str  # The scores, for example "W+7.5".
  theirs: str
  longest: float  # Seconds that the agent took for a move, at most.
  error: str = ''  # What either refused.


def play(
  ours: gtp.Engine, theirs: gtp.Engine, colour: str, *, size: int,
  komi: float, most_moves: int,
) -> Game:
  """Returns a game between two engines.

  Args:
    ours: plays `colour`.
    theirs: the other.
    colour: "black" or "white".
    size: of the board.
    komi: of White.
    most_moves: the game is scored after so many.
  """
  moves, passes, longest = 0, 0, 0.0
  try:
    for engine in (ours, theirs):
      for command in (f'boardsize {size}', 'clear_board', f'komi {komi:g}'):
        engine.send(command)
    while passes < 2 and moves < most_moves:
      mover = _COLOURS[moves % 2]
      asked, told = (ours, theirs) if mover == colour else (theirs, ours)
      start = time.monotonic()
      vertex = asked.send(f'genmove {mover}')
      if asked is ours:
        longest = max(longest, time.monotonic() - start)
      told.send(f'play {mover} {vertex}')
      moves += 1
      passes = passes + 1 if vertex.lower() == 'pass' else 0
    return Game(
      colour, moves, ours.send('final_score'), theirs.send('final_score'),
      longest)
  except gtp.EngineError as error:
    return Game(colour, moves, '', '', longest, str(error))


def run(
  workdir: pathlib.Path, games: int, level: int, simulations: int
) -> dict[str, Any]:
  """Plays games, half of them with each colour, and returns the figures.

  Raises:
    UserError: no run, or not of Go.
    NotInstalledError: there is no GNU Go.
  """
  env_id = run_dir.read_config(workdir).env_id
  rules = pgx_games.go_rules(env_id)
  program = opponents.programs.gnugo(rules, level)
  command = [
    sys.executable, '-m', 'muzero_jax.commands.main', 'gtp',
    f'--workdir={workdir}']
  if simulations:
    command.append(f'--simulations={simulations}')
  played = []
  # Only the first command waits for jax and the compiler.
  with gtp.Engine(command, timeout=600.0) as ours:
    version = ours.send('version')
    ours.send('reg_genmove black')
    for number in range(games):
      # Seeded, or each game would be the one before.
      seeded = (*program.command, '--seed', str(number + 1))
      with gtp.Engine(seeded) as theirs:
        game = play(
          ours, theirs, _COLOURS[number % 2], size=rules.size,
          komi=rules.komi, most_moves=4 * rules.size ** 2)
      print(*game, flush=True)
      played.append(game)
  return summarise(played) | dict(agent=version, level=level)


def summarise(games: list[Game]) -> dict[str, Any]:
  """Returns how many games ended how."""
  whole = [game for game in games if not game.error]
  return dict(
    games=len(games),
    errors=[game.error for game in games if game.error],
    won=sum(game.theirs[:1].lower() == game.colour[0] for game in whole),
    same_score=sum(game.ours == game.theirs for game in whole),
    same_winner=sum(game.ours[:1] == game.theirs[:1] for game in whole),
    moves=[game.moves for game in games],
    seconds_of_slowest_move=round(max(game.longest for game in games), 3))


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument('--games', type=int, default=20)
  parser.add_argument('--level', type=int, default=1, help='of GNU Go')
  parser.add_argument(
    '--simulations', type=int, default=0, help="0 for the run's own")
  args = parser.parse_args()
  if args.games < 1:
    parser.error(f'--games={args.games} must be at least 1')
  try:
    found = run(**vars(args))
  except (ValueError, gtp.EngineError) as error:
    sys.exit(f'error: {error}')
  for name, value in found.items():
    print(f'{name:24} {value}')
  common.store(_RESULTS, args.workdir.resolve().name, found | dict(
    command=' '.join(['python -m benchmarks.gtp', *common.argv()]),
    hardware=common.hardware(),
    versions=common.versions((*common.PACKAGES, 'pgx'))))


if __name__ == '__main__':
  main()
