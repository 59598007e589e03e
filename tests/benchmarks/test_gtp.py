"""Games of Go between the GTP engine and GNU Go, where it is installed."""

import sys

import gtp_agents
import pytest

from benchmarks import gtp as match
from muzero_jax.envs import pgx_games
from muzero_jax.evaluation import gtp, opponents


def _engine(folder, name, script):
  """An engine in a few lines that answers all it is asked."""
  path = folder / name
  path.write_text(script)
  return gtp.Engine([sys.executable, '-S', '-E', str(path)])


_SCRIPT = '''
moves = {moves!r}
for line in iter(input, None):
  number, command, *rest = line.split()
  answer, status = '', '='
  if command == 'genmove':
    answer = moves.pop(0)
  if command == 'final_score':
    answer = 'W+7.5'
  if command == 'play' and rest[1] == 'J9':
    answer, status = 'illegal move', '?'
  print(status + number, answer, end='\\n\\n', flush=True)
'''


def test_a_game_ends_with_two_passes_or_a_refusal(tmp_path):
  for moves, expected in (
    (['D4', 'pass'], match.Game('black', 4, 'W+7.5', 'W+7.5', 0.0)),
    (['J9'], match.Game('black', 0, '', '', 0.0)),
  ):
    ours = _engine(tmp_path, 'ours.py', _SCRIPT.format(moves=moves))
    theirs = _engine(
      tmp_path, 'theirs.py', _SCRIPT.format(moves=['E5', 'pass']))
    with ours, theirs:
      found = match.play(
        ours, theirs, 'black', size=9, komi=7.5, most_moves=9)
    assert found._replace(longest=0.0, error='') == expected
    assert ('illegal move' in found.error) == (moves == ['J9'])
  games = [match.Game('black', 4, 'W+7.5', 'W+7.5', 0.1),
           match.Game('white', 5, 'B+1', 'W+2', 0.2),
           match.Game('white', 1, '', '', 0.3, 'refused')]
  assert match.summarise(games) == dict(
    games=3, errors=['refused'], won=1, same_score=1, same_winner=1,
    moves=[4, 5, 1], seconds_of_slowest_move=0.3)


@pytest.mark.thorough
def test_games_against_gnugo_break_no_protocol(tmp_path):
  try:
    opponents.programs.gnugo(pgx_games.go_rules('go_9x9'))
  except gtp.NotInstalledError as error:
    pytest.skip(str(error))
  gtp_agents.store(tmp_path, gtp_agents.make('go_9x9'))
  found = match.run(tmp_path, games=20, level=1, simulations=2)
  assert found['errors'] == [] and found['games'] == 20
  assert found['same_score'] == 20
