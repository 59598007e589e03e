"""Does the model tell the truth? Imagined values and rewards against play.

A trained agent plays without noise; from rows of that play the model is
unrolled with the actions that were really taken, and what it imagines is
compared with what really followed. docs/it_does_not_learn.md says how to read
the result.
"""

import functools
import math
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import files, paths
from muzero_jax.agent import Agent
from muzero_jax.drivers import build
from muzero_jax.evaluation import device_play, host_play
from muzero_jax.learning import value_prefix
from muzero_jax.networks import model
from muzero_jax.replay import ring
from muzero_jax.types import (
  AnyEnvironment,
  Array,
  HostEnvironment,
  Params,
  Trajectory,
  network_params,
)

DIAGNOSIS_FILE = 'diagnose.json'


class Agreement(NamedTuple):
  """How well numbers agree with what they predict."""

  bias: float  # Mean of predicted - real.
  error: float  # Mean |predicted - real|.
  explained: float  # 1 - Var(real - predicted) / Var(real); nan without Var.
  num_rows: int


class Diagnosis(NamedTuple):
  """Of one agent."""

  search_value: Agreement  # The searched value of a row.
  values: tuple[Agreement, ...]  # [K+1] imagined k steps ahead.
  rewards: tuple[Agreement, ...]  # [K] of transition k.
  # Imagined 1 to K steps ahead, of the state after the step that ended an
  # episode by itself: really 0.
  end_value: Agreement
  policy_entropy: float  # Of the network's policy.
  search_entropy: float  # Of the search's.
  agreement: float  # Share of rows where both prefer the same action.


def diagnose(
  agent: Agent,
  env: AnyEnvironment,
  *,
  num_envs: int,
  num_steps: int = 512,
  num_samples: int = 2_048,
  seed: int = 0,
) -> Diagnosis:
  """Play, and return how an agent's model agrees with `num_steps` rows of play.

  Args:
    agent: plays greedily, without noise.
    env: `num_envs` evaluation environments.
    num_envs: B.
    num_steps: rows T of each; long enough for episodes to end, since only
      what ends has a real return.
    num_samples: rows from which the model is unrolled.
    seed: of environments, searches and the draw of rows.

  Where no episode ended by itself, values agree with 0 rows and are nan.
  """
  play_key, draw_key = jax.random.split(jax.random.key(seed))
  if isinstance(env, HostEnvironment):
    played = host_play.collect(
      agent, env, play_key, num_envs=num_envs, num_steps=num_steps)
  else:
    played = device_play.collect(
      agent, env, play_key, num_envs=num_envs, num_steps=num_steps)
  return _compare(agent, played, _draw(agent, played, draw_key, num_samples))


def _draw(
  agent: Agent, played: Trajectory, rng_key: Array, num_samples: int
) -> ring.Sample:
  """Draw N windows of K + 1 rows of play [T, B, ...]."""
  config = agent.config
  num_steps, num_envs = played.is_last.shape
  empty = ring.init(
    agent.spec, num_envs, num_steps, config.num_sampled_actions)
  sample = functools.partial(
    ring.sample, batch_size=num_samples, window=config.unroll_steps + 1,
    stacked_frames=config.stacked_frames, stack_actions=config.stack_actions)
  return jax.jit(sample)(ring.add(empty, jax.device_put(played)), rng_key)


def _compare(
  agent: Agent, played: Trajectory, batch: ring.Sample
) -> Diagnosis:
  """Compare what the model imagines with what followed.

  Args:
    agent: who played; its model imagines.
    played: [T, B, ...] rows, as NumPy arrays.
    batch: N windows of them.
  """
  returns, known = real_returns(played, agent.config.discount)
  steps = np.arange(agent.config.unroll_steps + 1)
  index, inside, reached, ended = _windows(
    played, np.asarray(batch.slot), np.asarray(batch.env), len(steps))
  value, reward, policy = _imagine(
    agent, network_params(agent.params), batch.sequence.observation[:, 0],
    batch.sequence.action[:, :-1], batch.sequence.legal_actions[:, 0],
    jax.tree.map(lambda x: x[:, 0], batch.sequence.candidates),
  )
  searched = np.asarray(played.policy[index][:, 0])
  real = returns[index]
  counts = known[index] & inside
  return Diagnosis(
    search_value=agree(
      np.asarray(played.value[index][:, 0]), real[:, 0], counts[:, 0]),
    values=tuple(
      agree(value[:, k], real[:, k], counts[:, k]) for k in steps
    ),
    rewards=tuple(
      agree(reward[:, k], np.asarray(played.reward[index][:, k]),
            reached[:, k])
      for k in steps[1:]
    ),
    end_value=agree(value, np.zeros_like(value), ended),
    policy_entropy=_entropy(policy),
    search_entropy=_entropy(searched),
    agreement=float((policy.argmax(-1) == searched.argmax(-1)).mean()),
  )


class _Windows(NamedTuple):
  """L rows from each of N, and what of them is recorded of its episode."""

  rows: tuple[np.ndarray, np.ndarray]  # [N, L] into rows [T, B, ...].
  inside: np.ndarray  # [N, L] bool, before the episode's last row.
  reached: np.ndarray  # [N, L] bool, up to its last row.
  ended: np.ndarray  # [N, L] bool, its last row, if imagined and terminal.


def _windows(
  played: Any, slot: np.ndarray, env: np.ndarray, length: int
) -> _Windows:
  """Return windows of `length` rows of play from rows `slot`, `env` [N]."""
  num_steps = len(played.is_last)
  slots = slot[:, None] + np.arange(length)
  index = np.minimum(slots, num_steps - 1), env[:, None]
  # What follows the end of an episode, or of the record, is something else.
  recorded = slots < num_steps
  is_last = played.is_last[index]
  lasts = np.cumsum(is_last, axis=1)
  reached = recorded & (lasts - is_last == 0)
  ended = reached & is_last & (played.discount[index] == 0)
  ended[:, 0] = False  # Observed.
  return _Windows(index, recorded & (lasts == 0), reached, ended)


