"""Builds the parts of a system from a Config.

Drivers, evaluation and the agent all build from here, so that what is
evaluated is what was trained. Each part gets its own settings record; only
`networks.build` unpacks a Config too.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax import search, transforms, wide_counts
from muzero_jax.config import Config, settings
from muzero_jax.drivers import by_environment
from muzero_jax.errors import UserError
from muzero_jax.learning import (
  fresh_targets,
  learner,
  optimiser,
  symmetry,
  total_loss,
)
from muzero_jax.learning.total_loss import Term
from muzero_jax.networks import build as networks_build
from muzero_jax.networks import distributions, model
from muzero_jax.networks.build import HeadSizes
from muzero_jax.networks.distributions import Distribution
from muzero_jax.replay import frame_stack, reanalyse, reanalyse_buffer
from muzero_jax.replay.reanalyse import Reanalyser
from muzero_jax.search import candidates
from muzero_jax.transforms import Transform
from muzero_jax.types import (
  Array,
  EnvSpec,
  Model,
  Params,
  ScaledParams,
  network_params,
)
from muzero_jax.wide_counts import Count


class Extensions(NamedTuple):
  """A user's own parts, in place of what a Config names; None for ours."""

  # config, spec, sizes -> a Flax module for `networks.model.make_model`, or a
  # `Model`.
  make_network: Callable[[Config, EnvSpec, HeadSizes], Any] | None = None
  # config, spec, system, purpose -> search; `purpose` is one of PURPOSES.
  make_search: Callable[..., search.Search] | None = None
  # config, system -> terms that are added to the loss.
  make_terms: Callable[..., tuple[Term, ...]] | None = None


NONE = Extensions()


class System(NamedTuple):
  """The parts that acting and learning share."""

  model: Model
  value_transform: Transform
  reward_transform: Transform
  distribution: Distribution | None = None  # Sampled MuZero's pi.
  extensions: Extensions = NONE


# What a search is for. Only acting has noise; evaluation is greedy.
PURPOSES = ('acting', 'reanalyse', 'evaluation')


def make_system(
  config: Config, spec: EnvSpec, extensions: Extensions = NONE
) -> System:
  """Make model and transforms for an environment.

  Raises:
    UserError: if the network does not fit the environment.
  """
  config = by_environment.resolve(config, spec)
  transform = _make_transform(config)
  distribution = _make_distribution(config, spec)
  sizes = HeadSizes(
    values=transform.num_outputs,
    policy=distribution.num_outputs if distribution else spec.num_actions)
  if extensions.make_network is None:
    network = networks_build.make_network(config, spec, sizes)
  else:
    network = extensions.make_network(config, spec, sizes)
  functions = network if isinstance(network, Model) else (
    model.make_model(network))
  return System(functions, transform, transform, distribution, extensions)


