"""Builds the parts of a system from a Config.

Drivers, evaluation and the agent all build from here, so that what is
evaluated is what was trained. Only `network_factory` unpacks a Config too.
"""

import functools
import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from muzero_jax import search, transforms
from muzero_jax.config import Config
from muzero_jax.errors import UserError
from muzero_jax.learning import learner, optimiser, symmetry, total_loss
from muzero_jax.networks import build, distributions, model
from muzero_jax.networks.distributions import Distribution
from muzero_jax.replay import frame_stack, reanalyse, reanalyse_buffer
from muzero_jax.search import candidates
from muzero_jax.transforms import Transform
from muzero_jax.types import Array, EnvSpec, Model


class System(NamedTuple):
  """The parts that acting and learning share."""

  model: Model
  value_transform: Transform
  reward_transform: Transform
  distribution: Distribution | None = None  # Sampled MuZero's pi.


def make_system(config: Config, spec: EnvSpec) -> System:
  """Returns model and transforms for an environment.

  Raises:
    UserError: if the network does not fit the environment.
  """
  transform = _make_transform(config)
  distribution = _make_distribution(config, spec)
  network = build.make_network(
    config, spec, transform.num_outputs, distribution)
  return System(
    model.make_model(network), transform, transform, distribution
  )


def _make_distribution(config: Config, spec: EnvSpec) -> Distribution | None:
  """Returns what candidates are drawn from; None in plain MuZero.

  Raises:
    UserError: continuous actions without candidates, or a policy head that
      does not fit.
  """
  if not config.num_sampled_actions:
    if spec.is_continuous:
      raise UserError(
        f'num_sampled_actions = 0: the actions of {spec.name} are continuous, '
        'and are searched over as samples alone; give 2 or more')
    return None
  return distributions.make(
    config.policy_head, spec, num_bins=config.action_bins)


def _make_transform(config: Config) -> Transform:
  if config.head == 'scalar':
    return transforms.scalar()
  return transforms.categorical(
    num_bins=config.support_bins,
    max_value=config.support_max,
    mean_of=config.support_mean,
  )


def make_search(
  config: Config, spec: EnvSpec, system: System, *, training: bool
) -> search.Search:
  """Returns the search; without noise, and greedy, unless `training`."""
  simulations = config.num_simulations
  if not training and config.eval_simulations:
    simulations = config.eval_simulations
  return _make_search(
    config, spec, system, simulations, noise=training, has_mode=not training
  )


def make_reanalyse_search(
  config: Config, spec: EnvSpec, system: System
) -> search.Search:
  """Returns the noise-free search that makes fresh training targets."""
  return _make_search(
    config, spec, system, config.num_simulations, noise=False
  )


def _make_search(
  config: Config,
  spec: EnvSpec,
  system: System,
  num_simulations: int,
  *,
  noise: bool,
  has_mode: bool = False,
) -> search.Search:
  make: Any = functools.partial(search.make_search, system.model)
  if system.distribution is not None:
    make = functools.partial(
      candidates.make_search,
      system.model,
      candidates.Proposal(
        system.distribution,
        config.num_sampled_actions,
        temperature=config.proposal_temperature,
        share=config.proposal_share,
        has_mode=has_mode,
      ),
    )
  return make(
    system.value_transform,
    system.reward_transform,
    policy=config.search,
    num_simulations=num_simulations,
    max_depth=config.max_depth or None,
    discount=config.discount,
    num_players=spec.num_players,
    noise=noise,
    max_considered_actions=config.max_considered_actions,
    gumbel_value_scale=config.gumbel_value_scale,
    gumbel_min_range=config.gumbel_min_range,
    gumbel_min_share=config.gumbel_min_share,
    gumbel_prior_weight=config.gumbel_prior_weight,
    gumbel_keep_prior=config.gumbel_keep_prior,
    gumbel_maxvisit_init=config.gumbel_maxvisit_init,
    q_normalisation=config.q_normalisation,
    pb_c_init=config.pb_c_init,
    pb_c_base=config.pb_c_base,
    dirichlet_alpha=config.dirichlet_alpha,
    dirichlet_fraction=config.dirichlet_fraction,
  )


def make_objective(config: Config, system: System) -> total_loss.Objective:
  """Returns what the learner minimises."""
  return total_loss.make_objective(
    system.model,
    system.value_transform,
    system.reward_transform,
    policy_weight=config.policy_weight,
    value_weight=config.value_weight,
    reward_weight=config.reward_weight,
    chance_weight=config.chance_weight,
    commitment_weight=config.commitment_weight,
    turn_weight=config.turn_weight,
    consistency_weight=config.consistency_weight,
    distribution=system.distribution,
    entropy_weight=config.entropy_weight,
  )