def _imagine(
  agent: Agent,
  params: Params,
  observation: Array,
  action: Array,
  legal_actions: Array,
  candidates: Array | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return values and rewards [N, K+1] and the root's policy [N, A].

  Of Sampled MuZero the policy is that over the root's candidates [N, C].
  """
  run = jax.jit(functools.partial(_unroll, agent.system))
  value, reward, policy = run(
    params, observation, action, legal_actions, candidates)
  return np.asarray(value), np.asarray(reward), np.asarray(policy)


def _unroll(
  system: build.System,
  params: Params,
  observation: Array,
  action: Array,
  legal_actions: Array,
  candidates: Array | None,
) -> tuple[Array, Array, Array]:
  """Return values and rewards [N, K+1] and the root's policy, on the device."""
  output = model.unroll(system.model, params, observation, action)
  reward = system.reward_transform.invert(output.reward_logits)
  into = value_prefix.differences(
    reward[:, 1:], steps=system.model.prefix_steps)
  logits = output.policy_logits[:, 0]
  if system.distribution is None:
    logits = jnp.where(legal_actions, logits, -jnp.inf)
  else:
    logits = system.distribution.log_prob(logits[:, None], candidates)
  return (
    system.value_transform.invert(output.value_logits),
    reward.at[:, 1:].set(into),
    jax.nn.softmax(logits),
  )


def real_returns(
  rows: Trajectory, discount: float
) -> tuple[np.ndarray, np.ndarray]:
  """Return what followed each row, and where that is known.

  G_t = r_{t+1} + gamma G_{t+1}, for the player to move at t; with two players
  the sign turns with the turn. Unknown where an episode was cut off.

  Args:
    rows: [T, B, ...] on the host.
    discount: gamma of one step.

  Returns:
    Returns and known, [T, B] each. At the last row of an episode that
    terminated, 0 and known.
  """
  length, num_envs = rows.reward.shape
  returns = np.zeros((length, num_envs), np.float32)
  known = np.zeros((length, num_envs), bool)
  for t in reversed(range(length)):
    ends = rows.is_last[t]
    if t == length - 1:
      known[t] = ends & (rows.discount[t] == 0)
      continue
    sign = np.where(rows.to_play[t] == rows.to_play[t + 1], 1, -1)
    after = rows.discount[t + 1] * discount * sign * returns[t + 1]
    returns[t] = np.where(ends, 0, rows.reward[t + 1] + after)
    known[t] = np.where(ends, rows.discount[t] == 0, known[t + 1])
  return returns, known


def agree(
  predicted: np.ndarray, real: np.ndarray, counts: np.ndarray
) -> Agreement:
  """Return how numbers [...] agree where `counts` [...] is True."""
  predicted, real = predicted[counts], real[counts]
  if not len(real):
    return Agreement(float('nan'), float('nan'), float('nan'), 0)
  wrong = predicted - real
  spread = float(np.var(real))
  return Agreement(
    bias=float(wrong.mean()),
    error=float(np.abs(wrong).mean()),
    explained=1 - float(np.var(wrong)) / spread if spread else float('nan'),
    num_rows=len(real),
  )


def _entropy(policy: np.ndarray) -> float:
  positive = np.where(policy > 0, policy, 1)
  return float(-(policy * np.log(positive)).sum(axis=-1).mean())


def to_json(result: Diagnosis, step: int) -> dict[str, Any]:
  """Return a diagnosis as plain numbers by name.

  Args:
    result: the diagnosis.
    step: of the agent.
  """

  def plain(value: Any) -> Any:
    if isinstance(value, Agreement):
      return {name: plain(x) for name, x in value._asdict().items()}
    if isinstance(value, tuple):
      return [plain(one) for one in value]
    number = float(value)
    if not math.isfinite(number):
      return None
    return int(number) if isinstance(value, (int, np.integer)) else number

  return dict(
    step=step, **{name: plain(x) for name, x in result._asdict().items()})


def write(
  workdir: str | os.PathLike, result: Diagnosis, step: int
) -> pathlib.Path:
  """Write diagnose.json into a run directory, in place of an older one.

  Raises:
    RunError: it cannot be written.
  """
  path = pathlib.Path(paths.expand(workdir, 'workdir')) / DIAGNOSIS_FILE
  with files.writing(str(path)):
    files.write_json(path, to_json(result, step), allow_nan=False)
  return path


def describe(result: Diagnosis) -> list[str]:
  """Return lines of text."""
  lines = [f'{"":18} {"bias":>9} {"error":>9} {"explained":>9} {"rows":>7}']

  def add(name: str, found: Agreement) -> None:
    lines.append(
      f'{name:18} {found.bias:9.3f} {found.error:9.3f} '
      f'{found.explained:9.2f} {found.num_rows:7}'
    )

  add('value, searched', result.search_value)
  for k, found in enumerate(result.values):
    add(f'value, step {k}', found)
  for k, found in enumerate(result.rewards, start=1):
    add(f'reward, step {k}', found)
  add('value, at the end', result.end_value)
  if not result.search_value.num_rows:
    lines.append(
      'no episode ended by itself: there is no real return to compare values '
      'with'
    )
  lines.append(
    f'entropy {result.policy_entropy:.2f} of the network\'s policy, '
    f'{result.search_entropy:.2f} of the search\'s; same best action in '
    f'{100 * result.agreement:.0f} % of rows'
  )
  return lines
