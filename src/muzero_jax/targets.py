"""Value, reward and policy targets of ONE stored sequence.

A `Sequence` from `replay.ring` (or `replay.reanalyse`) goes in, the `Target`
that `losses` compares an unroll with comes out; `learner` vmaps over the batch.

The return functions share one convention: the transition from row i to i + 1
has its reward in row i + 1, its signed discount at index i, and the rows of
interest end at the first row e with `is_last`. Whatever stands in later rows
belongs to another episode and never reaches a result, not even as a NaN.
"""

import chex
import jax
import jax.numpy as jnp

from muzero_jax.errors import UserError
from muzero_jax.types import Array, Sequence, Target

_VALUE_TARGETS = ('n_step', 'td_lambda', 'monte_carlo')


def signed_discounts(
  discount: Array, to_play: Array, *, discount_factor: float
) -> Array:
  """Returns the discount of each transition, for the player who moves.

  d_i = gamma * discount_{i+1} * (+1 if to_play_i = to_play_{i+1} else -1).

  Values are from the point of view of the player to move, so that a step that
  passes the turn changes the sign of what follows.

  Args:
    discount: [L] 0 where the transition into the row terminated, else 1.
    to_play: [L] player to move.
    discount_factor: gamma per step.

  Returns:
    [L-1] discount of the transition from each row to the next.
  """
  chex.assert_rank(discount, 1, custom_message='discount')
  chex.assert_equal_shape(
    [discount, to_play], custom_message='discount and to_play')
  sign = jnp.where(to_play[1:] == to_play[:-1], 1.0, -1.0)
  return discount_factor * sign * discount[1:]


def n_step_returns(
  reward: Array,
  discount: Array,
  is_last: Array,
  value: Array,
  *,
  td_steps: int,
  num_targets: int,
  td_limit: Array | None = None,
) -> Array:
  """Returns the n-step returns of the first rows.

  z_k = sum_{i=k}^{m-1} (prod_{j=k}^{i-1} d_j) r_{i+1}
        + (prod_{j=k}^{m-1} d_j) v_m,   m = min(k + n, e).

  MuZero, section 3; Sutton and Barto 2018, eq. 7.1. A truncated episode thus
  bootstraps from the value of its own last row, a terminated one from 0.

  Args:
    reward: [L] of the transition into each row.
    discount: [L-1] of the transition out of each row, see `signed_discounts`.
    is_last: [L] True on the last row of an episode; e is the first of them,
      or row L-1 if there is none.
    value: [L] to bootstrap from.
    td_steps: n.
    num_targets: K + 1, rows to compute; at most L.
    td_limit: [] a smaller n of this sequence, from 1 to `td_steps`; None for
      `td_steps`.

  Returns:
    [K+1] returns; 0 at and after row e.
  """
  num_rows = reward.shape[0]
  for name, array in (
    ('reward', reward), ('is_last', is_last), ('value', value)
  ):
    chex.assert_shape(
      array, (num_rows,), custom_message=f'{name}: one for each row')
  chex.assert_shape(
    discount, (num_rows - 1,),
    custom_message='discount: one for each transition between rows')
  value = jnp.asarray(value)
  end = end_row(is_last)
  is_real = jnp.arange(num_rows - 1) < end
  reward = jnp.where(is_real, reward[1:], 0.0)
  discount = jnp.where(is_real, discount, 1.0)
  k = jnp.arange(num_targets)
  step = k[:, None] + jnp.arange(td_steps)  # [K+1, n]
  reward = reward.at[step].get(mode='fill', fill_value=0.0)
  discount = discount.at[step].get(mode='fill', fill_value=1.0)
  last = k + td_steps
  if td_limit is not None:
    within = jnp.arange(td_steps) < td_limit
    reward = jnp.where(within, reward, 0.0)
    discount = jnp.where(within, discount, 1.0)
    last = k + td_limit
  after = jnp.cumprod(discount, axis=1)
  before = jnp.concatenate([jnp.ones_like(after[:, :1]), after[:, :-1]], 1)
  bootstrap = _discounted(
    after[:, -1], value[jnp.minimum(last, end)])
  returns = jnp.sum(before * reward, axis=1) + bootstrap
  return jnp.where(k < end, returns, 0.0)


