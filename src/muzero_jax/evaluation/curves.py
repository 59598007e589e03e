"""Curves as SVG, drawn by us: a page with them needs nothing from anywhere."""

import html
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

# Of a curve with more points, neighbours are averaged.
MOST_POINTS = 240
_WIDTH, _HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 40
_NUM_TICKS = 4
# A scale of logarithms, where numbers are positive and so many times apart.
_APART = 30.0
_DIGITS = 5  # Of a number that the page shows where the pointer is.


class Curve(NamedTuple):
  """One line, or points, of a chart."""

  label: str
  run: int  # Which run it is of, from 0: its colour.
  points: Sequence[tuple[float, float]]  # By rising x.
  is_dots: bool = False
  is_faint: bool = False


class _Scale(NamedTuple):
  """Numbers to a length, in proportion to them or to their logarithms."""

  low: float
  high: float
  is_log: bool

  def at(self, value: float) -> float:
    """Return where a value is, from 0 to 1."""
    low, high, x = self.low, self.high, value
    if self.is_log:
      low, high, x = math.log(low), math.log(high), math.log(x)
    return (x - low) / (high - low)


def chart(
  title: str, curves: Sequence[Curve], unit: str, may_be_log: bool = False
) -> str:
  """Return a chart as an SVG element.

  Args:
    title: says what it shows, to those who do not see it.
    curves: at least one of at least one point; its numbers are finite.
    unit: of the horizontal axis.
    may_be_log: whether numbers that are far apart get a scale of logarithms.

  Returns:
    Text whose parts from outside are escaped.
  """
  curves = [_thinned(curve) for curve in curves if curve.points]
  xs = [x for curve in curves for x, _ in curve.points]
  ys = [y for curve in curves for _, y in curve.points]
  across = _Scale(*_apart(min(0.0, *xs), max(xs)), False)
  up = _vertical(ys, may_be_log)
  parts = [
    f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
    f'aria-label="{html.escape(title)}" '
    f'data-curves="{html.escape(_data(curves, across))}">']
  for y in _ticks(up):
    at = _y(up, y)
    parts.append(
      f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" '
      f'y2="{at:.1f}"/><text class="tick" x="{_LEFT - 6}" y="{at + 4:.1f}" '
      f'text-anchor="end">{short(y)}</text>')
  for x in _ticks(across):
    parts.append(
      f'<text class="tick" x="{_x(across, x):.1f}" y="{_HEIGHT - 23}" '
      f'text-anchor="middle">{short(x)}</text>')
  parts.append(
    f'<text class="tick" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" '
    f'text-anchor="end">{html.escape(unit)}'
    f'{", log scale" if up.is_log else ""}</text>')
  # Faint lines below all others.
  for curve in sorted(curves, key=lambda curve: not curve.is_faint):
    parts.append(_draw(curve, across, up))
  parts.append('<line class="cursor" y1="10" y2="210" x1="-9" x2="-9"/></svg>')
  return ''.join(parts)


def short(value: float) -> str:
  """Return a number in few characters."""
  for limit, letter in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if abs(value) >= limit:
      return f'{value / limit:.4g}{letter}'
  return f'{value:.4g}'


def _draw(curve: Curve, across: _Scale, up: _Scale) -> str:
  points = [(_x(across, x), _y(up, y)) for x, y in curve.points]
  kind = f'r{curve.run}{" faint" if curve.is_faint else ""}'
  name = f'<title>{html.escape(curve.label)}</title>'
  if curve.is_dots or len(points) == 1:
    return ''.join(
      f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4">{name}</circle>'
      for x, y in points)
  text = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
  return f'<polyline class="{kind}" points="{text}">{name}</polyline>'


def _data(curves: Sequence[Curve], across: _Scale) -> str:
  """Return what the page's script needs to tell numbers, as JSON."""
  return json.dumps([
    dict(
      label=curve.label, run=curve.run,
      x=[round(_x(across, x), 1) for x, _ in curve.points],
      step=[round(x) for x, _ in curve.points],
      y=[_rounded(y) for _, y in curve.points])
    for curve in curves if not curve.is_faint], separators=(',', ':'))


def _rounded(value: float) -> float:
  return float(f'{value:.{_DIGITS}g}')


def _thinned(curve: Curve) -> Curve:
  """Return a curve of at most MOST_POINTS points, means of neighbours."""
  if len(curve.points) <= MOST_POINTS:
    return curve
  size = math.ceil(len(curve.points) / MOST_POINTS)
  groups = [
    curve.points[i:i + size] for i in range(0, len(curve.points), size)]
  return curve._replace(points=[
    (sum(x for x, _ in group) / len(group),
     sum(y for _, y in group) / len(group)) for group in groups])


def _vertical(ys: Sequence[float], may_be_log: bool) -> _Scale:
  low, high = min(ys), max(ys)
  if may_be_log and low > 0 and high / low >= _APART:
    return _Scale(low, high, True)
  low, high = _apart(low, high)
  margin = 0.04 * (high - low)
  return _Scale(low - margin, high + margin, False)


def _apart(low: float, high: float) -> tuple[float, float]:
  """Return ends that are not the same."""
  if high - low > 1e-9 * max(abs(low), abs(high)):
    return low, high
  width = max(abs(high), 1.0) / 2
  return low - width, high + width


def _ticks(scale: _Scale) -> list[float]:
  """Return a few round numbers within a scale."""
  if scale.is_log:
    first, last = math.log10(scale.low), math.log10(scale.high)
    powers = range(math.ceil(first), math.floor(last) + 1)
    every = max(1, math.ceil(len(powers) / _NUM_TICKS))
    found = [10.0**power for power in powers if power % every == 0]
    if len(found) > 1:
      return found
    return [scale.low, math.sqrt(scale.low * scale.high), scale.high]
  rough = (scale.high - scale.low) / _NUM_TICKS
  power = 10.0**math.floor(math.log10(rough))
  step = power * min(
    (m for m in (1, 2, 5) if m * power >= rough), default=10)
  first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
  return [i * step for i in range(first, last + 1)]


def _x(scale: _Scale, value: float) -> float:
  return _LEFT + scale.at(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(scale: _Scale, value: float) -> float:
  return _HEIGHT - _BOTTOM - scale.at(value) * (_HEIGHT - _TOP - _BOTTOM)
