"""Learning: total loss, targets of a batch and the optimiser's step."""

from muzero_jax import _lazy

_MODULES = (
  'augment',
  'consistency',
  'fresh_targets',
  'learner',
  'learner_state',
  'optimiser',
  'policy_gradient',
  'sampled_policy',
  'search_error',
  'stochastic',
  'symmetry',
  'total_loss',
  'turn_prediction',
  'value_prefix',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
