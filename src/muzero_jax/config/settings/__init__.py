"""Settings records: each part's fields, defaults, ranges and help, once.

`Config` composes them all; each part of the library takes the record that it
needs, so that it can be used without the rest:

  learner.make_learner(loss, optimiser, settings.Learning(batch_size=64))
"""

from muzero_jax.config.settings.acting import Acting, FrameStack
from muzero_jax.config.settings.base import Record
from muzero_jax.config.settings.data import Augmentation, Reanalyse, Replay
from muzero_jax.config.settings.environment import Driver, Environment
from muzero_jax.config.settings.learning import (
  Learning,
  LossWeights,
  Optimiser,
  Targets,
  Updates,
)
from muzero_jax.config.settings.network import Architecture, Heads
from muzero_jax.config.settings.run import Run
from muzero_jax.config.settings.search import (
  PUCT,
  Gumbel,
  Sampling,
  Search,
  Simulations,
)

# In the order in which help and config.json list their fields.
PARTS: tuple[type[Record], ...] = (
  Environment, Driver, FrameStack, Architecture, Heads, Simulations, Search,
  Acting, Replay, Reanalyse, Augmentation, Targets, LossWeights, Updates,
  Optimiser, Run,
)

__all__ = [
  'PARTS',
  'PUCT',
  'Acting',
  'Architecture',
  'Augmentation',
  'Driver',
  'Environment',
  'FrameStack',
  'Gumbel',
  'Heads',
  'Learning',
  'LossWeights',
  'Optimiser',
  'Reanalyse',
  'Record',
  'Replay',
  'Run',
  'Sampling',
  'Search',
  'Simulations',
  'Targets',
  'Updates',
]
