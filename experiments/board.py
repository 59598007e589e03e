"""Two-player board games, by pgx.

python -m experiments.board --workdir=runs/x [--flagfile=...] [--field=...]
"""

from experiments import common

if __name__ == '__main__':
  common.main(families=('board',), preset='tic_tac_toe')