def lambda_returns(
  reward: Array,
  discount: Array,
  is_last: Array,
  value: Array,
  *,
  td_steps: int,
  num_targets: int,
  td_lambda: float = 0.95,
  td_limit: Array | None = None,
) -> Array:
  """Returns the truncated lambda returns of the first rows.

  For each row k on its own, with m = min(k + n, e):
  G_m = v_m,  G_i = r_{i+1} + d_i ((1 - lambda) v_{i+1} + lambda G_{i+1}),
  and the result is G_k. Sutton and Barto 2018, eq. 12.9.

  Args:
    reward: [L] as for `n_step_returns`.
    discount: [L-1] as for `n_step_returns`.
    is_last: [L] as for `n_step_returns`.
    value: [L] as for `n_step_returns`.
    td_steps: n, the longest return that is mixed in.
    num_targets: K + 1.
    td_lambda: 0 gives one-step returns, 1 n-step returns.
    td_limit: as for `n_step_returns`.

  Returns:
    [K+1] returns; 0 at and after row e.
  """
  # G_k is the n-step return of a process that pays (1 - lambda) of the next
  # value at once and discounts by lambda more.
  paid = (1.0 - td_lambda) * _discounted(discount, value[1:])
  return n_step_returns(
    jnp.concatenate([reward[:1], reward[1:] + paid]),
    td_lambda * discount,
    is_last,
    value,
    td_steps=td_steps,
    num_targets=num_targets,
    td_limit=td_limit,
  )


def monte_carlo_returns(
  reward: Array,
  discount: Array,
  is_last: Array,
  value: Array,
  *,
  num_targets: int,
) -> Array:
  """Returns the returns up to the end of the episode or of the window.

  `n_step_returns` with m = e for every row: nothing is bootstrapped if the
  window reaches the end of a terminated episode. MuZero uses these on board
  games.

  Args:
    reward: [L] as for `n_step_returns`.
    discount: [L-1] as for `n_step_returns`.
    is_last: [L] as for `n_step_returns`.
    value: [L] as for `n_step_returns`.
    num_targets: K + 1.

  Returns:
    [K+1] returns; 0 at and after row e.
  """
  return n_step_returns(
    reward,
    discount,
    is_last,
    value,
    td_steps=reward.shape[0] - 1,
    num_targets=num_targets,
  )


def make_targets(
  rng_key: Array,
  sequence: Sequence,
  *,
  unroll_steps: int,
  td_steps: int,
  discount: float,
  value_target: str = 'n_step',
  td_lambda: float = 0.95,
  td_limit: Array | None = None,
  stale: Array | None = None,
  action_bounds: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
) -> Target:
  """Returns what an unroll of K steps from row 0 is trained towards.

  Row e is the first with `is_last`. Before it, everything is trained; reward
  k is that of the transition from row k to k + 1. From row e on:
    terminated (discount 0): value and reward are 0 and trained, the policy is
      masked; these are absorbing states.
    truncated (discount 1): row e trains its policy, on which the search ran,
      but not its value, which no reward follows; later rows train nothing.
  Actions from row e on are drawn uniformly at random from all A; continuous
  ones between `action_bounds`.

  Args:
    rng_key: for the random actions; consumed.
    sequence: [L] rows, L = K + 1 + n.
    unroll_steps: K.
    td_steps: n of 'n_step', horizon of 'td_lambda'; 'monte_carlo' reads the
      whole window.
    discount: gamma per step.
    value_target: 'n_step', 'td_lambda' or 'monte_carlo'.
    td_lambda: lambda of 'td_lambda'.
    td_limit: [] a smaller `td_steps` of this sequence, see `td_limits`; not of
      'monte_carlo'.
    stale: [] bool, whether the values of this sequence are its
      `searched_value` in place of returns, see `is_stale`; None for returns.
    action_bounds: of continuous actions, least [A] and largest [A].

  Returns:
    A `Target`; every masked entry is finite (0).

  Raises:
    UserError: an argument is outside its range, or L is not K + 1 + n.
  """
  num_rows = sequence.reward.shape[0]
  _check_arguments(
    num_rows, unroll_steps, td_steps, discount, value_target, td_lambda)
  sequence = jax.tree.map(jnp.asarray, sequence)
  end = end_row(sequence.is_last)
  k = jnp.arange(unroll_steps + 1)
  is_live = k < end
  terminated = sequence.discount[end] == 0
  trains_value = is_live | terminated
  trains_policy = is_live | ((k == end) & ~terminated)
  value = _value_targets(
    sequence, unroll_steps, td_steps, discount, value_target, td_lambda,
    td_limit)
  if stale is not None:
    assert sequence.searched_value is not None, 'of a search, or nothing'
    chex.assert_shape(
      sequence.searched_value, (unroll_steps + 1,),
      custom_message='sequence.searched_value')
    searched = jnp.where(is_live, sequence.searched_value, 0.0)
    value = jnp.where(stale, searched, value)
  target = Target(
    value=value,
    reward=jnp.where(is_live[:-1], sequence.reward[1 : unroll_steps + 1], 0.0),
    policy=jnp.where(
      trains_policy[:, None], sequence.policy[: unroll_steps + 1], 0.0),
    action=_actions(rng_key, sequence, is_live[:-1], action_bounds),
    value_mask=trains_value.astype(jnp.float32),
    reward_mask=trains_value[:-1].astype(jnp.float32),
    policy_mask=trains_policy.astype(jnp.float32),
  )
  if sequence.candidates is None:
    return target
  candidates = sequence.candidates[: unroll_steps + 1]
  trained = trains_policy.reshape(-1, *(1,) * (candidates.ndim - 1))
  return target._replace(candidates=jnp.where(trained, candidates, 0))


