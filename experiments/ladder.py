"""Rates the snapshots of a run against opponents and each other, in Elo.

python -m experiments.ladder --workdir=runs/x --opponent=random,one_ply
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('ladder')
