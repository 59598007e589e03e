"""Games of chance, 2048 and backgammon, by pgx, with Stochastic MuZero.

python -m experiments.stochastic --workdir=runs/x [--flagfile=...] [--field=...]
"""

from experiments import common

if __name__ == '__main__':
  common.main(families=('stochastic',), preset='2048')
