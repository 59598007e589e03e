"""Lets a trained agent play by the Go Text Protocol, for other programs.

python -m experiments.gtp --workdir=runs/go_9x9
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('gtp')
