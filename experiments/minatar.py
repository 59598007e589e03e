"""MinAtar games, by pgx.

python -m experiments.minatar --workdir=runs/x [--flagfile=...] [--field=...]
"""

from muzero_jax.commands import train

if __name__ == '__main__':
  train.main(families=('minatar',), preset='minatar')
