"""Any Gymnasium environment with discrete actions.

python -m experiments.gymnasium --workdir=runs/x [--flagfile=...] [--field=...]
"""

from experiments import common

if __name__ == '__main__':
  common.main(families=('gymnasium',), preset='gymnasium')
