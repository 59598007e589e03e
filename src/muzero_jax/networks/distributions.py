"""Distributions over actions, given by what a policy head puts out.

Sampled MuZero (`search.candidates`) draws a node's candidates from one of
these, and its policy loss asks them for log-probabilities. Actions are in the
environment's own units; only here and at the input of g are they scaled to
[-1, 1].
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.errors import UserError
from muzero_jax.types import Array, EnvSpec

HEADS = ('categorical', 'tanh_gaussian')
# Of a Gaussian before it is squashed. At the largest mean tanh is 0.995; with
# the first deviation, 0.8, actions are nearly uniform.
MAX_MEAN = 3.0
MIN_SCALE, MAX_SCALE = 0.05, 1.55
# Squashed actions stay so far from the bounds, where float32 cannot tell
# log-probabilities apart.
_MARGIN = 1e-4
_QUADRATURE = 32  # Nodes per dimension.


class Distribution(NamedTuple):
  """Functions of `logits` [..., P], a policy head's outputs.

  With tau other than 1 they are those of the tempered distribution, which is
  p^(1/tau) of what is drawn before any squashing. `log_prob` is of a density
  per unit of action where actions are continuous.
  """

  num_outputs: int  # P
  is_discrete: bool  # Whether actions are numbers below P.
  draw_noise: Callable[[Array, int], Array]  # rng_key, C -> noise [C, E].
  # logits, noise [..., E], tau -> action [...] i32 or [..., D] f32.
  transform: Callable[..., Array]
  log_prob: Callable[..., Array]  # logits, action, tau -> [...].
  entropy: Callable[[Array], Array]  # logits -> [...], in nats.
  # logits -> the likeliest action; of what is squashed, before that.
  mode: Callable[[Array], Array]


def make(head: str, spec: EnvSpec) -> Distribution:
  """Make the distribution of an environment's policy head.

  Args:
    head: one of `HEADS`.
    spec: of the environment.

  Raises:
    UserError: the head does not fit the environment's actions.
  """
  fits = 'tanh_gaussian' if spec.is_continuous else 'categorical'
  if head != fits:
    raise UserError(
      f'policy_head = {head!r}: the actions of {spec.name} are '
      f'{"continuous" if spec.is_continuous else "discrete"}; allowed: {fits}')
  if head == 'categorical':
    return categorical(spec.num_actions)
  return tanh_gaussian(spec.action_low, spec.action_high)


# --- One of A actions ---

def categorical(num_actions: int) -> Distribution:
  """Returns softmax(logits) over A actions, P = A."""

  def transform(logits: Array, noise: Array, tau: float = 1.0) -> Array:
    # Gumbel's trick; what is masked by the least float is never drawn.
    return jnp.argmax(logits / tau + noise, axis=-1).astype(jnp.int32)

  def log_prob(logits: Array, action: Array, tau: float = 1.0) -> Array:
    return _take(jax.nn.log_softmax(logits.astype(jnp.float32) / tau), action)

  return Distribution(
    num_outputs=num_actions,
    is_discrete=True,
    draw_noise=lambda rng_key, count: jax.random.gumbel(
      rng_key, (count, num_actions), jnp.float32),
    transform=transform,
    log_prob=log_prob,
    entropy=softmax_entropy,
    mode=lambda logits: jnp.argmax(logits, axis=-1).astype(jnp.int32),
  )


def _take(log_probs: Array, index: Array) -> Array:
  """Returns log_probs[..., index[...]], also where one has fewer axes."""
  log_probs = jnp.broadcast_to(
    log_probs, (*index.shape, log_probs.shape[-1]))
  return jnp.take_along_axis(log_probs, index[..., None], axis=-1)[..., 0]


def softmax_entropy(logits: Array) -> Array:
  """Returns the entropy [...] of softmax(logits) [..., A], in nats."""
  return jnp.sum(jax.scipy.special.entr(jax.nn.softmax(logits)), axis=-1)


# --- A squashed Gaussian ---

def tanh_gaussian(
  low: tuple[float, ...], high: tuple[float, ...]
) -> Distribution:
  """Returns a = mid + half tanh(u), u ~ N(mean, scale^2) each, P = 2 D.

  log p(a) = log N(u) - log(half (1 - tanh(u)^2)) (Soft Actor-Critic, appendix
  C). Mean and scale are bounded: an unbounded mean leaves all actions at their
  bounds, from where no gradient leads back.
  """
  size = len(low)
  bounds = jnp.array(low, jnp.float32), jnp.array(high, jnp.float32)
  mid, half = (bounds[1] + bounds[0]) / 2, (bounds[1] - bounds[0]) / 2
  inside = lambda x: jnp.clip(x, -1 + _MARGIN, 1 - _MARGIN)
  squash = lambda u: mid + half * inside(jnp.tanh(u))

  def transform(logits: Array, noise: Array, tau: float = 1.0) -> Array:
    mean, scale = moments(logits)
    return squash(mean + scale * tau**0.5 * noise)

  def log_prob(logits: Array, action: Array, tau: float = 1.0) -> Array:
    mean, scale = moments(logits.astype(jnp.float32))
    u = jnp.arctanh(inside((action - mid) / half))
    gaussian = jax.scipy.stats.norm.logpdf(u, mean, scale * tau**0.5)
    return jnp.sum(gaussian - jnp.log(half) - _log_slope(u), axis=-1)

  def entropy(logits: Array) -> Array:
    # That of u, and the mean log-slope of the squashing.
    mean, scale = moments(logits.astype(jnp.float32))
    points, shares = np.polynomial.hermite_e.hermegauss(_QUADRATURE)
    nodes = jnp.asarray(points, jnp.float32)
    weights = jnp.asarray(shares / shares.sum(), jnp.float32)
    slope = _log_slope(mean[..., None] + scale[..., None] * nodes)
    slope = jnp.sum(slope * weights, axis=-1)
    gaussian = 0.5 * math.log(2 * math.pi * math.e) + jnp.log(scale)
    return jnp.sum(gaussian + jnp.log(half) + slope, axis=-1)

  return Distribution(
    num_outputs=2 * size,
    is_discrete=False,
    draw_noise=lambda rng_key, count: jax.random.normal(
      rng_key, (count, size), jnp.float32),
    transform=transform,
    log_prob=log_prob,
    entropy=entropy,
    mode=lambda logits: squash(moments(logits)[0]),
  )


def moments(logits: Array) -> tuple[Array, Array]:
  """Returns mean and scale [..., D] of u, of a Gaussian head [..., 2 D]."""
  mean, scale = jnp.split(logits, 2, axis=-1)
  return (
    MAX_MEAN * jnp.tanh(mean / MAX_MEAN),
    MIN_SCALE + (MAX_SCALE - MIN_SCALE) * jax.nn.sigmoid(scale),
  )


def _log_slope(u: Array) -> Array:
  """Returns log(1 - tanh(u)^2), which stays finite."""
  return 2 * (math.log(2.0) - u - jax.nn.softplus(-2 * u))
