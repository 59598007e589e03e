"""Saves a run's trajectories as a dataset, to train from it offline.

python -m experiments.dataset --workdir=runs/x --output=runs/x_data
"""

from muzero_jax.commands import main

if __name__ == '__main__':
  main.run('dataset')
