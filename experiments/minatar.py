"""MinAtar games, by pgx.

python -m experiments.minatar --workdir=runs/x [--flagfile=...] [--field=...]
"""

from experiments import common

if __name__ == '__main__':
  common.main(families=('minatar',), preset='minatar')
