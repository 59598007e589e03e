"""Games of chance, 2048 and backgammon, by pgx, with Stochastic MuZero.

python -m experiments.stochastic --workdir=runs/x [--flagfile=...] [--field=...]
"""

from muzero_jax.commands import train

if __name__ == '__main__':
  train.main(families=('stochastic',), preset='2048')
