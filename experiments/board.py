"""Two-player board games, by pgx.

python -m experiments.board --workdir=runs/x [--flagfile=...] [--field=...]
"""

from muzero_jax.commands import train

if __name__ == '__main__':
  train.main(families=('board', 'pettingzoo'), preset='tic_tac_toe')
