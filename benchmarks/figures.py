"""Draws the pictures of docs/results.md, in docs/images, for `report`.

Needs matplotlib (extra "viz").
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import learning
from muzero_jax.evaluation import tournament


def draw(results: Mapping[str, Any], folder: pathlib.Path) -> list[str]:
  """Draws all that the results have curves of; returns the files' names."""
  drawn = []
  scaling = [
    record for name, record in results.get('search', {}).items()
    if name.startswith('scaling')
  ]
  if scaling:
    drawn.append(_save(
      folder / 'search_scaling.png', _search_scaling, scaling[0], (10, 3.2)))
  for name, record in results.items():
    if 'variants' in record:
      paint = _simulations if varies_simulations(record) else _variants
      drawn.append(_save(folder / f'{name}.png', paint, record, (7, 4)))
    elif has_curves(record):
      drawn.append(_save(
        folder / f'{name}_curves.png', _seeds, record, (7, 3.5)))
    if 'ladder' in record:
      drawn.append(_save(
        folder / f'{name}_ladder.png', tournament.paint, record['ladder'],
        (7, 4)))
  return drawn


def has_curves(record: Mapping[str, Any]) -> bool:
  """Returns True where there is a curve of every seed to draw."""
  seeds = record.get('seeds') or [{}]
  return isinstance(seeds, list) and all(
    row.get('training_return_by_step') for row in seeds
  )


def varies_simulations(record: Mapping[str, Any]) -> bool:
  """Returns True for an ablation over the number of simulations."""
  return all(
    'num_simulations' in one['varied'] for one in record['variants'].values()
  )


def _save(
  path: pathlib.Path,
  paint: Callable[[Any, Mapping[str, Any]], None],
  record: Mapping[str, Any],
  size: tuple[float, float],
) -> str:
  """Saves what `paint(figure, record)` paints."""
  # Not pyplot: it would take over the caller's figures and backend.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=size, layout='constrained')
  FigureCanvasAgg(figure)
  paint(figure, record)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=110)
  return path.name


def _curves(record: Mapping[str, Any]) -> list[list[list[float]]]:
  return [row['training_return_by_step'] for row in record['seeds']]


def _seeds(figure: Any, record: Mapping[str, Any]) -> None:
  """Training return of each seed, their mean, and the evaluated score."""
  axes = figure.subplots()
  curves = _curves(record)
  for i, curve in enumerate(curves):
    axes.plot(
      *np.transpose(curve), color='C0', alpha=0.5 if len(curves) > 1 else 1,
      linewidth=1, label=None if i else 'training return, each seed',
    )
  if len(curves) > 1:
    steps, returns = learning.on_common_steps(curves)
    axes.plot(steps, returns.mean(axis=0), color='C0', linewidth=2.5,
              label='their mean')
  axes.axhline(
    learning.score(record['seeds']).mean, color='C1', linestyle='--',
    label='noise-free evaluation at the end',
  )
  _finish(axes, record['environment'])


def _variants(figure: Any, record: Mapping[str, Any]) -> None:
  """Training return of each variant with its 95 % confidence band."""
  axes = figure.subplots()
  for i, (name, one) in enumerate(record['variants'].items()):
    if not has_curves(one):
      continue
    steps, returns = learning.on_common_steps(_curves(one))
    mean = returns.mean(axis=0)
    axes.plot(steps, mean, color=f'C{i}', label=name)
    if len(returns) > 1:
      half = learning.confidence(returns)
      axes.fill_between(
        steps, mean - half, mean + half, color=f'C{i}', alpha=0.2, linewidth=0)
  _finish(axes, next(iter(record['variants'].values()))['environment'])


def _simulations(figure: Any, record: Mapping[str, Any]) -> None:
  """Final score against simulations, one line for each search."""
  axes = figure.subplots()
  lines: dict[str, list[tuple[int, float, float]]] = {}
  for one in record['variants'].values():
    found = learning.score(one['seeds'])
    lines.setdefault(one['varied']['search'], []).append(
      (one['varied']['num_simulations'], found.mean, found.spread or 0.0))
  for name, points in lines.items():
    axes.errorbar(
      *np.transpose(sorted(points)), marker='o', capsize=3,
      label={'muzero': 'pUCT', 'gumbel': 'Gumbel'}[name])
  axes.set_xscale('log', base=2)
  axes.xaxis.set_major_formatter('{x:g}')
  _finish(axes, next(iter(record['variants'].values()))['environment'])
  axes.set(xlabel='simulations', ylabel='score at the end')


def _finish(axes: Any, title: str) -> None:
  axes.set(xlabel='steps', ylabel='training return', title=title)
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)


def _search_scaling(figure: Any, record: Mapping[str, Any]) -> None:
  """Time of a search as simulations, batch and actions grow."""
  curves = record['results']
  all_axes = figure.subplots(1, 3, sharey=True)
  for axes, grows in zip(all_axes, ('simulations', 'batch', 'actions')):
    for policy, colour in (('gumbel', 'C0'), ('puct', 'C1')):
      rows = curves[f'{policy} {grows}']
      sizes = [row[grows] for row in rows]
      for who, style in (('ours', '-o'), ('networks', '--')):
        axes.plot(
          sizes, [row[f'{who}_ms'] for row in rows], style, color=colour,
          markersize=4, label=f'{policy}, {who}',
        )
    axes.set(xscale='log', yscale='log', xlabel=grows)
    axes.grid(alpha=0.3)
  all_axes[0].set_ylabel('milliseconds')
  all_axes[0].legend(fontsize=8)
