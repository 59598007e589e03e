"""Published Atari scores, and scores on the human-normalised scale.

Last in the data flow: `report` and the results print through it. The table
is of 30 no-op starts and a cap of 108,000 frames; say so beside a figure.
"""

import functools
import importlib.resources
import json

from muzero_jax.envs import naming


@functools.cache
def _table() -> dict[str, dict[str, tuple[float, float]]]:
  path = importlib.resources.files('muzero_jax') / 'data/atari_scores.json'
  return json.loads(path.read_text())


def random_human(game: str) -> tuple[float, float]:
  """Returns the published scores of random play and of a human.

  Args:
    game: any spelling that `envs.atari.make` accepts.

  Raises:
    UserError: the table lacks the game; names the nearest it has.
  """
  scores = _table()['random_human']
  random, human = scores[naming.resolve_name('atari', game, scores)]
  return float(random), float(human)


def human_normalised(game: str, score: float) -> float:
  """Returns (score - random) / (human - random): 0 is random, 1 a human."""
  random, human = random_human(game)
  return (score - random) / (human - random)
