"""Atari games, on ALE.

python -m experiments.atari --workdir=runs/x [--flagfile=...] [--field=...]
"""

from muzero_jax.commands import train

if __name__ == '__main__':
  train.main(families=('atari',), preset='atari_tiny')
