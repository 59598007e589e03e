"""Jobs on many machines, through Ray: players, reanalysers and one learner.

Players send complete stretches of play, reanalysers search stored ones again,
and the learner waits for neither one in particular. `driver` is the learner's
side, `jobs` runs in processes of Ray's, `crew` hires and replaces them.
"""

from muzero_jax import _lazy

_MODULES = (
  'crew',
  'driver',
  'jobs',
  'runtime',
  'stretches',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
