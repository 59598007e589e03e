"""One picture of one environment, whichever it is.

`film` makes films of them, and the page shows them. What there is decides: a
drawing of ours from the state of a game or from what is observed, the picture
that an environment of the host renders, or else the observation itself.
"""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from muzero_jax import envs
from muzero_jax.config import Config
from muzero_jax.envs import base
from muzero_jax.play import boards, canvas, control, planes
from muzero_jax.types import (
  AnyEnvironment,
  EnvSpec,
  HostEnvironment,
  TimeStep,
)


class Pictures(NamedTuple):
  """How an environment is drawn. Functions of B of them and an index.

  Of an environment of the host, whose state is not passed, both see what is
  there now; the picture is that of the row that was stepped to last.
  """

  # env_state, timestep, index -> [H, W, 3] u8, always of one size.
  draw: Callable[[Any, TimeStep, int], np.ndarray]
  # The same -> text of an SVG picture, None where there is none.
  svg: Callable[[Any, TimeStep, int], str | None]


def make(config: Config, spec: EnvSpec, env: AnyEnvironment) -> Pictures:
  """Make the functions that draw an environment.

  Args:
    config: of its run.
    spec: of the environment.
    env: of `make_env` if its own rendering is to be seen.

  Raises:
    MissingPackageError: Pillow is not installed.
  """
  canvas.pillow('Image')
  family, _, name = spec.name.partition('/')
  is_pgx = (
    spec.name in boards.DRAWINGS and not isinstance(env, HostEnvironment)
    and config.family == family)
  if is_pgx:
    return Pictures(functools.partial(_board, boards.DRAWINGS[spec.name]), _svg)
  if isinstance(env, HostEnvironment) and env.render is not None:
    return Pictures(functools.partial(_rendered, env, spec), _no_svg)
  if family == 'minatar' and planes.has_minatar(name):
    seen: Any = functools.partial(planes.minatar, name)
  else:
    seen = _of_observation(spec)
  return Pictures(functools.partial(_observed, seen), _no_svg)


def make_env(
  config: Config,
  make_one: Callable[..., AnyEnvironment] = envs.make,
  *,
  num_envs: int = 1,
  seed: int | None = None,
) -> AnyEnvironment:
  """Make evaluation environments that can be seen, if they have a way.

  They play as others do: only, games of Atari and environments of Gymnasium
  are stepped on the host, and render what a person would see.

  Args:
    config: of the run.
    make_one: as it was given to `train.run`.
    num_envs: B.
    seed: of the environments.
  """
  settings: dict[str, Any] = dict(
    num_envs=num_envs, evaluation=True, seed=seed)
  if make_one is envs.make:
    settings['render'] = True
    # Pictures are arrays; pygame would look for a screen and loudspeakers.
    for name in ('SDL_VIDEODRIVER', 'SDL_AUDIODRIVER'):
      os.environ.setdefault(name, 'dummy')
  return make_one(config, **settings)


def _of_observation(spec: EnvSpec) -> Callable[[np.ndarray], np.ndarray]:
  """Return how what is observed is drawn."""
  axes = len(spec.observation_shape)
  if axes == 3 or (axes == 2 and min(spec.observation_shape) > 1):
    return planes.draw
  return control.find(spec.name, int(np.prod(spec.observation_shape)))


def _board(
  draw: boards.Draw, env_state: Any, timestep: TimeStep, index: int
) -> np.ndarray:
  del timestep
  return draw(_one(env_state, index, np.asarray))


def _observed(
  draw: Callable[[np.ndarray], np.ndarray], env_state: Any,
  timestep: TimeStep, index: int,
) -> np.ndarray:
  del env_state
  return draw(np.asarray(timestep.observation)[index])


def _rendered(
  env: HostEnvironment, spec: EnvSpec, env_state: Any, timestep: TimeStep,
  index: int,
) -> np.ndarray:
  del env_state
  assert env.render is not None
  image = env.render(index)
  if image is None:
    return _of_observation(spec)(np.asarray(timestep.observation)[index])
  return planes.enlarge(np.asarray(image, np.uint8)[..., :3])


def _one(env_state: base.BatchState, index: int, get: Any) -> Any:
  """Return pgx's state of one of B games."""
  return jax.tree.map(lambda x: get(x)[index], env_state.state)


def _svg(env_state: Any, timestep: TimeStep, index: int) -> str | None:
  """Return pgx's own drawing."""
  del timestep
  # Imported late: it needs what pgx's drawings need.
  from pgx._src import visualizer

  one = _one(env_state, index, lambda x: x)
  return visualizer.Visualizer().get_dwg(one).tostring()


def _no_svg(env_state: Any, timestep: TimeStep, index: int) -> str | None:
  del env_state, timestep, index
  return None
