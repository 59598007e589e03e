"""Settings of environments and of what steps them."""

import dataclasses

from muzero_jax.config.settings.base import MOST_COUNTED, Record, field
from muzero_jax.errors import UserError

# Families that the host may step.
_HOST = ('atari', 'gymnasium', 'pettingzoo')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment(Record):
  """Which environment, and how it is played."""

  family: str = field('classic', 'Environment family.', choices=(
    'atari', 'classic', 'board', 'minatar', 'stochastic', 'gymnax',
    'continuous', 'physics', 'gymnasium', 'pettingzoo'))
  env_id: str = field(
    'cartpole', 'Environment within the family; of gymnasium also '
    'module:Name and path/to/file.py:Name, which are imported.')
  frame_size: int = field(
    96, 'Atari: pixels per side.', low=36, high=210,
    families=('atari',))
  grayscale: bool = field(
    True, 'Atari: grey frames, else RGB.',
    families=('atari',))
  frame_skip: int = field(
    4, 'Atari: frames per step.', low=1, high=60,
    families=('atari',))
  noop_max: int = field(
    30, 'Atari: most no-ops at the start of an episode.', low=0, high=300,
    families=('atari',))
  repeat_action_probability: float = field(
    0.0, 'Atari and MinAtar: sticky actions.', low=0, high=1,
    families=('atari', 'minatar'))
  full_action_set: bool = field(
    False, 'Atari: all 18 actions, else the minimal set.',
    families=('atari',))
  episodic_life: bool = field(
    True, 'Atari: a lost life ends a training episode. Never in evaluation.',
    families=('atari',))
  max_episode_frames: int = field(
    108_000, 'Atari: frame cap of an episode.', low=100,
    families=('atari',))
  env_threads: int = field(
    0, 'Atari: emulator threads; 0 for one per core.', low=0, high=1024,
    families=('atari',))
  time_limit: int = field(
    0, 'Steps after which an episode is cut off, in training and in '
    'evaluation; 0 for the environment\'s own limit. Atari has '
    'max_episode_frames.', low=0, high=MOST_COUNTED)
  image_size: int = field(
    0, 'Gymnasium: pixels per side that images are resized to; 0 for as they '
    'are.', low=0, high=512, families=('gymnasium',))
  vectorisation: str = field(
    'sync', 'Gymnasium: environments one after another in their actor\'s '
    'thread, each in a process of its own, or the vector environment that was '
    'registered with the id.', choices=('sync', 'async', 'own'),
    families=('gymnasium',))

  def _check(self) -> None:
    if self.time_limit and self.family == 'pettingzoo':
      raise UserError(
        f'time_limit = {self.time_limit} is not for games of PettingZoo, which '
        'end by themselves; allowed is 0')
    if self.time_limit and self.family == 'atari':
      raise UserError(
        f'time_limit = {self.time_limit} is not for Atari, which counts '
        f'frames: give max_episode_frames = '
        f'{self.time_limit * self.frame_skip}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Driver(Record):
  """Who steps how many environments, and on which devices."""

  driver: str = field(
    'auto', 'anakin compiles environments into the training step, sebulba '
    'steps them on the host, in actor threads; auto takes anakin wherever the '
    'environments are JAX\'s or ALE\'s.',
    choices=('auto', 'anakin', 'sebulba'))
  num_envs: int = field(
    64, 'Environments stepped together, over all devices.', low=1,
    high=1 << 20)
  num_devices: int = field(
    0, 'Devices to shard over; 0 for all that fit. Where more than '
    'one are asked for, scripts let each core of a processor be one.', low=0)
  actor_threads: int = field(
    1, 'Sebulba: actor threads, each with num_envs / actor_threads '
    'environments.', low=1, high=256, families=_HOST)
  policy_lag: int = field(
    1, 'Sebulba: iterations by which the actors\' parameters lag the '
    'learner\'s. With 1, actors and learner take turns; with more, actors play '
    'meanwhile.', low=1, high=100, families=_HOST)
  on_worker_error: str = field(
    'stop', 'Sebulba: environments that raise, hang or return wrong shapes '
    'end the run, or are made anew, the episodes that broke off dropped.',
    choices=('stop', 'restart'), families=_HOST)
  worker_timeout: float = field(
    60.0, 'Seconds after which a step of host environments counts as hung.',
    low=1e-3, families=_HOST)

  def _check(self) -> None:
    if self.num_envs % self.actor_threads:
      raise UserError(
        f'num_envs = {self.num_envs} is not a multiple of actor_threads = '
        f'{self.actor_threads}')
