"""Any Gymnasium environment, registered or of your own file.

python -m experiments.gymnasium --workdir=runs/x [--flagfile=...] [--field=...]
"""

from muzero_jax.commands import train

if __name__ == '__main__':
  train.main(families=('gymnasium',), preset='gymnasium')
