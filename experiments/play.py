"""Shows a trained agent in a browser: play against it, watch it think.

python -m experiments.play --workdir=runs/x
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('play')
