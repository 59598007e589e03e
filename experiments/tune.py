"""Searches for better settings.

python -m experiments.tune --flagfile=... --trials=50 --workdir=runs/tune
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('tune')
