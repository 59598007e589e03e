"""See and play: pictures and films of what an agent does."""

from muzero_jax import _lazy

_MODULES = (
  'boards', 'canvas', 'control', 'film', 'film_files', 'panel', 'pictures',
  'planes', 'svg_files',
)
__getattr__, __dir__ = _lazy.attach(__name__, _MODULES)
