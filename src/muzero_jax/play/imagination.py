"""The future that a model imagines: its unroll along a line of actions.

From the observation of one position on, the model sees nothing more: rewards,
values and policies of all steps are its own.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.agent import Agent, AgentState
from muzero_jax.play import names
from muzero_jax.replay import frame_stack
from muzero_jax.search import model_functions
from muzero_jax.types import Array, Params, TimeStep, network_params


class Prediction(NamedTuple):
  """What a model says of one state."""

  reward: float | None  # Of the transition that led here; None of chance.
  value: float  # For who moves there.
  policy: list[float]  # Of all actions; empty where there are no numbers.
  note: str = ''  # What stands in the policy's place where it is empty.


class Imagination:
  """The model of one agent, a step at a time."""

  def __init__(self, agent: Agent) -> None:
    self._agent = agent
    system, config = agent.system, agent.config
    steps = model_functions.recurrent_fns(
      system.model, system.value_transform, system.reward_transform,
      config.discount)
    self._root = jax.jit(functools.partial(
      model_functions.root, system.model, system.value_transform))
    self._steps = {name: jax.jit(step) for name, step in steps.items()}
    self._observe = jax.jit(functools.partial(
      _observe, agent.spec.num_actions, config.stack_actions))
    self._encode = jax.jit(system.model.encode) if system.model.encode else None

  def root(self, state: AgentState, row: TimeStep) -> Prediction:
    """Return what the network says of a position that it sees.

    Args:
      state: what the agent remembers before this row.
      row: [1] the position.
    """
    found = self._root(self._params, self._seen(state, row))
    return self._prediction(None, found.value, found.prior_logits)

  def unroll(
    self,
    state: AgentState,
    row: TimeStep,
    line: Sequence[tuple[Any, int | None]],
  ) -> list[Prediction]:
    """Return what the model imagines after each action of a line.

    Args:
      state: what the agent remembers before this row.
      row: [1] the position from which it imagines.
      line: actions, each with the outcome of chance that follows it; None
        where there is none, or where the line ends before it.
    """
    hidden = self._root(self._params, self._seen(state, row)).embedding
    found = []
    for action, outcome in line:
      given = jnp.asarray(action, self._agent.spec.action_dtype)[None]
      if self._agent.system.model.afterstate is None:
        output, hidden = self._step('recurrent_fn', given, hidden)
        found.append(self._prediction(
          output.reward, output.value, output.prior_logits))
        continue
      after, hidden = self._step('decision_recurrent_fn', given, hidden)
      if outcome is None:
        value = float(np.asarray(after.afterstate_value)[0])
        found.append(Prediction(None, value, [], 'chance decides'))
        break
      output, hidden = self._step(
        'chance_recurrent_fn', jnp.asarray([outcome]), hidden)
      found.append(self._prediction(
        output.reward, output.value, output.action_logits))
    return found

  def outcome(
    self,
    before: tuple[AgentState, TimeStep],
    action: Any,
    after: tuple[AgentState, TimeStep],
  ) -> int | None:
    """Return the outcome of chance that a real step was, by the encoder.

    Args:
      before: what the agent remembered, and the row [1].
      action: that was taken.
      after: likewise, one step later.
    """
    if self._encode is None:
      return None
    given = jnp.asarray(action, self._agent.spec.action_dtype)[None]
    code = self._encode(
      self._params, self._seen(*before), given, self._seen(*after))
    return int(np.asarray(code)[0].argmax())

  @property
  def _params(self) -> Params:
    return network_params(self._agent.params)

  def _seen(self, state: AgentState, row: TimeStep) -> Array:
    return self._observe(state, row.observation, row.is_first)

  def _step(self, name: str, action: Array, hidden: Any) -> tuple[Any, Any]:
    return self._steps[name](
      self._params, jax.random.key(0), action, hidden)

  def _prediction(
    self, reward: Array | None, value: Array, logits: Array
  ) -> Prediction:
    distribution = self._agent.system.distribution
    policy: list[float] = []
    note = ''
    if distribution is None or distribution.is_discrete:
      policy = np.asarray(jax.nn.softmax(logits[0])).tolist()
    else:
      likeliest = names.name(
        self._agent.spec, np.asarray(distribution.mode(logits[0])))
      spread = float(distribution.entropy(logits[0]))
      note = f'likeliest {likeliest}, entropy {spread:.2f}'
    return Prediction(
      None if reward is None else float(np.asarray(reward)[0]),
      float(np.asarray(value)[0]), policy, note)


def _observe(
  num_actions: int,
  stack_actions: bool,
  state: AgentState,
  observation: Array,
  is_first: Array,
) -> Array:
  """Return the network input [1, ...] of a row."""
  seen = frame_stack.push(state.history, observation, state.action, is_first)
  return frame_stack.observe(seen, num_actions, stack_actions)
