"""Positions as pictures that a page can show: SVG, or PNG as text."""

import base64
import io
import re
from typing import Any

from muzero_jax.agent import Agent
from muzero_jax.play import pictures
from muzero_jax.play.drawings import canvas
from muzero_jax.types import AnyEnvironment, TimeStep


def make_env(agent: Agent, seed: int | None = None) -> AnyEnvironment:
  """Make one environment that can be seen."""
  return pictures.make_env(agent.config, agent.make_env, seed=seed)


class Screen:
  """How one environment is shown."""

  def __init__(self, agent: Agent, env: Any) -> None:
    self._pictures = pictures.make(agent.config, agent.spec, env)

  def show(self, state: Any, row: TimeStep) -> dict[str, str]:
    """Return the picture of one position.

    Args:
      state: of the environment; None of one of the host, which is shown as it
        stands.
      row: [1] as NumPy arrays.
    """
    drawn = self._pictures.svg(state, row, 0)
    if drawn is not None:
      return dict(svg=scalable(drawn))
    image = canvas.pillow('Image').fromarray(self._pictures.draw(state, row, 0))
    file = io.BytesIO()
    image.save(file, 'PNG')
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
