"""Stochastic MuZero's network: an MLP with afterstates and chance codes."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from muzero_jax.networks import chance, heads
from muzero_jax.networks.mlp import Block, MLPNetwork
from muzero_jax.types import AfterstateOutput, Array, ModelOutput


class StochasticMLPNetwork(chance.Chancing, MLPNetwork):
  """h, phi, psi, g, f and e as residual MLPs (Stochastic MuZero, section 4).

  A transition is halved: phi(s, a) leads to an afterstate, g(as, c) from there
  to the next state, by the chance code c in place of the action.

  Attributes:
    num_codes: M.
    predicts_turn: whether afterstates say if the turn passes, see
      `learning.turn_prediction`.
  """

  num_codes: int = 32
  predicts_turn: bool = False

  def setup(self) -> None:
    super().setup()
    blocks = lambda: [Block(self.dtype) for _ in range(self.num_blocks)]
    self.afterstate_transition = nn.Dense(self.width, dtype=self.dtype)
    self.afterstate_blocks = blocks()
    head = lambda n: heads.MLPHead(self.head_hidden, n, self.dtype)
    self.afterstate_value_head = head(self.num_outputs)
    self.chance_head = head(self.num_codes)
    if self.predicts_turn:
      self.turn_head = head(1)
    self.code_encoder = nn.Dense(self.width, dtype=self.dtype)
    self.code_blocks = blocks()
    self.code_output = nn.Dense(self.num_codes, dtype=self.dtype)

  def afterstate(self, state: Array, action: Array) -> AfterstateOutput:
    """Returns psi(phi(s, a)) for states [B, width] and actions [B]."""
    one_hot = jax.nn.one_hot(action, self.num_actions, dtype=self.dtype)
    x = jnp.concatenate([state.astype(self.dtype), one_hot], axis=-1)
    x = state + self.afterstate_transition(x)
    for block in self.afterstate_blocks:
      x = block(x)
    after = heads.normalise_state(x)
    return AfterstateOutput(
      state=after,
      value_logits=self.afterstate_value_head(after),
      chance_logits=self.chance_head(after),
    )

  def chance(self, state: Array, code: Array) -> ModelOutput:
    """Returns f(g(as, c)) for afterstates [B, width] and codes [B, M]."""
    return self.advance(state, code)

  def turn(self, state: Array) -> Array:
    """Returns logits [B] that the turn passes, of afterstates [B, width]."""
    return self.turn_head(state)[:, 0]

  def encode(self, previous: Array, action: Array, observation: Array) -> Array:
    """Returns e(o_t, o_{t+1}) [B, M] of observations [B, ...].

    The paper's e sees the whole history; what chance did lies between the last
    two rows. The action between them is not looked at, as in the paper.
    """
    del action
    rows = [self.embed(previous), self.embed(observation)]
    x = self.code_encoder(jnp.concatenate(rows, axis=-1))
    for block in self.code_blocks:
      x = block(x)
    return chance.standardise_codes(self.code_output(x))