def _make_distribution(config: Config, spec: EnvSpec) -> Distribution | None:
  """Return what candidates are drawn from; None in plain MuZero.

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
  return distributions.make(config.policy_head, spec)


def _make_transform(config: Config) -> Transform:
  if config.head == 'scalar':
    return transforms.scalar()
  return transforms.categorical(
    num_bins=config.support_bins,
    max_value=config.support_max,
    mean_of=config.support_mean,
  )


def make_search(
  config: Config,
  spec: EnvSpec,
  system: System,
  purpose: str,
  *,
  keeps_tree: bool = False,
) -> search.Search:
  """Make the search for one of PURPOSES.

  Args:
    config: of the run.
    spec: of its environments.
    system: its parts.
    purpose: one of PURPOSES.
    keeps_tree: True returns the trees too. A user's own search may return
      none.
  """
  if system.extensions.make_search is not None:
    own = system.extensions.make_search(config, spec, system, purpose)
    return lambda params, *given: own(network_params(params), *given)
  record = settings.Gumbel if config.search == 'gumbel' else settings.PUCT
  chosen: Any = config.part(record)
  if purpose == 'evaluation' and config.eval_simulations:
    chosen = dataclasses.replace(
      chosen, num_simulations=config.eval_simulations)
  make: Any = functools.partial(search.make_search, system.model)
  if system.distribution is not None:
    make = functools.partial(
      candidates.make_search,
      system.model,
      candidates.Proposal(
        system.distribution,
        config.num_sampled_actions,
        temperature=config.proposal_temperature,
        has_mode=purpose == 'evaluation',
      ),
    )
  return make(
    system.value_transform,
    system.reward_transform,
    chosen,
    discount=config.discount,
    num_players=spec.num_players,
    noise=purpose == 'acting',
    keeps_tree=keeps_tree,
  )


def make_reanalyser(
  config: Config, spec: EnvSpec, system: System
) -> Reanalyser:
  """Make what gives stored rows fresh targets."""
  value_fn = reanalyse.make_value_fn(system.model, system.value_transform)
  return Reanalyser(
    make_search(config, spec, system, 'reanalyse'),
    lambda params, observation: value_fn(network_params(params), observation))


def make_total_loss(
  config: Config, system: System, axis_name: str | None = None
) -> total_loss.TotalLoss:
  """Make what the learner minimises, on one device or along an axis."""
  make_terms = system.extensions.make_terms
  return total_loss.make_total_loss(
    system.model,
    system.value_transform,
    system.reward_transform,
    config.part(settings.LossWeights),
    distribution=system.distribution,
    extra_terms=make_terms(config, system) if make_terms else (),
    axis_name=axis_name,
  )


def make_learner(
  config: Config,
  spec: EnvSpec,
  system: System,
  *,
  num_devices: int = 1,
  axis_name: str | None = None,
) -> learner.Learner:
  """Make the learner of one device's share of each batch.

  Raises:
    UserError: values would never be mixed.
  """
  last = total_updates(config)
  if config.mixed_value_age and config.mixed_value_start >= last:
    raise UserError(
      f'mixed_value_start = {config.mixed_value_start}: the run ends after '
      f'{last} updates, before mixed_value_age can count; use less')
  reanalyser = None
  if config.reanalyse_fraction and config.reanalyse_form == 'batch':
    reanalyser = make_reanalyser(config, spec, system)
  return learner.make_learner(
    make_total_loss(config, system, axis_name),
    optimiser.make(config.part(settings.Optimiser), num_updates=last),
    dataclasses.replace(
      config.part(settings.Learning),
      batch_size=config.batch_size // num_devices),
    reanalyser=reanalyser,
    value_fn=reanalyse.make_value_fn(system.model, system.value_transform),
    symmetries=symmetry.make(spec) if config.augment_symmetry else None,
    action_bounds=(spec.action_low, spec.action_high),
    axis_name=axis_name,
    measures_error=measures_error(config),
  )


def measures_error(config: Config) -> bool:
  """Returns whether a run's searches need the error of their values."""
  return config.search == 'gumbel' and not config.gumbel_min_range


def num_reanalysed(config: Config, num_devices: int = 1) -> int:
  """Returns the reanalysed sequences of each batch, over all devices."""
  local = fresh_targets.num_fresh(
    config.reanalyse_fraction, config.batch_size // num_devices)
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
    reanalyser=make_reanalyser(config, spec, system),
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
    return min(config.offline_updates, np.iinfo(np.int32).max)
  rows = max(config.num_steps - config.min_replay, 1)
  iterations = math.ceil(rows / (config.num_envs * config.rollout_length))
  updates = iterations * config.updates_per_iteration
  # Optax counts no further.
  return min(max(updates, 1), np.iinfo(np.int32).max)


def example_observation(config: Config, spec: EnvSpec) -> Array:
  """Returns one zero network input [1, ...], to initialise parameters."""
  empty = frame_stack.init(spec, 1, config.stacked_frames)
  return frame_stack.observe(empty, spec.num_actions, config.stack_actions)


def abstract_params(config: Config, spec: EnvSpec, system: System) -> Params:
  """Returns the shapes of what the searches of one agent take."""
  abstract = jax.eval_shape(
    lambda key: system.model.init(key, example_observation(config, spec)),
    jax.random.key(0))
  if measures_error(config):
    return ScaledParams(abstract, jax.ShapeDtypeStruct((), jnp.float32))  # type: ignore[arg-type]
  return abstract


def temperature(config: Config, num_steps: Count) -> Array:
  """Returns the temperature after `num_steps` environment steps."""
  fraction = wide_counts.as_float(num_steps) / float(config.num_steps)
  index = jnp.searchsorted(
    jnp.array(config.temperature_at), fraction, side='right'
  )
  return jnp.array(config.temperature, jnp.float32)[
    jnp.maximum(index - 1, 0)
  ]
