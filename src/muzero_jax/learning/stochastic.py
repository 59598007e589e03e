"""Stochastic MuZero: the unroll through afterstates, and its losses.

Where a model has afterstates, the learner calls `unroll` in place of
`model.unroll`, and adds `chance_loss` to `losses.muzero_loss` (Antonoglou et
al. 2022, section 4 and equation 6).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from muzero_jax import losses, targets
from muzero_jax.networks import model as model_lib
from muzero_jax.transforms import Transform
from muzero_jax.types import Array, Model, ModelOutput, Params, Target


class ChanceOutput(NamedTuple):
  """What the model says of K transitions of one sequence."""

  value_logits: Array  # [K, D] of the afterstates.
  chance_logits: Array  # [K, M] of the codes.
  encoding: Array  # [K, M] e(o_t, a_t, o_{t+1}).
  code: Array  # [K, M] one-hot, its largest; passes no gradient.
  turn_logits: Array | None = None  # [K], of models that predict the turn.


class ChanceLoss(NamedTuple):
  """The loss of K transitions; the parts are masked but not weighted."""

  total: Array  # [] f32, the weighted sum of the parts.
  afterstate: Array  # [K] of the afterstates' values.
  chance: Array  # [K] of the distribution over codes.
  commitment: Array  # [K] of the encoder's output to its code.
  afterstate_mask: Array  # [K] 1 where the first is trained.
  chance_mask: Array  # [K] 1 for transitions of the episode.


def quantise(encoding: Array) -> tuple[Array, Array]:
  """Returns the code of an encoding, and the same with a way back.

  The codebook holds the M one-hot vectors, of which the nearest to an encoding
  is that of its largest entry. The second result is the code to a forward
  pass, while its gradient goes to the encoding as it is (straight-through).

  Args:
    encoding: [..., M]

  Returns:
    One-hot codes [..., M] without a gradient, and those with one.
  """
  num_codes = encoding.shape[-1]
  code = jax.nn.one_hot(
    jnp.argmax(encoding, axis=-1), num_codes, dtype=jnp.float32)
  code = jax.lax.stop_gradient(code)
  return code, encoding + jax.lax.stop_gradient(code - encoding)


def unroll(
  model: Model,
  params: Params,
  observation: Array,
  action: Array,
  *,
  state_gradient_scale: float = 0.5,
  keep_states: bool = False,
) -> tuple[ModelOutput, ChanceOutput]:
  """Returns the model's outputs along K actions and what followed them.

  as_k = phi(s_k, a_k), c_{k+1} = code of e(o_k, a_k, o_{k+1}),
  s_{k+1}, r_{k+1} = g(as_k, c_{k+1}) (Stochastic MuZero, section 4). The
  gradient of the hidden state is halved once for each transition, where it
  enters phi.

  Args:
    model: with afterstates.
    params: of the model.
    observation: [B, K + 1, ...] of the rows.
    action: [B, K]
    state_gradient_scale: factor of the gradient between transitions.
    keep_states: whether the hidden states are wanted.

  Returns:
    A `ModelOutput` with axes [B, K + 1, ...] whose states are None unless
    kept, and a `ChanceOutput` with axes [B, K, ...].
  """
  assert model.afterstate is not None and model.encode is not None
  num_steps = action.shape[1]
  flat = lambda x: x.reshape(-1, *x.shape[2:])
  encoding = model.encode(
    params,
    flat(observation[:, :num_steps]),
    flat(action),
    flat(observation[:, 1 : num_steps + 1]),
  ).reshape(*action.shape, -1)
  code, differentiable = quantise(encoding)

  def body(state: Array, now: tuple[Array, Array]) -> tuple[Array, tuple]:
    action_k, code_k = now
    assert model.afterstate is not None and model.chance is not None
    state = losses.scale_gradient(state, state_gradient_scale)
    after = model.afterstate(params, state, action_k)
    output = model.chance(params, after.state, code_k)
    made = output if keep_states else model_lib.without_state(output)
    turn = None if model.turn is None else model.turn(params, after.state)
    return output.state, (made, after.value_logits, after.chance_logits, turn)

  root = model.root(params, observation[:, 0])
  _, (steps, values, chances, turns) = jax.lax.scan(
    body, root.state, (action.T, jnp.moveaxis(differentiable, 1, 0))
  )
  return model_lib.join(root, steps), ChanceOutput(
    value_logits=jnp.moveaxis(values, 0, 1),
    chance_logits=jnp.moveaxis(chances, 0, 1),
    encoding=encoding,
    code=code,
    turn_logits=None if turns is None else turns.T,
  )


def chance_loss(
  output: ChanceOutput,
  target: Target,
  *,
  value_transform: Transform,
  value_weight: float = 0.25,
  chance_weight: float = 1.0,
  commitment_weight: float = 1.0,
) -> ChanceLoss:
  """Returns what Stochastic MuZero adds to the loss of one sequence.

  sum_{k=0}^{K-1} w_{k+1} (c_v l^v(z_k, Q_k) + c_c l^p(c_{k+1}, sigma_k)
  + beta ||c_{k+1} - e_{k+1}||^2), with w from `losses.unroll_weights`
  (Stochastic MuZero, equation 6; the reward is part of z_k, since it belongs
  to the chance transition). After the end of an episode nothing happens by
  chance; but the afterstates of absorbing states have value 0, or a search
  would find there whatever it likes.

  Args:
    output: [K, ...] of the unroll.
    target: of the same rows.
    value_transform: of the value heads.
    value_weight: c_v.
    chance_weight: c_c.
    commitment_weight: beta.
  """
  num_steps = target.reward.shape[0]
  live = targets.live_transitions(target)
  value = jnp.where(target.reward_mask == 0, 0.0, target.value[:num_steps])
  value = jax.lax.stop_gradient(value)
  afterstate = target.reward_mask * value_transform.loss(
    output.value_logits, value_transform.apply(value)
  )
  chance = live * losses.policy_loss(output.chance_logits, output.code)
  distance = jnp.sum((output.code - output.encoding) ** 2, axis=-1)
  commitment = live * distance
  weights = losses.unroll_weights(num_steps)[1:]
  total = jnp.sum(weights * (
    value_weight * afterstate
    + chance_weight * chance
    + commitment_weight * commitment
  ))
  return ChanceLoss(
    total, afterstate, chance, commitment, target.reward_mask, live
  )


def batch_loss(
  loss_fn: Callable[[ChanceOutput, Target], ChanceLoss],
  output: ChanceOutput,
  target: Target,
) -> tuple[Array, dict[str, Array]]:
  """Returns what Stochastic MuZero adds to each loss, and metrics by name.

  Args:
    loss_fn: `chance_loss` with its weights.
    output: [B, K, ...] of the unroll.
    target: [B, ...] of the same rows.
  """
  loss = jax.vmap(loss_fn)(output, target)
  mean = losses.masked_mean
  return loss.total, dict(
    afterstate_loss=mean(loss.afterstate, loss.afterstate_mask),
    chance_loss=mean(loss.chance, loss.chance_mask),
    commitment_loss=mean(loss.commitment, loss.chance_mask),
    codes_in_use=codes_in_use(output.code, loss.chance_mask),
  )


def codes_in_use(code: Array, mask: Array) -> Array:
  """Returns how many codes the encoder uses, as a perplexity.

  exp(H(p)) of the share p of each code among the batch's transitions: M if all
  are equally common, 1 if the encoder has collapsed to one.

  Args:
    code: [..., M] one-hot.
    mask: [...] 1 where it counts.
  """
  num_codes = code.shape[-1]
  counts = jnp.sum((code * mask[..., None]).reshape(-1, num_codes), axis=0)
  shares = counts / jnp.maximum(counts.sum(), 1)
  return jnp.exp(jnp.sum(jax.scipy.special.entr(shares)))
