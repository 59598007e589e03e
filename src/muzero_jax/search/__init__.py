"""Batched search: root and dynamics in, action, policy and value out."""

from muzero_jax.search.policies import (
  Search,
  add_dirichlet_noise,
  make_search,
  mixed_value,
  qtransform_by_tree,
  sample_action,
)

__all__ = [
  'Search',
  'add_dirichlet_noise',
  'make_search',
  'mixed_value',
  'qtransform_by_tree',
  'sample_action',
]
