"""Sampled MuZero: a search over a few actions drawn at each node.

All of the difference from plain MuZero (Hubert et al. 2021, arXiv 2104.06303):
  `draw`             a node's actions are C candidates, drawn from a proposal
                     beta; their prior is beta^/beta pi in place of pi
  `over_candidates`  to the search, actions are the candidates' numbers
  `learning.sampled_policy`  pi is trained towards the search's policy
With it actions may be continuous, or discrete and too many to consider each.
Rows are stored with their candidates, and with the action that was played as
itself, so that the unroll, targets, replay and Reanalyse are plain MuZero's.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.config.settings import PUCT, Gumbel
from muzero_jax.networks.distributions import Distribution
from muzero_jax.search import keys, make
from muzero_jax.search.make import Search
from muzero_jax.transforms import Transform
from muzero_jax.types import (
  Array,
  Model,
  ModelOutput,
  Params,
  SearchOutput,
)


class Proposal(NamedTuple):
  """Where candidates come from; static, never crosses jit.

  They are drawn from beta, the policy pi tempered by tau.
  """

  distribution: Distribution  # pi
  num_samples: int  # C
  temperature: float = 1.0  # tau; above 1 candidates spread wider than pi.
  has_mode: bool = False  # Whether the first one is the policy's mode instead.


class SampledState(NamedTuple):
  """The hidden state of a model over candidates."""

  hidden: Any  # [B, ...] of the model that is wrapped.
  candidates: Array  # [B, C], or [B, C, A] f32.
  seed: Array  # [B, ...] u32, data of the key of the states that follow.

  @property
  def num_steps(self) -> Array:
    """Returns that of a `PrefixState`, for the search."""
    return self.hidden.num_steps


class RootInput(NamedTuple):
  """What the root of such a model takes for an observation."""

  observation: Array  # [B, ...]
  seed: Array  # [B, ...] u32, data of keys.
  legal_actions: Array  # [B, A]


def draw(
  proposal: Proposal, rng_keys: Array, logits: Array
) -> tuple[Array, Array]:
  """Returns candidates and the logits of their prior.

  a_1 .. a_C ~ beta;  log(beta^(a_i) pi(a_i) / beta(a_i)), with beta^ the share
  of the draws that are a_i (Sampled MuZero, section 5: the search's prior in
  place of pi). Of equal draws the first has the logit of all, the others have
  the least float: they are illegal.

  Args:
    proposal: how to draw.
    rng_keys: [B] one of each node; consumed.
    logits: [B, P] of pi.

  Returns:
    [B, C, ...] candidates and [B, C] logits.
  """
  pi, num = proposal.distribution, proposal.num_samples
  tau = proposal.temperature
  noise = jax.vmap(lambda key: pi.draw_noise(key, num))(rng_keys)
  logits = logits[:, None]
  candidates = pi.transform(logits, noise, tau)
  if proposal.has_mode:
    candidates = candidates.at[:, 0].set(pi.mode(logits)[:, 0])
  log_ratio: Any = 0.0
  if tau != 1:
    log_ratio = pi.log_prob(logits, candidates) - pi.log_prob(
      logits, candidates, tau)
  same = candidates[:, :, None] == candidates[:, None]
  if same.ndim > 3:
    same = same.all(axis=-1)
  is_again = (same & np.tri(num, k=-1, dtype=bool)).any(axis=-1)
  prior = jnp.log(same.sum(axis=-1, dtype=jnp.float32) / num) + log_ratio
  return candidates, jnp.where(is_again, jnp.finfo(prior.dtype).min, prior)


def over_candidates(model: Model, proposal: Proposal) -> Model:
  """Returns a model whose actions are numbers of candidates.

  Args:
    model: h, g and f; its policy logits are those of the proposal's pi.
    proposal: how each node's candidates are drawn.

  Returns:
    The model; `root` takes a `RootInput`, and states are `SampledState`.
  """

  def root(params: Params, given: RootInput) -> ModelOutput:
    output = model.root(params, given.observation)
    logits = output.policy_logits
    if proposal.distribution.is_discrete:
      lowest = jnp.finfo(logits.dtype).min
      logits = jnp.where(given.legal_actions, logits, lowest)
    keys = jax.random.wrap_key_data(given.seed)
    return follow(output._replace(policy_logits=logits), keys)

  def step(params: Params, state: SampledState, index: Array) -> ModelOutput:
    output = model.step(params, state.hidden, take(state.candidates, index))
    keys = jax.random.wrap_key_data(state.seed)
    # Of each edge its own, so that no search's order or batch matters.
    return follow(output, jax.vmap(jax.random.fold_in)(keys, index + 1))

  def follow(output: ModelOutput, keys: Array) -> ModelOutput:
    draw_keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys)
    candidates, prior = draw(proposal, draw_keys, output.policy_logits)
    state = SampledState(
      output.state, candidates, jax.random.key_data(keys))
    return output._replace(state=state, policy_logits=prior)

  return model._replace(
    root=root, step=step, candidates=lambda state: state.candidates)


def take(candidates: Array, index: Array) -> Array:
  """Returns candidates[b, index[b]] for each b."""
  return candidates[jnp.arange(index.shape[0]), index]


def make_search(
  model: Model,
  proposal: Proposal,
  value_transform: Transform,
  reward_transform: Transform,
  settings: Gumbel | PUCT,
  **kwargs: Any,
) -> Search:
  """Make a search over candidates.

  Args:
    model: h, g and f, without afterstates.
    proposal: how candidates are drawn.
    value_transform, reward_transform, settings, **kwargs: as
      `search.make_search` has them.

  Returns:
    The search. Its `action` is one of the environment's, its `policy` [B, C]
    is of `candidates`, both of the root.
  """
  inner = make.make_search(
    over_candidates(model, proposal), value_transform, reward_transform,
    settings, **kwargs)
  return functools.partial(_search, inner, proposal.num_samples)


def _search(
  inner: Search,
  num_samples: int,
  params: Params,
  rng_key: Array,
  observation: Array,
  legal_actions: Array,
  temperature: Array | float = 1.0,
) -> SearchOutput:
  draw_key, search_key = keys.split(rng_key, 2)
  size = legal_actions.shape[0]
  seed = jax.random.key_data(keys.draw(
    lambda key, shape: jax.random.split(key, shape[0]), draw_key, (size,)))
  given: Any = RootInput(observation, seed, jnp.asarray(legal_actions) > 0)
  found = inner(
    params, search_key, given, jnp.ones((size, num_samples), bool),
    temperature)
  assert found.candidates is not None
  return found._replace(action=take(found.candidates, found.action))


