"""Reanalyse: a sequence in, the same sequence with fresh targets out."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from muzero_jax.search import Search
from muzero_jax.transforms import Transform
from muzero_jax.types import Array, Model, Params, Sequence

# params, observation [B, ...] -> value [B], without a search.
ValueFn = Callable[[Params, Array], Array]


class Reanalyser(NamedTuple):
  """What makes fresh targets; never crosses jit."""

  search: Search  # Noise-free.
  value_fn: ValueFn


def make_value_fn(model: Model, value_transform: Transform) -> ValueFn:
  """Returns the network's own value of observations."""
  return lambda params, observation: value_transform.invert(
    model.root(params, observation).value_logits
  )


def reanalyse(
  params: Params,
  rng_key: Array,
  sequence: Sequence,
  *,
  search: Search,
  value_fn: ValueFn,
  unroll_steps: int,
  keep_searched: bool = False,
) -> Sequence:
  """Returns sequences whose policies and values are the newest network's.

  The first K + 1 rows are searched again, without noise, for their policies;
  the value of every row, which the return bootstraps from, is the network's
  own (MuZero appendix H). With the target network's parameters this is the
  paper's Reanalyse; the learner cannot tell the result from fresh data.

  Args:
    params: of the search's model, usually the target network's.
    rng_key: for the search.
    sequence: [N, L, ...] with observations of all L rows.
    search: noise-free.
    value_fn: the network's own value, as of `make_value_fn`.
    unroll_steps: K.
    keep_searched: whether the values that the search found are wanted, too.

  Returns:
    [N, L, ...] the sequences with new `policy`, `value` and `candidates`; with
    `searched_value` [N, K + 1], if wanted.
  """
  num_sequences, num_rows = sequence.reward.shape
  searched = unroll_steps + 1

  def flat(x: Array) -> Array:
    return x.reshape(-1, *x.shape[2:])

  found = search(
    params,
    rng_key,
    flat(sequence.observation[:, :searched]),
    flat(sequence.legal_actions[:, :searched]),
  )
  policy = found.policy.reshape(num_sequences, searched, -1)
  value = found.network_value.reshape(num_sequences, searched)
  if num_rows > searched:
    rest = value_fn(params, flat(sequence.observation[:, searched:]))
    value = jnp.concatenate(
      [value, rest.reshape(num_sequences, -1)], axis=1
    )
  sequence = sequence._replace(
    policy=sequence.policy.at[:, :searched].set(policy),
    value=value,
    searched_value=(
      found.value.reshape(num_sequences, searched) if keep_searched else None
    ),
  )
  if found.candidates is None or sequence.candidates is None:
    return sequence
  # The action stays: it is what was played, among the candidates or not.
  fresh = found.candidates.reshape(
    num_sequences, searched, *found.candidates.shape[1:])
  return sequence._replace(
    candidates=sequence.candidates.at[:, :searched].set(fresh))
