"""One noise-free episode as a film, and games of pgx as SVG.

`commands.evaluate` calls it; `film_files` writes, `pictures` and `panel` draw.
A film has as many frames as the episode has steps: each shows what its step
led to, beside it what the search found that chose the step. The start of the
episode is not shown.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from muzero_jax.agent import Agent
from muzero_jax.config import Config
from muzero_jax.errors import UserError
from muzero_jax.evaluation import host_play
from muzero_jax.evaluation.opponents import AnyOpponent, Program
from muzero_jax.play import film_files, pictures, svg_files
from muzero_jax.play.drawings import panel
from muzero_jax.types import Array, HostEnvironment, TimeStep

# Frames per second by family, about as fast as a person would play or watch.
_FPS: dict[str, float] = {
  'atari': 15, 'board': 2, 'classic': 30, 'continuous': 20, 'gymnasium': 30,
  'gymnax': 20, 'minatar': 10, 'pettingzoo': 2, 'physics': 20, 'stochastic': 4}
_OTHER_FPS = 15.0
MOST_STEPS = 3000


class Film(NamedTuple):
  """What was filmed."""

  num_steps: int  # As many as there are frames.
  score: float  # Sum of rewards; of two players, of who moved first.
  is_over: bool  # False where the film ends before the episode does.


class Moment(NamedTuple):
  """One step of the episode."""

  step: host_play.Step  # [1]
  env_state: Any  # That it led to; None of the host.


class _Watched:
  """A stepper that keeps the state of its environment."""

  def __init__(self, stepper: host_play.Stepper) -> None:
    self._stepper, self.env_state = stepper, None

  def init(self, rng_key: Array) -> tuple[Any, TimeStep]:
    """Return state and row, as the stepper does."""
    self.env_state, row = self._stepper.init(rng_key)
    return self.env_state, row

  def step(
    self, state: Any, action: Any, rng_key: Array
  ) -> tuple[Any, TimeStep]:
    """Return state and row, as the stepper does."""
    self.env_state, row = self._stepper.step(state, action, rng_key)
    return self.env_state, row


def frames_per_second(config: Config) -> float:
  """Return how fast a film of an environment runs, unless told otherwise."""
  return _FPS.get(config.family, _OTHER_FPS)


def record(
  agent: Agent,
  *,
  video: str | os.PathLike | None = None,
  svg: str | os.PathLike | None = None,
  opponent: AnyOpponent | None = None,
  seed: int = 0,
  fps: float | None = None,
  most_steps: int = MOST_STEPS,
  shows_search: bool = False,
) -> Film:
  """Play one episode, and write it as a film, as SVG, or both.

  Args:
    agent: plays greedily, without noise.
    video: the file of the film, in place of an older one: .gif, .webp or .png
      (animated), which need Pillow, or .mp4, which needs av; None for none.
    svg: where pgx's drawings go, a new folder or a file that ends in .svg;
      None for none.
    opponent: of a game of two players, who moves second; None for an agent
      that plays both sides.
    seed: of the environment, the searches and the opponent.
    fps: frames per second; None for `frames_per_second`.
    most_steps: an episode that is longer ends there.
    shows_search: whether the search's value and policy stand beside the
      picture.

  Raises:
    MissingPackageError: a package is missing.
    RunError: a file cannot be written; nothing is left of it.
    UserError: a place where no file can be, or an opponent that cannot be
      filmed.
    WorkerError: an environment of the host raised, or hung.
  """
  config = agent.config
  fps = fps or frames_per_second(config)
  film_path = film_files.check(
    'video', video, film_files.SUFFIXES) if video else None
  svg_path = svg_files.check(config.family, svg) if svg else None
  env = pictures.make_env(
    config, agent.make_env, num_envs=1, seed=config.seed + 1 + seed)
  drawn = pictures.make(config, env.spec, env)
  shown = _Shown(agent, drawn, shows_search)
  with contextlib.ExitStack() as stack:
    film, images = None, None
    if film_path:
      film = stack.enter_context(film_files.writing(film_path, fps))
    if svg_path:
      images = stack.enter_context(svg_files.writing(svg_path, fps))
    for moment in episode(
      agent, env, opponent=opponent, seed=seed, most_steps=most_steps
    ):
      if images:
        images.add(drawn.svg(moment.env_state, moment.step.next_row, 0))
      shown.enter(moment)
      if film:
        film.add(shown.frame(moment))
  return Film(shown.num_steps, shown.score, shown.is_over)


def episode(
  agent: Agent,
  env: Any,
  *,
  opponent: AnyOpponent | None = None,
  seed: int = 0,
  most_steps: int = MOST_STEPS,
) -> Iterator[Moment]:
  """Play one episode, step by step.

  Args:
    agent: plays greedily, without noise.
    env: one evaluation environment; of the host, closed at the end.
    opponent, seed, most_steps: as `record` has them.

  Raises:
    UserError, WorkerError: as `record` does.
  """
  _check_opponent(env, opponent)
  play_key, other_key = jax.random.split(jax.random.key(seed))
  with host_play.stepping(
    env, num_envs=1, timeout=agent.config.worker_timeout, name='film'
  ) as stepper:
    watched = _Watched(stepper)
    decide = None
    if opponent is not None:
      decide = _Opponent(opponent, watched, other_key).decide
    played = host_play.steps(
      agent, host_play.Stepper(watched.init, watched.step), play_key,
      num_envs=1, decide=decide)
    for _, step in zip(range(most_steps), played):
      yield Moment(step, watched.env_state)
      if bool(step.next_row.is_last[0]):
        return


class _Opponent:
  """Who moves second in a game of two players."""

  def __init__(
    self, opponent: Any, watched: _Watched, rng_key: Array
  ) -> None:
    self._watched, self._rng_key = watched, rng_key
    self._first: int | None = None  # The player that the agent plays.
    self._agent = opponent if isinstance(opponent, Agent) else None
    self._memory = self._agent.init_state(1) if self._agent else None
    self._act: Callable[..., Any] = (
      self._agent.jitted_act if self._agent else jax.jit(opponent))

  def decide(self, row: TimeStep, action: np.ndarray) -> np.ndarray:
    """Return the action [1] of whoever is to move."""
    self._rng_key, rng_key = jax.random.split(self._rng_key)
    player = int(row.to_play[0])
    if self._first is None:
      self._first = player
    if self._agent:
      # It sees every row, as the agent does.
      self._memory, found = self._act(
        self._agent.params, self._memory, rng_key, row.observation,
        row.legal_actions, row.is_first)
      other = found.action
    elif player != self._first:
      other = self._act(rng_key, self._watched.env_state, row)
    if player != self._first:
      action = np.array(other)
    if self._memory is not None:
      self._memory = self._memory._replace(action=jnp.asarray(action))
    return action


class _Shown:
  """What a film has told so far."""

  def __init__(
    self, agent: Agent, drawn: pictures.Pictures, shows_search: bool
  ) -> None:
    self._spec, self._drawn = agent.spec, drawn
    self._shows_search = shows_search
    self._values = panel.Curve()
    self._first: int | None = None
    self.num_steps, self.score, self.is_over = 0, 0.0, False

  def enter(self, moment: Moment) -> None:
    """Count a step."""
    row, next_row = moment.step.row, moment.step.next_row
    player = int(row.to_play[0])
    if self._first is None:
      self._first = player
    # Rewards and values are those of who moves.
    sign = 1 if player == self._first else -1
    self.num_steps += 1
    self.score += sign * float(next_row.reward[0])
    self.is_over = bool(next_row.is_last[0])
    self._values.add(sign * float(moment.step.found.value[0]))

  def frame(self, moment: Moment) -> np.ndarray:
    """Return the picture of a step that was entered."""
    step = moment.step
    picture = self._drawn.draw(moment.env_state, step.next_row, 0)
    if not self._shows_search:
      return picture
    found = jax.device_get(step.found)
    bars = panel.bars(
      self._spec, found.policy[0], step.action[0],
      None if found.candidates is None else found.candidates[0])
    heading = f'step {self.num_steps}   return {self.score:g}'
    return panel.beside(picture, panel.draw(
      heading, self._values.values, bars, len(picture)))


def _check_opponent(env: Any, opponent: AnyOpponent | None) -> None:
  """Raise UserError where an opponent cannot play in a film."""
  if opponent is None:
    return
  if env.spec.num_players != 2:
    raise UserError(f'opponent: {env.spec.name} has one player')
  if isinstance(opponent, Program):
    raise UserError(
      'opponent: a game against a program such as gnugo is not filmed; take '
      'random, mcts:N, snapshot:STEP or run:PATH')
  if isinstance(env, HostEnvironment) and isinstance(opponent, Agent):
    raise UserError(
      f'opponent: games of {env.spec.name}, which the host steps, are played '
      'against random alone')
