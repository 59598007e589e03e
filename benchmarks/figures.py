"""Draws the figures of docs/results.md from benchmarks/results/*.json.

python -m benchmarks.figures

Needs matplotlib (extra "viz").
"""

import json
import pathlib
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_RESULTS = pathlib.Path(__file__).parent / 'results'
_IMAGES = pathlib.Path(__file__).parents[1] / 'docs' / 'images'


def search_scaling() -> None:
  """Time of a search as simulations, batch and actions grow."""
  records = json.loads((_RESULTS / 'search.json').read_text())
  found = [x for name, x in records.items() if name.startswith('scaling')]
  if not found:
    return
  curves: dict[str, Any] = found[0]['results']
  figure = Figure(figsize=(10, 3.2), layout='constrained')
  FigureCanvasAgg(figure)
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
  figure.savefig(_IMAGES / 'search_scaling.png', dpi=110)


def main() -> None:
  search_scaling()
  print(f'figures are in {_IMAGES}')


if __name__ == '__main__':
  main()
