"""Trains with jobs of Ray that play and reanalyse.

python -m experiments.cluster --flagfile=... --num_actors=8 --workdir=runs/x
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('cluster')