def _actions(
  rng_key: Array,
  sequence: Sequence,
  is_live: Array,
  bounds: tuple[tuple[float, ...], tuple[float, ...]],
) -> Array:
  """Returns the K actions that were taken, random ones after the end."""
  num_steps = is_live.shape[0]
  taken = sequence.action[:num_steps]
  if taken.ndim == 1:
    num_actions = sequence.legal_actions.shape[-1]
    drawn = jax.random.randint(
      rng_key, (num_steps,), 0, num_actions, jnp.int32)
    return jnp.where(is_live, taken, drawn)
  low, high = (jnp.asarray(bound, taken.dtype) for bound in bounds)
  drawn = jax.random.uniform(
    rng_key, taken.shape, taken.dtype, minval=low, maxval=high)
  return jnp.where(is_live[:, None], taken, drawn)


def _value_targets(
  sequence: Sequence,
  unroll_steps: int,
  td_steps: int,
  discount: float,
  value_target: str,
  td_lambda: float,
  td_limit: Array | None,
) -> Array:
  """Returns the [K+1] value targets of the kind `value_target`."""
  rows = (
    sequence.reward,
    signed_discounts(
      sequence.discount, sequence.to_play, discount_factor=discount),
    sequence.is_last,
    sequence.value,
  )
  num_targets = unroll_steps + 1
  if value_target == 'monte_carlo':
    return monte_carlo_returns(*rows, num_targets=num_targets)
  if value_target == 'td_lambda':
    return lambda_returns(
      *rows, td_steps=td_steps, num_targets=num_targets, td_lambda=td_lambda,
      td_limit=td_limit)
  return n_step_returns(
    *rows, td_steps=td_steps, num_targets=num_targets, td_limit=td_limit)


def live_transitions(target: Target) -> Array:
  """Returns [..., K] 1 for transitions of the episode, 0 from its end on."""
  num_steps = target.reward.shape[-1]
  # The last row has its policy masked if terminated, its value if truncated.
  masks = target.policy_mask * target.value_mask
  return masks[..., :num_steps]


def td_limits(age: Array, *, td_steps: int, period: float) -> Array:
  """Returns the n of sequences by their age: the older, the shorter.

  n = clip(td_steps - floor(age / period), 1, td_steps). What an older policy
  did counts for less, and the newest network's values for more (EfficientZero,
  section 4.3, off-policy correction).

  Args:
    age: [N] environment steps since they were played.
    td_steps: n of fresh data.
    period: steps of age that shorten n by one.
  """
  shorter = jnp.floor(age / period).astype(jnp.int32)
  return jnp.clip(td_steps - shorter, 1, td_steps)


def is_stale(
  age: Array, num_updates: Array, *, oldest: float, start: int
) -> Array:
  """Returns which sequences train their values on a fresh search of each row.

  EfficientZero V2's mixed value target (arXiv 2403.00564, section on
  search-based value estimation): what an older policy did says little of what
  the newest would, so that from some age on a row's value is that of the
  newest search of it, and no stored reward counts. Early in training, when
  searches know little, all values are returns.

  Args:
    age: [N] environment steps since they were played.
    num_updates: [] made so far.
    oldest: age at which returns end.
    start: updates before which all values are returns.

  Returns:
    [N] bool
  """
  return (age >= oldest) & (num_updates >= start)


def end_row(is_last: Array) -> Array:
  """Returns the first row with `is_last`, or the last row if none has it."""
  return jnp.where(
    jnp.any(is_last), jnp.argmax(is_last), is_last.shape[0] - 1)


def _discounted(discount: Array, value: Array) -> Array:
  """Returns discount * value; 0 for discount 0, whatever the value."""
  return jnp.where(discount == 0, 0.0, discount * value)


def _check_arguments(
  num_rows: int,
  unroll_steps: int,
  td_steps: int,
  discount: float,
  value_target: str,
  td_lambda: float,
) -> None:
  """Raises UserError if an argument of `make_targets` is out of range."""
  for name, number in (('unroll_steps', unroll_steps), ('td_steps', td_steps)):
    if number < 1:
      raise UserError(f'{name}={number}: allowed are integers >= 1.')
  if num_rows != unroll_steps + 1 + td_steps:
    raise UserError(
      f'sequence has {num_rows} rows: allowed is unroll_steps + 1 + td_steps '
      f'= {unroll_steps + 1 + td_steps}.')
  for name, share in (('discount', discount), ('td_lambda', td_lambda)):
    if not 0.0 <= share <= 1.0:
      raise UserError(f'{name}={share}: allowed are values in [0, 1].')
  if value_target not in _VALUE_TARGETS:
    raise UserError(
      f'value_target={value_target!r}: allowed are {_VALUE_TARGETS}.')
