"""Atari games, on ALE.

python -m experiments.atari --workdir=runs/x [--flagfile=...] [--field=...]
"""

from experiments import common

if __name__ == '__main__':
  common.main(families=('atari',), preset='atari_tiny')
