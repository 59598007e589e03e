"""What a rule of selection or scaling sees of a batch of nodes."""

from typing import Any, NamedTuple

import mctx

from muzero_jax.types import Array


class Nodes(NamedTuple):
  """What a rule sees: one node of each of B trees."""

  qvalues: Array  # [B, A] r + discount v of each edge; 0 if not visited.
  visits: Array  # [B, A] of each edge, a float.
  prior: Array  # [B, A] softmax of the logits.
  logits: Array | None  # [B, A] for rules with `needs_logits`.
  node_visits: Array  # [B] i32
  values: Array  # [B] means.
  raw_values: Array  # [B] the model's.
  invalid_actions: Array | None  # [B, A] bool, if the model tells.
  low: Array | None  # [B] for rules with `needs_extremes`.
  high: Array | None  # [B]
  root_invalid_actions: Array  # [B, A] of the roots.
  extra_data: Any  # [B, ...] of the search.
  depth: Array  # [] of the nodes; 0 is the root.
  node: Array  # [B] i32, their numbers.
  tree: mctx.Tree | None  # All of them, for rules with `needs_tree`.
