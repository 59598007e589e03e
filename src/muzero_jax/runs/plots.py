"""curves.png: what metrics.jsonl holds, drawn."""

import io
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from muzero_jax import files
from muzero_jax.runs import metrics

CURVES_FILE = 'curves.png'
_NOT_DRAWN = frozenset({
  'step', 'seconds', 'episodes', 'updates', 'return', 'reanalysed_fraction',
  *metrics.RATES})


def plot_curves(workdir: str | os.PathLike) -> pathlib.Path | None:
  """Draws curves.png from metrics.jsonl: return, losses and diagnostics.

  Returns:
    Its path, or None if there is nothing to draw yet.

  Raises:
    ImportError: matplotlib is not installed.
    OSError: it cannot be written; an older one is untouched.
  """
  rows = metrics.read_metrics(workdir)
  if not rows:
    return None
  # Not pyplot: it would take over the caller's figures and backend.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  names = sorted({
    name for row in rows for name, value in row.items()
    if isinstance(value, (int, float)) and not name.startswith('eval_')
  } - _NOT_DRAWN)
  losses = [name for name in names if name.endswith('loss')]
  panels = [['return', 'eval_return'], losses]
  # A run that plays has the rate at which it does.
  plays = any('steps_per_second' in row for row in rows)
  unit = 'environment steps' if plays else 'updates'
  # "name/0", "name/1", ... are the lines of one panel.
  groups: dict[str, list[str]] = {}
  for name in names:
    if name not in losses:
      groups.setdefault(name.split('/')[0], []).append(name)
  panels += groups.values()
  panels = [panel for panel in panels if panel]
  columns = min(3, len(panels))
  lines = math.ceil(len(panels) / columns)
  width, height = 4.5 * columns, 3 * lines  # Inches.
  figure = Figure(figsize=(width, height))
  # A layout that matplotlib finds by itself draws all of it twice.
  figure.subplots_adjust(
    left=0.6 / width, right=1 - 0.15 / width, bottom=0.45 / height,
    top=1 - 0.3 / height, wspace=0.2, hspace=0.35)
  FigureCanvasAgg(figure)
  for index, panel in enumerate(panels):
    axes = figure.add_subplot(lines, columns, index + 1)
    _draw(axes, rows, panel, unit)
  path = pathlib.Path(workdir) / CURVES_FILE
  picture = io.BytesIO()
  figure.savefig(picture, format='png', dpi=100)
  files.write_whole(path, picture.getvalue())
  return path


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]],
          names: Sequence[str], unit: str) -> None:
  """Draws one panel; each line has the rows that have a value."""
  for name in names:
    points = [(row['step'], row[name]) for row in rows
              if isinstance(row.get(name), (int, float))]
    if points:
      marker = 'o' if name.startswith('eval') or len(points) == 1 else ''
      label = {'return': 'training episodes', 'eval_return': 'evaluation'}
      axes.plot(*zip(*points), marker=marker, markersize=4, linewidth=1,
                label=label.get(name, _plain(name)))
  values = [row[name] for row in rows for name in names
            if isinstance(row.get(name), (int, float))]
  if names[0].endswith('loss') and values and min(values) > 0:
    axes.set_yscale('log')
  title = {'return': 'return', 'eval_return': 'return'}.get(
    names[0], 'losses' if names[0].endswith('loss')
    else names[0].split('/')[0])
  axes.set_title(_plain(title), fontsize=10)
  axes.set_xlabel(unit, fontsize=8)
  axes.tick_params(labelsize=8)
  axes.grid(alpha=0.3)
  if len(axes.lines) > 1 or names[0] == 'return' and axes.lines:
    axes.legend(fontsize=7)


def _plain(name: str) -> str:
  """Return a name as text: matplotlib would read what stands between $."""
  return name.replace('_', ' ').replace('$', r'\$')[:80]
