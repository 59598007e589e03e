"""Batched search: root and dynamics in, action, policy and value out.

`make_search` builds a search from a `Model`. Below it, `search` and the
policies take mctx's arguments and return its trees, faster. mctx's other names
are here too, so that `from muzero_jax import search as mctx` is all that a
program written for mctx has to change.
"""

from mctx import (
  ChanceRecurrentFnOutput,
  DecisionRecurrentFnOutput,
  GumbelMuZeroExtraData,
  InteriorActionSelectionFn,
  LoopFn,
  PolicyOutput,
  RecurrentFn,
  RecurrentState,
  RootActionSelectionFn,
  RootFnOutput,
  Tree,
  gumbel_muzero_interior_action_selection,
  gumbel_muzero_root_action_selection,
  muzero_action_selection,
  qtransform_by_min_max,
  qtransform_by_parent_and_siblings,
  qtransform_completed_by_mix_value,
)

from muzero_jax import _lazy
from muzero_jax.config.settings import PUCT, Gumbel
from muzero_jax.search.engine import RecurrentFnOutput, search
from muzero_jax.search.make import Search, make_search, sample_action
from muzero_jax.search.policies import (
  gumbel_muzero_policy,
  muzero_policy,
)
from muzero_jax.search.qtransforms import (
  mixed_value,
  qtransform_above_noise,
  qtransform_by_tree,
)
from muzero_jax.search.root_noise import add_dirichlet_noise
from muzero_jax.search.selection import Selection, puct
from muzero_jax.search.stochastic import (
  gumbel_stochastic_muzero_policy,
  stochastic_muzero_policy,
)
from muzero_jax.search.trees import num_bytes

__all__ = [
  'PUCT',
  'ChanceRecurrentFnOutput',
  'DecisionRecurrentFnOutput',
  'Gumbel',
  'GumbelMuZeroExtraData',
  'InteriorActionSelectionFn',
  'LoopFn',
  'PolicyOutput',
  'RecurrentFn',
  'RecurrentFnOutput',
  'RecurrentState',
  'RootActionSelectionFn',
  'RootFnOutput',
  'Search',
  'Selection',
  'Tree',
  'add_dirichlet_noise',
  'gumbel_muzero_interior_action_selection',
  'gumbel_muzero_policy',
  'gumbel_muzero_root_action_selection',
  'gumbel_stochastic_muzero_policy',
  'make_search',
  'mixed_value',
  'muzero_action_selection',
  'muzero_policy',
  'num_bytes',
  'puct',
  'qtransform_above_noise',
  'qtransform_by_min_max',
  'qtransform_by_parent_and_siblings',
  'qtransform_by_tree',
  'qtransform_completed_by_mix_value',
  'sample_action',
  'search',
  'stochastic_muzero_policy',
]

__getattr__, __dir__ = _lazy.attach(__name__, ('candidates',))