def make_learner(
  config: Config,
  spec: EnvSpec,
  system: System,
  *,
  num_devices: int = 1,
  axis_name: str | None = None,
) -> learner.Learner:
  """Returns the learner of one device's share of each batch.

  Raises:
    UserError: values would never be mixed.
  """
  last = total_updates(config)
  if config.mixed_value_age and config.mixed_value_start >= last:
    raise UserError(
      f'mixed_value_start = {config.mixed_value_start}: the run ends after '
      f'{last} updates, before mixed_value_age can count; use less')
  rule = optimiser.make(
    optimiser=config.optimiser,
    learning_rate=config.learning_rate,
    schedule=config.learning_rate_schedule,
    learning_rate_end=config.learning_rate_end,
    num_updates=last,
    warmup_updates=config.warmup_updates,
    momentum=config.momentum,
    weight_decay=config.weight_decay,
    max_grad_norm=config.max_grad_norm,
  )
  reanalyse_search = None
  if config.reanalyse_fraction and config.reanalyse_form == 'batch':
    reanalyse_search = make_reanalyse_search(config, spec, system)
  return learner.make_learner(
    make_objective(config, system),
    rule,
    batch_size=config.batch_size // num_devices,
    unroll_steps=config.unroll_steps,
    td_steps=config.td_steps,
    value_target=config.value_target,
    td_lambda=config.td_lambda,
    discount=config.discount,
    td_correction=config.td_correction,
    mixed_value_age=config.mixed_value_age,
    mixed_value_start=config.mixed_value_start,
    shift_pixels=config.shift_pixels,
    intensity_scale=config.intensity_scale,
    target_period=config.target_period,
    average_decay=config.average_decay,
    priority_alpha=config.priority_alpha,
    priority_beta=config.priority_beta,
    reanalyse_fraction=config.reanalyse_fraction,
    reanalyse_form=config.reanalyse_form,
    reanalyse_search=reanalyse_search,
    value_fn=reanalyse.make_value_fn(system.model, system.value_transform),
    stacked_frames=config.stacked_frames,
    stack_actions=config.stack_actions,
    symmetries=symmetry.make(spec) if config.augment_symmetry else None,
    action_bounds=(spec.action_low, spec.action_high),
    axis_name=axis_name,
  )


def num_reanalysed(config: Config, num_devices: int = 1) -> int:
  """Returns the reanalysed sequences of each batch, over all devices."""
  local = round(config.reanalyse_fraction * (config.batch_size // num_devices))
  return local * num_devices


def stream_plan(
  config: Config,
  num_devices: int = 1,
  *,
  rows_per_env: int = 0,
  num_envs: int = 0,
) -> reanalyse_buffer.Plan | None:
  """Returns the sizes of a device's stream; None where Reanalyse is none.

  Args:
    config: of the run.
    num_devices: over which the run is sharded.
    rows_per_env: of the replay; 0 for the configuration's.
    num_envs: of the replay, over all devices; 0 for the configuration's.
  """
  sequences = num_reanalysed(config, num_devices) // num_devices
  if config.reanalyse_form != 'stream' or not sequences:
    return None
  rows_per_env = rows_per_env or config.capacity_rows_per_env
  rows = rows_per_env * (num_envs or config.num_envs)
  in_batch = sequences * (config.unroll_steps + 1)
  wanted = config.reanalyse_rows_per_iteration // num_devices
  return reanalyse_buffer.make_plan(
    rows_per_iteration=wanted or config.updates_per_iteration * in_batch,
    group_rows=in_batch,
    capacity=(config.reanalyse_capacity or rows) // num_devices,
    rows_per_env=rows_per_env,
    # A stretch loses K + n rows at its end: let it be worth that.
    opening=max(config.rollout_length, config.unroll_steps + config.td_steps),
    stacked_frames=config.stacked_frames,
    unroll_steps=config.unroll_steps,
    td_steps=config.td_steps,
  )


def make_stream(
  config: Config,
  spec: EnvSpec,
  system: System,
  *,
  num_devices: int = 1,
  rows_per_env: int = 0,
  num_envs: int = 0,
) -> reanalyse_buffer.Stream | None:
  """Returns Reanalyse as a stream, if it is one, of one device."""
  plan = stream_plan(
    config, num_devices, rows_per_env=rows_per_env, num_envs=num_envs)
  if plan is None:
    return None
  return reanalyse_buffer.make_stream(
    spec,
    plan,
    search=make_reanalyse_search(config, spec, system),
    value_fn=reanalyse.make_value_fn(system.model, system.value_transform),
    stack_actions=config.stack_actions,
    num_sampled=config.num_sampled_actions,
  )


def searches_per_iteration(
  config: Config,
  num_devices: int = 1,
  *,
  rows_per_env: int = 0,
  num_envs: int = 0,
) -> int:
  """Returns the rows that Reanalyse searches in each iteration that learns."""
  plan = stream_plan(
    config, num_devices, rows_per_env=rows_per_env, num_envs=num_envs)
  if plan is not None:
    return num_devices * plan.num_actors * plan.searched
  sequences = num_reanalysed(config, num_devices)
  return (
    config.updates_per_iteration * sequences * (config.unroll_steps + 1))


def total_updates(config: Config) -> int:
  """Returns the updates of the whole run, but for rows that are no steps."""
  if config.dataset:
    return config.offline_updates
  rows = max(config.num_steps - config.min_replay, 1)
  iterations = math.ceil(rows / (config.num_envs * config.rollout_length))
  return max(iterations * config.updates_per_iteration, 1)


def example_observation(config: Config, spec: EnvSpec) -> Array:
  """Returns one zero network input [1, ...], to initialise parameters."""
  empty = frame_stack.init(spec, 1, config.stacked_frames)
  return frame_stack.observe(empty, spec.num_actions, config.stack_actions)


def temperature(config: Config, num_steps: Array) -> Array:
  """Returns the temperature after `num_steps` environment steps."""
  fraction = num_steps / config.num_steps
  index = jnp.searchsorted(
    jnp.array(config.temperature_at), fraction, side='right'
  )
  return jnp.array(config.temperature, jnp.float32)[
    jnp.maximum(index - 1, 0)
  ]
