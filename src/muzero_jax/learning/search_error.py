"""By how much searched q-values err: what differs by less must not decide.

A fixed least range of q-values is in units of reward, and has to be found for
each environment. This one is measured while the agent plays, of two things:

- the mean error of the searched values along one step, in units of reward;
- the *trust* in the search, from 0 to 1: how much better an action turned out
  for each unit by which the search said it was better. It is 1 where the model
  knows what actions do, and 0 where its q-values differ by noise alone.

The least range is the error divided by the trust.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax import targets
from muzero_jax.types import Array, Trajectory

# Of each sum, that is kept from one iteration to the next.
_KEPT = 0.9
_LEAST = 1e-8  # More than rounding makes of 0.
_SPAN = 8  # Steps of a return, half of a rollout's at most.
_LEAST_TRUST = 0.02


class Sums(NamedTuple):
  """Over steps; each [] f32. Of each step three numbers are known:

  a = q(a_t) - v_t, the advantage that the search gave to the action played;
  v = v_t, the searched value;
  d = z_t - v_t, the return over up to 8 steps minus that value. One step would
  not do: where the value of the next state is wrong, q(a_t) and the return of
  one step are wrong alike.
  """

  steps: Array
  error: Array  # |r_{t+1} + d_t v_{t+1} - v_t|
  a: Array
  v: Array
  d: Array
  aa: Array
  av: Array
  vv: Array
  ad: Array
  vd: Array
  dd: Array


def init() -> Sums:
  """Return the sums before anything was measured."""
  return Sums(*[jnp.zeros((), jnp.float32)] * len(Sums._fields))


def measure(rows: Trajectory, discount: float) -> Sums:
  """Return the sums of what was played.

  Args:
    rows: [T, B] that follow each other, with `action_value`.
    discount: gamma.
  """
  assert rows.action_value is not None, 'of a search'
  span = max(min(_SPAN, rows.reward.shape[0] // 2), 1)
  returns = lambda steps: jax.vmap(
    functools.partial(_returns, discount, steps), in_axes=1, out_axes=1)(rows)
  v = rows.value[:-1]
  counts = ~rows.is_last[:-1] & jnp.isfinite(v)
  error = jnp.abs(returns(1) - v)
  d = returns(span)
  num = d.shape[0]
  v, counts = v[:num], counts[:num]
  d, a = d - v, rows.action_value[:num] - v
  counts &= jnp.isfinite(d) & jnp.isfinite(a)
  total = lambda x: jnp.sum(jnp.where(counts, x, 0.0), dtype=jnp.float32)
  return Sums(
    steps=total(jnp.ones_like(d)), error=total(error[:num]),
    a=total(a), v=total(v), d=total(d), aa=total(a * a), av=total(a * v),
    vv=total(v * v), ad=total(a * d), vd=total(v * d), dd=total(d * d))


def _returns(discount: float, steps: int, rows: Trajectory) -> Array:
  """Return the returns over so many steps of the rows [T] that have them."""
  first = jnp.arange(rows.reward.shape[0] - steps)
  index = first[:, None] + jnp.arange(steps + 1)

  def of_window(
    reward: Array, ends: Array, to_play: Array, is_last: Array, value: Array
  ) -> Array:
    signed = targets.signed_discounts(ends, to_play, discount_factor=discount)
    return targets.n_step_returns(
      reward, signed, is_last, value, td_steps=steps, num_targets=1)[0]

  return jax.vmap(of_window)(*(x[index] for x in (
    rows.reward, rows.discount, rows.to_play, rows.is_last, rows.value)))


def update(sums: Sums, new: Sums) -> Sums:
  """Return running sums, in which older iterations count for less.

  Args:
    sums: so far.
    new: as `measure` returns them, over all devices.
  """
  is_new = new.steps > 0
  return jax.tree.map(
    lambda old, x: jnp.where(is_new, _KEPT * old + x, old), sums, new)


def trust(sums: Sums) -> Array:
  """Return the trust that the searches deserve, [] f32 from 0.02 to 1.

  It is the slope of a in a linear regression of d on a and v. v is among the
  regressors since its noise is part of both a and d. The slope has a normal
  prior of mean 1 and standard deviation 1, which counts where there are few
  data (Bayesian linear regression).
  """
  n = jnp.maximum(sums.steps, 1.0)
  centred = lambda xy, x, y: xy - x * y / n
  aa = centred(sums.aa, sums.a, sums.a)
  av = centred(sums.av, sums.a, sums.v)
  vv = jnp.maximum(centred(sums.vv, sums.v, sums.v), _LEAST)
  ad = centred(sums.ad, sums.a, sums.d)
  vd = centred(sums.vd, sums.v, sums.d)
  dd = centred(sums.dd, sums.d, sums.d)
  # What of each v does not explain.
  aa = jnp.maximum(aa - av * av / vv, 0.0)
  ad = ad - av * vd / vv
  variance = jnp.maximum(dd - vd * vd / vv, 0.0) / n + _LEAST
  slope = (ad + variance) / (aa + variance)
  return jnp.clip(slope, _LEAST_TRUST, 1.0)


def least_range(sums: Sums) -> Array:
  """Return the least range of q-values, [] f32 in units of reward.

  Infinity before anything was measured: q-values have no influence then, and
  the network's policy decides.
  """
  error = sums.error / jnp.maximum(sums.steps, 1.0) / trust(sums)
  # The search divides by it, so it must not be 0.
  return jnp.where(sums.steps > 0, jnp.maximum(error, _LEAST), jnp.inf)
