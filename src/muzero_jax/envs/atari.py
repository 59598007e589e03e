"""Atari 2600 games on ALE's vectoriser, callable inside jit and scan.

One of the environments behind `envs.make`. ALE steps B emulators on its own
threads; its XLA custom calls make that a function of JAX arrays. What the
arrays refer to are emulators outside of JAX: the state cannot be copied,
restored, vmapped or sharded, and each state may be stepped once.

What was measured of ale-py 0.12.1, and how it is met:
  - `episodic_life=True` restarts the game after each lost life. Asked for
    `life_loss_info` instead, ALE only reports the loss and the game goes on.
  - No-ops at the start number 0 to `noop_max - 1`, not 1 to `noop_max`.
  - `use_fire_reset` presses FIRE once after a restart, never after a lost life,
    and in every game that has the action. It is off here, as in the published
    protocols: starting the ball is left to the agent.
  - The frame cap counts emulated frames after the no-ops.
  - When the game or the frame cap ends a step early, ALE draws the observation
    from its earlier frames: the last row shows the screen a few frames late.
    Only a value at the frame cap is ever read from it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ale_py
import ale_py.roms
import jax
import jax.numpy as jnp
import numpy as np
from ale_py.vector_env import AtariVectorEnv

from muzero_jax import types
from muzero_jax.config import settings as settings_lib
from muzero_jax.envs import base, naming
from muzero_jax.errors import UserError

# ALE has no single-player mode for these; loading them ends the process.
_TWO_PLAYER_ONLY = frozenset(('combat', 'joust', 'maze_craze', 'warlords'))
_SCREEN = (210, 160)  # Pixels.


class AtariState(NamedTuple):
  """State of B emulators."""

  handle: jax.Array  # [8] u8, ALE's pointer to all of them.
  is_last: jax.Array  # [B] bool


def names() -> tuple[str, ...]:
  """Returns the names of all single-player games, such as "ms_pacman"."""
  return tuple(sorted(set(ale_py.roms.get_all_rom_ids()) - _TWO_PLAYER_ONLY))


def spec(settings: settings_lib.Environment) -> types.EnvSpec:
  """Returns what `make`'s environments look like, from one bare emulator.

  Raises:
    UserError: no such game; names the nearest.
  """
  game = naming.resolve_name('atari', settings.env_id, names())
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  ale = ale_py.ALEInterface()
  path = ale_py.roms.get_rom_path(game)
  assert path is not None, game
  ale.loadROM(path)
  if settings.full_action_set:
    return _spec(game, settings, ale.getLegalActionSet())
  return _spec(game, settings, ale.getMinimalActionSet())


def make(
  settings: settings_lib.Environment,
  num_envs: int,
  *,
  evaluation: bool = False,
  seed: int = 0,
  on_host: bool = False,
  render: bool = False,
) -> types.AnyEnvironment:
  """Returns B emulators of one game.

  Observations are single frames [B, H, W, C] u8, the maximum over the last two
  emulated frames of a step; rewards are the game's own, unclipped.

  The key given to `init` seeds every emulator, which then runs on its own
  random numbers: the same key and actions give the same rows, whatever the
  number of threads; `step` ignores its key. `init` restarts the emulators, so
  states of an earlier `init` are void. Call it once, outside jit.

  With `episodic_life` a lost life is a last row with discount 0. The step after
  it plays a no-op (`frame_skip` frames, whose reward is dropped) and is the
  first row of the next episode of the same game. Should the game end within
  that no-op, its row is first and last at once.

  Args:
    settings: `env_id` is the game as ALE spells it ("ms_pacman") or
      "MsPacman", "ALE/MsPacman-v5", "MsPacmanNoFrameskip-v4"; of these names
      only the game counts, not the settings they stand for. A game starts with
      0 to `noop_max` no-op frames, drawn uniformly; with
      `repeat_action_probability` per emulated frame the emulator repeats the
      previous action. After `max_episode_frames` an episode is truncated.
    num_envs: B.
    evaluation: True plays full games, whatever `episodic_life` says.
    seed: folded into the key of `init`, to tell emulators apart that are
      initialised with the same key.
    on_host: a host environment instead, for machines without ALE's compiled
      functions; `reset(n)` gives the rows of `init(jax.random.key(n))`.
    render: the same, with the screen in colour as `render`. A second emulator
      with the same seeds and actions shows it, so it takes twice as long.

  Raises:
    UserError: no such game, naming the nearest; or num_envs is below 1.
  """
  game = naming.resolve_name('atari', settings.env_id, names())
  if num_envs < 1:
    raise UserError(f'num_envs: {num_envs} is not at least 1')
  vector = _make_vector(game, settings, num_envs, evaluation)
  made = _spec(game, settings, vector.ale.get_action_set())
  # After a lost life the game goes on, so the ignored action must do nothing.
  # It is 0 unless the game's minimal set lacks it, as in backgammon.
  noop = made.action_names.index('noop') if 'noop' in made.action_names else 0
  if on_host or render:
    screens = None
    if render:
      screens = _make_vector(game, settings, num_envs, evaluation, screens=True)
    host = _Host(vector, made, noop, seed, screens)
    return types.HostEnvironment(
      made, host.reset, host.step, host.close,
      render=host.render if render else None)
  # These closures hold `vector`, hence keep what the handle points to alive.
  handle, reset, step = vector.xla()
  return types.Environment(
    spec=made,
    init=functools.partial(_init, reset, handle, made, num_envs, seed),
    step=functools.partial(_step, step, made, noop),
    restorable=False,
  )


def _make_vector(
  game: str, settings: settings_lib.Environment, num_envs: int,
  evaluation: bool, *, screens: bool = False,
) -> AtariVectorEnv:
  """Returns ALE's vector environment of B emulators.

  Args:
    game: as ALE spells it.
    settings, num_envs, evaluation: as `make` has them.
    screens: True for observations that are the whole screen, in colour.
  """
  height = width = settings.frame_size
  if screens:
    height, width = _SCREEN
  return AtariVectorEnv(
    game,
    num_envs,
    num_threads=settings.env_threads,
    max_num_frames_per_episode=settings.max_episode_frames,
    repeat_action_probability=settings.repeat_action_probability,
    full_action_space=settings.full_action_set,
    img_height=height,
    img_width=width,
    grayscale=settings.grayscale and not screens,
    stack_num=1,
    frameskip=settings.frame_skip,
    noop_max=settings.noop_max + 1,
    episodic_life=False,
    life_loss_info=settings.episodic_life and not evaluation,
    reward_clipping=False,
    use_fire_reset=False,
  )


def _spec(
  game: str,
  settings: settings_lib.Environment,
  actions: Sequence[ale_py.Action],
) -> types.EnvSpec:
  """Returns the spec of a game that is played with `actions`, in this order."""
  size, channels = settings.frame_size, 1 if settings.grayscale else 3
  return types.EnvSpec(
    name=f'atari/{game}',
    observation_shape=(size, size, channels),
    observation_dtype=np.dtype(np.uint8),
    num_actions=len(actions),
    max_episode_steps=-(-settings.max_episode_frames // settings.frame_skip),
    action_names=tuple(action.name.lower() for action in actions),
  )


def _init(
  reset: Callable[..., Any],
  handle: jax.Array,
  spec: types.EnvSpec,
  num_envs: int,
  seed: int,
  rng_key: jax.Array,
) -> tuple[AtariState, types.TimeStep]:
  seeds = _seeds(rng_key, seed, num_envs)
  handle, (observation, _) = reset(handle, seeds)
  false = jnp.zeros((num_envs,), bool)
  return AtariState(handle, false), _row(
    spec, observation, jnp.zeros((num_envs,)), false, false, ~false
  )


def _seeds(rng_key: jax.Array, seed: int, num_envs: int) -> jax.Array:
  """Returns one seed [B] for each emulator."""
  return jax.random.randint(
    jax.random.fold_in(rng_key, seed), (num_envs,), 0, 2**31 - 1, jnp.int32
  )


class _Host:
  """The same emulators, stepped by the host."""

  def __init__(
    self, vector: AtariVectorEnv, spec: types.EnvSpec, noop: int, seed: int,
    screens: AtariVectorEnv | None,
  ) -> None:
    self._vector, self._spec, self._noop = vector, spec, noop
    self._seed, self._screens = seed, screens
    self._screen: Any = None  # [B, 1, H, W, 3] u8
    self._is_last = np.zeros(vector.num_envs, bool)

  def reset(self, seed: int) -> types.TimeStep:
    """Returns the first rows of new games."""
    false = np.zeros_like(self._is_last)
    seeds = _seeds(jax.random.key(seed), self._seed, len(false))
    observation: Any
    observation, _ = self._vector.reset(seed=np.array(seeds))
    if self._screens is not None:
      screen: Any = self._screens.reset(seed=np.array(seeds))[0]
      self._screen = np.array(screen)
    self._is_last = false
    return self._row(observation, np.zeros(len(false)), false, ~false)

  def step(self, action: Any) -> types.TimeStep:
    """Returns the rows that the actions [B] lead to."""
    is_first = self._is_last
    action = np.where(is_first, self._noop, action)
    action = np.clip(action, 0, self._spec.num_actions - 1)
    observation, reward, terminated, truncated, _ = self._vector.step(action)
    if self._screens is not None:
      self._screen = np.array(self._screens.step(action)[0])
    self._is_last = terminated | truncated
    return self._row(observation, reward, terminated & ~is_first, is_first)

  def render(self, index: int) -> np.ndarray:
    """Returns the screen [H, W, 3] of one emulator."""
    return self._screen[index, -1]

  def close(self) -> None:
    """Ends the emulators."""
    self._vector.close()
    if self._screens is not None:
      self._screens.close()

  def _row(
    self,
    observation: np.ndarray,
    reward: np.ndarray,
    terminated: np.ndarray,
    is_first: np.ndarray,
  ) -> types.TimeStep:
    shape = (len(is_first), *self._spec.observation_shape)
    return base.host_row(
      self._spec, observation=np.array(observation).reshape(shape),
      reward=reward, terminated=terminated, is_last=self._is_last,
      is_first=is_first)


def _step(
  step: Callable[..., Any],
  spec: types.EnvSpec,
  noop: int,
  state: AtariState,
  action: jax.Array,
  rng_key: jax.Array,
) -> tuple[AtariState, types.TimeStep]:
  del rng_key
  is_first = state.is_last
  action = jnp.where(is_first, noop, action).astype(jnp.int32)
  # Clamped as an index of JAX is; ALE would wait for ever.
  action = jnp.clip(action, 0, spec.num_actions - 1)
  handle, (observation, reward, terminated, truncated, _) = step(
    state.handle, action
  )
  is_last = terminated | truncated
  return AtariState(handle, is_last), _row(
    spec,
    observation,
    jnp.where(is_first, 0, reward),
    terminated & ~is_first,
    is_last,
    is_first,
  )


def _row(
  spec: types.EnvSpec,
  observation: jax.Array,
  reward: jax.Array,
  terminated: jax.Array,
  is_last: jax.Array,
  is_first: jax.Array,
) -> types.TimeStep:
  """Returns a row; `observation` is [B, 1, H, W] or [B, 1, H, W, 3]."""
  shape = is_first.shape
  return types.TimeStep(
    observation=observation.reshape(*shape, *spec.observation_shape),
    reward=reward.astype(jnp.float32),
    discount=jnp.where(terminated, 0.0, 1.0).astype(jnp.float32),
    is_first=is_first,
    is_last=is_last,
    legal_actions=jnp.ones((*shape, spec.num_actions), bool),
    to_play=jnp.zeros(shape, jnp.int32),
  )
