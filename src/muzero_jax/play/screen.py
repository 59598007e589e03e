"""Positions as pictures that a page can show: SVG, or PNG as text."""

import base64
import io
import re
from typing import Any

import jax
import numpy as np

from muzero_jax.agent import Agent
from muzero_jax.types import AnyEnvironment, TimeStep


def make_env(agent: Agent, seed: int | None = None) -> AnyEnvironment:
  """Make one environment that can be seen."""
  return agent.make_env(agent.config, num_envs=1, evaluation=True, seed=seed)


class Screen:
  """How one environment is shown."""

  def __init__(self, agent: Agent, env: Any) -> None:
    self._spec = agent.spec

  def show(self, state: Any, row: TimeStep) -> dict[str, str]:
    """Return the picture of one position.

    Args:
      state: of the environment; None of one of the host, which is shown as it
        stands.
      row: [1] as NumPy arrays.
    """
    state = jax.device_get(state)
    if self._spec.name.startswith(('board/', 'stochastic/')):
      from pgx._src import visualizer

      one = jax.tree.map(lambda x: x[0], state.state)
      return dict(svg=scalable(
        visualizer.Visualizer().get_dwg(one).tostring()))
    from PIL import Image

    image = np.atleast_2d(np.asarray(row.observation[0], np.float32))
    if image.ndim == 3:
      image = image.mean(axis=-1)
    span = float(np.ptp(image)) or 1.0
    image = (255 * (image - image.min()) / span).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.kron(image, np.ones((16, 16), np.uint8))).save(
      file, 'PNG')
    return dict(png=base64.b64encode(file.getvalue()).decode())


def scalable(svg: str) -> str:
  """Return an SVG picture that takes any size, as the page wants it."""
  start = svg.index('<svg')
  head = svg[start:svg.index('>', start) + 1]
  if 'viewBox' in head:
    return svg[start:]
  width, height = (
    re.search(rf'\b{name}="([0-9.]+)', head) for name in ('width', 'height'))
  if width is None or height is None:
    return svg[start:]
  box = f'<svg viewBox="0 0 {width[1]} {height[1]}"'
  return box + svg[start + len('<svg'):]
