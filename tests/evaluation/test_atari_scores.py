"""Published scores, by any spelling of a game."""

import pytest

from muzero_jax.evaluation import atari_scores


def test_atari_scores():
  assert atari_scores.random_human('Pong') == (-20.7, 14.6)
  assert atari_scores.human_normalised('pong', -20.7) == 0
  assert atari_scores.human_normalised('ALE/Pong-v5', 14.6) == 1
  with pytest.raises(ValueError, match='nearest: breakout'):
    atari_scores.random_human('breakot')
